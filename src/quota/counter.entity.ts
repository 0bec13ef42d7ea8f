import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** How much of a gauge an owner uses. Changes only in the statement that writes or deletes what it counts. */
@Entity('counters')
@Check('counters_used_check', `used BETWEEN 0 AND 9007199254740991`)
export class Counter {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'counters_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { primaryKeyConstraintName: 'counters_pkey' })
  meter!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'counters_owner_fkey' })
  owner?: User;

  @Column({ type: 'bigint', default: 0 })
  used!: number;
}
