import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { Changes } from './changes.js';

/**
 * An entry of the audit log: who changed what. It is written in the transaction of the change, never changed, and kept
 * when its user or target is deleted.
 */
@Entity('audit_entries')
@Index('audit_entries_actor_idx', ['actorId', 'id'])
@Index('audit_entries_action_idx', ['action', 'id'])
@Index('audit_entries_target_idx', ['target', 'id'])
@Index('audit_entries_position_idx', ['position'], { where: 'position IS NOT NULL' })
@Index('audit_entries_unsealed_idx', ['id'], { where: 'position IS NULL' })
export class AuditEntry {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'audit_entries_pkey' })
  id!: string;

  @Column({ type: 'timestamptz', precision: 3 })
  at!: Date;

  /** The id of a user; null for the server itself. */
  @Column({ type: 'uuid', name: 'actor_id', nullable: true })
  actorId!: string | null;

  @Column({ type: 'text', collation: 'C' })
  action!: string;

  /** An id, a slug, or `platform`. */
  @Column({ type: 'text', collation: 'C' })
  target!: string;

  /** The seal covers the text of this value, which `json` preserves and `jsonb` does not. */
  @Column('json')
  changes!: Changes;

  @Column({ type: 'text', name: 'request_id', nullable: true })
  requestId!: string | null;

  @Column({ type: 'text', nullable: true })
  ip!: string | null;

  /** MAC of all fields above, keyed with SECRET_KEY: proves that the server wrote exactly these. */
  @Column('bytea')
  mac!: Buffer;

  /** Position in the chain; null until the entry is sealed. */
  @Column({ type: 'bigint', nullable: true })
  position!: string | null;
}
