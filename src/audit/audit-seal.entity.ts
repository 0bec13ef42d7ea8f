import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** A link of the chain over the audit log. It has its own table, so that it still names an entry that was removed. */
@Entity('audit_seals')
@Check('audit_seals_position_check', 'position >= 1')
export class AuditSeal {
  /** 1, 2, 3 … without a gap. */
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'audit_seals_pkey' })
  position!: string;

  @Column('uuid', { name: 'entry_id' })
  entryId!: string;

  /** MAC of the previous hash and the whole entry, keyed with SECRET_KEY. */
  @Column('bytea')
  hash!: Buffer;
}
