import { Column, Entity, OneToMany, PrimaryColumn } from 'typeorm';
import type { PlanLimit } from './plan-limit.entity.js';

/** A named set of limits that users share. */
@Entity('plans')
export class Plan {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'plans_pkey' })
  slug!: string;

  @Column('text')
  name!: string;

  /** By name, because PlanLimit imports this file. */
  @OneToMany('PlanLimit', 'planEntity')
  limits?: PlanLimit[];

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
