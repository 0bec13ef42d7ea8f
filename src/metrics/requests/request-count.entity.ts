import { Column, Entity, Index, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { User } from '../../users/user.entity.js';

/** Requests of a user: in total, and in the hour of the last request. Earlier hours are in `request_hours`. */
@Entity('request_counts')
@Index('request_counts_total_idx', { synchronize: false })
export class RequestCount {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'request_counts_pkey' })
  ownerId!: string;

  @OneToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'request_counts_owner_fkey' })
  owner?: User;

  @Column('bigint')
  total!: number;

  /** Requests answered with 400 or above. */
  @Column('bigint')
  errors!: number;

  @Column('timestamptz')
  hour!: Date;

  @Column('bigint', { name: 'hour_total' })
  hourTotal!: number;

  @Column('bigint', { name: 'hour_errors' })
  hourErrors!: number;
}
