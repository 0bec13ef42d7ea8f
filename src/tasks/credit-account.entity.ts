import { Column, Entity, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** The parts of a user's credits; maintained by the SQL function recount_credits. No row: unlimited, without grants. */
@Entity('credit_accounts')
export class CreditAccount {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'credit_accounts_pkey' })
  ownerId!: string;

  @OneToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'credit_accounts_owner_fkey' })
  owner?: User;

  /** `own`: the user's own limit; `plan:<slug>`: the plan's; null: unlimited. */
  @Column({ type: 'text', nullable: true })
  basis!: string | null;

  /** The user's own limit, if the basis is `own`. */
  @Column('bigint', { default: 0 })
  own!: number;

  /** The sum of the grants. */
  @Column('numeric', { default: 0 })
  bonus!: string;
}
