import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { LimitResponse } from '../quota/quota.dto.js';
import { User } from '../users/user.entity.js';

/** A refused call of an API key. Kept for a day; of each owner the last thousand. */
@Entity('refusals')
export class Refusal {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'refusals_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'refusals_pkey' })
  id!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'refusals_owner_fkey' })
  owner?: User;

  @Index('refusals_at_idx')
  @Column({ type: 'timestamptz', precision: 3 })
  at!: Date;

  /** Clients choose it, so several refusals can have the same one. */
  @Index('refusals_request_idx')
  @Column('text', { name: 'request_id' })
  requestId!: string;

  /** Also of a key that was deleted since. */
  @Column('uuid', { name: 'key_id' })
  keyId!: string;

  /** The slug in the request; null if it was not a slug. */
  @Column({ type: 'text', nullable: true })
  api!: string | null;

  @Column('text')
  code!: string;

  /** Units that were asked for. */
  @Column('bigint')
  cost!: number;

  /** Every limit that was judged. */
  @Column('json')
  limits!: LimitResponse[];
}
