import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { Limits } from '../quota/quota.repository.js';
import { Plan } from '../platform/plan.entity.js';
import { PlanLimit } from './plan-limit.entity.js';

export type PlanState = Plan & { limits: { meter: string; limits: Limits }[] };

/** Position of a page: it starts after the plan with this creation time and slug. */
export interface PlanPosition {
  createdAt: string;
  slug: string;
}

const LIST = {
  name: 'plans-list',
  text: `
    SELECT slug, name, created_at AS "createdAt", updated_at AS "updatedAt" FROM plans
    WHERE $1::timestamptz IS NULL OR created_at < $1 OR (created_at = $1 AND slug > $2)
    ORDER BY created_at DESC, slug LIMIT $3`,
};

const FIND = {
  name: 'plans-find',
  text: `SELECT slug, name, created_at AS "createdAt", updated_at AS "updatedAt" FROM plans WHERE slug = $1`,
};

const LIMITS = {
  name: 'plans-limits',
  text: 'SELECT plan, meter, limits FROM plan_limits WHERE plan = ANY($1::text[]) ORDER BY meter',
};

@Injectable()
export class PlansRepository {
  constructor(private readonly database: Database) {}

  /** Lists plans, newest first. */
  async list(after: PlanPosition | null, limit: number): Promise<PlanState[]> {
    return this.withLimits(
      await this.database.query<Plan>(LIST, [after?.createdAt ?? null, after?.slug ?? null, limit]),
    );
  }

  async find(slug: string): Promise<PlanState | null> {
    return (await this.withLimits(await this.database.query<Plan>(FIND, [slug])))[0] ?? null;
  }

  /** Reads a plan and locks it until the transaction ends. */
  async lock(tx: Transaction, slug: string): Promise<PlanState | null> {
    const plans = await tx.query<Plan>(`${FIND.text} FOR UPDATE`, [slug]);
    return (await this.withLimits(plans, tx))[0] ?? null;
  }

  /** @throws Problem slug_taken */
  async insert(tx: Transaction, slug: string, name: string): Promise<void> {
    await refusingTaken(() => tx.manager.getRepository(Plan).insert({ slug, name }));
  }

  /** @throws Problem slug_taken */
  async update(tx: Transaction, slug: string, changes: Partial<Pick<Plan, 'slug' | 'name'>>): Promise<void> {
    await refusingTaken(() =>
      tx.manager.getRepository(Plan).update({ slug }, { ...changes, updatedAt: () => 'now()' }),
    );
  }

  async replaceLimits(
    tx: Transaction,
    plan: string,
    limits: readonly { meter: string; limits: Limits }[],
  ): Promise<void> {
    await tx.manager.getRepository(PlanLimit).delete({ plan });
    if (limits.length > 0) await tx.manager.getRepository(PlanLimit).insert(limits.map((each) => ({ plan, ...each })));
  }

  /** @throws Problem plan_in_use */
  async delete(tx: Transaction, slug: string): Promise<void> {
    try {
      await tx.query('DELETE FROM plans WHERE slug = $1', [slug]);
    } catch (error) {
      const constraint = violatedConstraint(error);
      if (constraint === 'users_plan_fkey') throw new Problem('plan_in_use');
      if (constraint === 'platform_settings_default_plan_fkey') {
        throw new Problem('plan_in_use', { detail: 'The plan is the `defaultPlan` of the platform.' });
      }
      throw error;
    }
  }

  private async withLimits(plans: Plan[], tx?: Transaction): Promise<PlanState[]> {
    const slugs = [plans.map(({ slug }) => slug)];
    const rows = await (tx ? tx.query<LimitRow>(LIMITS.text, slugs) : this.database.query<LimitRow>(LIMITS, slugs));
    return plans.map((plan) => ({ ...plan, limits: rows.filter((row) => row.plan === plan.slug) }));
  }
}

interface LimitRow {
  plan: string;
  meter: string;
  limits: Limits;
}

async function refusingTaken(write: () => Promise<unknown>): Promise<void> {
  try {
    await write();
  } catch (error) {
    if (violatedConstraint(error) === 'plans_pkey') throw new Problem('slug_taken');
    throw error;
  }
}
