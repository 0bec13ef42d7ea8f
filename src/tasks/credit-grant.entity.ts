import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** Bonus credits in addition to a user's limit, with or without an expiry. */
@Entity('credit_grants')
@Check('credit_grants_amount_check', 'amount BETWEEN 1 AND 9007199254740991')
@Index('credit_grants_owner_expires_idx', ['ownerId', 'expiresAt'])
export class CreditGrant {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'credit_grants_pkey' })
  ownerId!: string;

  /** UUIDv7: the order of creation. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'credit_grants_pkey' })
  id!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'credit_grants_owner_fkey' })
  owner?: User;

  @Column('bigint')
  amount!: number;

  @Column({ type: 'text', nullable: true })
  reason!: string | null;

  @Index('credit_grants_expires_idx', { where: 'expires_at IS NOT NULL' })
  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
