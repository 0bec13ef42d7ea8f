import { Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** The `key_id` of flows that belong to the owner as a whole, not to a key. */
export const NO_KEY = '00000000-0000-0000-0000-000000000000';

/**
 * The limits and usage of an owner, or of one of its keys, on calls of one API or of all. `limits` and `counts` have the
 * order of WINDOWS.
 */
@Entity('flows')
export class Flow {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'flows_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', {
    name: 'key_id',
    default: '00000000-0000-0000-0000-000000000000',
    primaryKeyConstraintName: 'flows_pkey',
  })
  keyId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'flows_pkey' })
  meter!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'flows_owner_fkey' })
  owner?: User;

  /**
   * Limits by window: null is not set, −1 is unlimited and overrides the plan. The array is null if no limit is set.
   */
  @Column('bigint', { array: true, nullable: true })
  limits!: (number | null)[] | null;

  /** Usage by window, for the windows that contain `at`. */
  @Column('bigint', { array: true, default: '{0,0,0,0,0}' })
  counts!: number[];

  /** Time of the last charge. −infinity for a flow that has not counted anything itself. */
  @Column('timestamptz', { default: '-infinity' })
  at!: Date | number;

  /** Calls denied in total. */
  @Column('bigint', { default: 0 })
  denied!: number;

  /** Calls denied in the hour that contains `at`. */
  @Column('bigint', { name: 'hour_denied', default: 0 })
  hourDenied!: number;
}
