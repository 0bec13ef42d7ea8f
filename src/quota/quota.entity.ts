import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** `key_id` of what an owner uses as a whole, whatever the key. */
export const NO_KEY = '00000000-0000-0000-0000-000000000000';

/**
 * What an owner, or one of its keys, may use of a meter, and has used. Changes only in the transaction that writes or
 * deletes what it counts. The places of `limits` and `counts` are those of WINDOWS.
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

  /** By window; null is not said, −1 is unlimited, whatever a plan says. Null altogether where no window says anything. */
  @Column('bigint', { array: true, nullable: true })
  limits!: (number | null)[] | null;

  /** By window, of the windows that hold `at`. */
  @Column('bigint', { array: true, default: '{0,0,0,0,0}' })
  counts!: number[];

  /** When it was last charged; −infinity for what does not count itself (yet). */
  @Column('timestamptz', { default: '-infinity' })
  at!: Date | number;

  /** Of `store.entries`: how often entries were written; the versions of entries are taken from it. */
  @Column('bigint', { default: 0 })
  revision!: number;

  /**
   * What lists of who has most go by: what a gauge counts; of `api:*`, what the owner was granted of all APIs (up to a second
   * late). 0 for all others.
   */
  @Column('bigint', { default: 0 })
  rank!: number;

  /** Requests refused, ever. */
  @Column('bigint', { default: 0 })
  denied!: number;

  /** Requests refused in the hour that holds `at`. */
  @Column('bigint', { name: 'hour_denied', default: 0 })
  hourDenied!: number;
}
