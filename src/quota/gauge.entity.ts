import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/**
 * The limit and usage of an owner on objects of one kind. `used` changes only in the transaction that writes or deletes
 * the counted object.
 */
@Entity('gauges')
@Index('gauges_amount_idx', ['meter', 'amount'], { where: 'amount IS NOT NULL' })
export class Gauge {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'gauges_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'gauges_pkey' })
  meter!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'gauges_owner_fkey' })
  owner?: User;

  /** The limit: null is not set, −1 is unlimited and overrides the plan. */
  @Column('bigint', { nullable: true })
  amount!: number | null;

  @Column('bigint', { default: 0 })
  used!: number;

  /** For `store.entries`: number of writes so far, from which entries get their versions. */
  @Column('bigint', { default: 0 })
  revision!: number;
}
