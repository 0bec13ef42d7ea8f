import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/**
 * A user's own limit: at most `amount` of a meter in each window. 0 grants nothing; null is unlimited, whatever a plan
 * says; without a row the plan's holds.
 */
@Entity('limits')
@Check('limits_amount_check', `amount BETWEEN 0 AND 9007199254740991`)
export class Limit {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'limits_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { primaryKeyConstraintName: 'limits_pkey' })
  meter!: string;

  /** `window` is a reserved word of SQL. */
  @PrimaryColumn('text', { name: 'period', primaryKeyConstraintName: 'limits_pkey' })
  window!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'limits_owner_fkey' })
  owner?: User;

  @Column({ type: 'bigint', nullable: true })
  amount!: number | null;
}
