import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, MoreThan, type FindManyOptions, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { within, type Transaction } from '../database/database.js';
import { PlanLimit } from '../platform/plan-limit.entity.js';
import { Plan } from '../platform/plan.entity.js';

/** A plan with its limits, sorted by meter. */
export type PlanState = Plan & { limits: PlanLimit[] };

export type NewLimit = Pick<PlanLimit, 'meter' | 'limits'>;

/** Position of a page: it starts after the plan with this creation time and slug. */
export interface PlanPosition {
  createdAt: string;
  slug: string;
}

/**
 * Reads the limits in another statement: a page of plans is not a page of joined rows, and `lock` must read the limits
 * after it has waited.
 */
const WITH_LIMITS = {
  relations: { limits: true },
  relationLoadStrategy: 'query',
} satisfies FindManyOptions<Plan>;

@Injectable()
export class PlansRepository {
  constructor(
    @InjectRepository(Plan) private readonly plans: Repository<Plan>,
    @InjectRepository(PlanLimit) private readonly limits: Repository<PlanLimit>,
  ) {}

  /** Lists plans, newest first. */
  async list(after: PlanPosition | null, limit: number): Promise<PlanState[]> {
    const createdAt = after && new Date(after.createdAt);
    const plans = await this.plans.find({
      ...WITH_LIMITS,
      where: after && createdAt ? [{ createdAt: LessThan(createdAt) }, { createdAt, slug: MoreThan(after.slug) }] : {},
      order: { createdAt: 'DESC', slug: 'ASC' },
      take: limit,
    });
    return plans.map(toState);
  }

  async find(slug: string): Promise<PlanState | null> {
    const plan = await this.plans.findOne({ ...WITH_LIMITS, where: { slug } });
    return plan && toState(plan);
  }

  /** Reads a plan and locks it until the transaction ends. */
  async lock(tx: Transaction, slug: string): Promise<PlanState | null> {
    const lock = { mode: 'pessimistic_write' } as const;
    const plan = await within(this.plans, tx).findOne({ ...WITH_LIMITS, where: { slug }, lock });
    return plan && toState(plan);
  }

  /** @throws Problem slug_taken */
  async insert(tx: Transaction, slug: string, name: string): Promise<void> {
    await refusingTaken(() => within(this.plans, tx).insert({ slug, name }));
  }

  /** @throws Problem slug_taken */
  async update(tx: Transaction, slug: string, changes: Partial<Pick<Plan, 'slug' | 'name'>>): Promise<void> {
    await refusingTaken(() => within(this.plans, tx).update({ slug }, { ...changes, updatedAt: () => 'now()' }));
  }

  async replaceLimits(tx: Transaction, plan: string, limits: readonly NewLimit[]): Promise<void> {
    const rows = within(this.limits, tx);
    await rows.delete({ plan });
    if (limits.length > 0) await rows.insert(limits.map((each) => ({ plan, ...each })));
  }

  /** @throws Problem plan_in_use */
  async delete(tx: Transaction, slug: string): Promise<void> {
    try {
      await within(this.plans, tx).delete({ slug });
    } catch (error) {
      const constraint = violatedConstraint(error);
      if (constraint === 'users_plan_fkey') throw new Problem('plan_in_use');
      if (constraint === 'platform_settings_default_plan_fkey') {
        throw new Problem('plan_in_use', { detail: 'The plan is the `defaultPlan` of the platform.' });
      }
      throw error;
    }
  }
}

function toState(plan: Plan): PlanState {
  const limits = (plan.limits ?? []).sort((one, other) => (one.meter < other.meter ? -1 : 1));
  return { ...plan, limits };
}

async function refusingTaken(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (violatedConstraint(error) === 'plans_pkey') throw new Problem('slug_taken');
    throw error;
  }
}
