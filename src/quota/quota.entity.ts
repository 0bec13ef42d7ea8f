import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** The `key_id` of quotas that belong to the owner as a whole, not to a key. */
export const NO_KEY = '00000000-0000-0000-0000-000000000000';

/**
 * The limits and usage of an owner, or of one of its keys, on a meter. Counts change only in the transaction that
 * writes or deletes the counted object. `limits` and `counts` have the order of WINDOWS.
 */
@Entity('quotas')
@Index('quotas_rank_idx', { synchronize: false })
@Check('quotas_limits_check', `cardinality(limits) = 5 AND -1 <= ALL(limits) AND 9007199254740991 >= ALL(limits)`)
@Check('quotas_counts_check', `cardinality(counts) = 5 AND 0 <= ALL(counts)`)
export class Quota {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'quotas_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', {
    name: 'key_id',
    default: '00000000-0000-0000-0000-000000000000',
    primaryKeyConstraintName: 'quotas_pkey',
  })
  keyId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'quotas_pkey' })
  meter!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'quotas_owner_fkey' })
  owner?: User;

  /**
   * Limits by window: null is not set, −1 is unlimited and overrides the plan. The array is null if no limit is set.
   */
  @Column('bigint', { array: true, nullable: true })
  limits!: (number | null)[] | null;

  /** Usage by window, for the windows that contain `at`. */
  @Column('bigint', { array: true, default: '{0,0,0,0,0}' })
  counts!: number[];

  /** Time of the last charge. −infinity for a quota that has not counted anything itself. */
  @Column('timestamptz', { default: '-infinity' })
  at!: Date | number;

  /** For `store.entries`: number of writes so far, from which entries get their versions. */
  @Column('bigint', { default: 0 })
  revision!: number;

  /**
   * Sort key of the top lists: the count of a gauge; for `api:*`, the calls granted on all APIs (up to a second late).
   * 0 for all other meters.
   */
  @Column('bigint', { default: 0 })
  rank!: number;

  /** Requests denied in total. */
  @Column('bigint', { default: 0 })
  denied!: number;

  /** Requests denied in the hour that contains `at`. */
  @Column('bigint', { name: 'hour_denied', default: 0 })
  hourDenied!: number;
}
