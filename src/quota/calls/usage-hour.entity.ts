import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/**
 * Past hours of the ledger: units granted and requests denied by key and API. The current hour is in the key's quota;
 * the view `usage` shows both. Has no foreign key to users: recorded usage stays when the user is deleted.
 */
@Entity('usage_hours')
@Index('usage_hours_hour_idx', ['hour', 'ownerId', 'keyId', 'meter'])
export class UsageHour {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'usage_hours_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { name: 'key_id', primaryKeyConstraintName: 'usage_hours_pkey' })
  keyId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'usage_hours_pkey' })
  meter!: string;

  @PrimaryColumn('timestamptz', { primaryKeyConstraintName: 'usage_hours_pkey' })
  hour!: Date;

  /** Units. */
  @Column('bigint')
  granted!: number;

  /** Requests. */
  @Column('bigint')
  denied!: number;
}
