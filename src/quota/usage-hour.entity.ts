import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/**
 * The ledger's hours that are over: what a key was granted and refused of an API. The current one is in the key's quota;
 * the view `usage` shows both. Belongs to no user: a user's recorded usage stays when the user goes.
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
