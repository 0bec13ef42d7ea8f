import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Plan } from './plan.entity.js';

/** The limits of a plan on a meter, which apply to each of its users separately. */
@Entity('plan_limits')
@Check('plan_limits_limits_check', `cardinality(limits) = 5 AND -1 <= ALL(limits) AND 9007199254740991 >= ALL(limits)`)
export class PlanLimit {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'plan_limits_pkey' })
  plan!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'plan_limits_pkey' })
  meter!: string;

  @ManyToOne(() => Plan, (plan) => plan.limits, { onUpdate: 'CASCADE', onDelete: 'CASCADE' })
  @JoinColumn({ name: 'plan', referencedColumnName: 'slug', foreignKeyConstraintName: 'plan_limits_plan_fkey' })
  planEntity?: Plan;

  /** Same as Quota.limits. */
  @Column('bigint', { array: true, nullable: true })
  limits!: (number | null)[] | null;
}
