import { Injectable } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import { changesOf, differs, type Changes } from '../audit/changes.js';
import type { Caller } from '../http/caller/caller.js';
import { requireVersion, type Preconditions } from '../http/conditional/etag.js';
import { Cursors, type Page, type PageQuery } from '../common/page.js';
import { Problem, required } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { CreditBound } from '../platform/credit-bound.js';
import { PlatformRepository } from '../platform/platform.repository.js';
import { WINDOWS, isSlug } from '../quota/meters.js';
import type { LimitDto } from '../quota/quota.dto.js';
import { QuotaService } from '../quota/quota.service.js';
import { toPlanResponse, type CreatePlanDto, type UpdatePlanDto } from './plan.dto.js';
import { PlansRepository, type NewLimit, type PlanPosition, type PlanState } from './plans.repository.js';

/** Plans: named sets of limits. They apply to each user with the plan separately. */
@Injectable()
export class PlansService {
  constructor(
    private readonly database: Database,
    private readonly plans: PlansRepository,
    private readonly quota: QuotaService,
    private readonly cursors: Cursors,
    private readonly settings: PlatformRepository,
    private readonly credits: CreditBound,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem slug_taken; validation_failed for invalid limits */
  async create(
    { slug, name, limits = [] }: CreatePlanDto,
    caller: Caller,
    transaction?: Transaction,
  ): Promise<PlanState> {
    await this.quota.checkAll(limits, false, transaction);
    return this.database.within(transaction, async (tx) => {
      await this.plans.insert(tx, slug, name);
      await this.plans.replaceLimits(tx, slug, byMeter(limits));
      const plan = required(await this.plans.lock(tx, slug));
      await this.audit.record(tx, caller, 'plan.create', slug, changesBetween(null, plan));
      return plan;
    });
  }

  async list(query: PageQuery): Promise<Page<PlanState>> {
    const after =
      query.cursor === undefined ? null : (JSON.parse(this.cursors.open('plans', query.cursor)) as PlanPosition);
    const rows = await this.plans.list(after, query.limit + 1);
    return this.cursors.page('plans', rows, query.limit, ({ createdAt, slug }) => JSON.stringify({ createdAt, slug }));
  }

  /** @throws Problem not_found */
  async get(slug: string): Promise<PlanState> {
    return required(isSlug(slug) ? await this.plans.find(slug) : null);
  }

  /**
   * @throws Problem not_found, version_mismatch, slug_taken, credits_overprovisioned; validation_failed for invalid
   * limits
   */
  async update(
    slug: string,
    { limits, ...changes }: UpdatePlanDto,
    caller: Caller,
    preconditions: Preconditions,
  ): Promise<PlanState> {
    await this.get(slug);
    if (limits) await this.quota.checkAll(limits, false);
    const change = async (tx: Transaction): Promise<PlanState> => {
      const before = required(await this.plans.lock(tx, slug));
      requireVersion(preconditions, toPlanResponse(before));
      if (!differs(before, changes) && (!limits || isSame(before.limits, byMeter(limits)))) return before;
      await this.plans.update(tx, slug, changes);
      const now = changes.slug ?? slug;
      if (limits) await this.plans.replaceLimits(tx, now, byMeter(limits));
      const after = required(await this.plans.lock(tx, now));
      await this.audit.recordIfChanged(tx, caller, 'plan.update', slug, changesBetween(before, after));
      return after;
    };
    return this.database.transaction(async (tx) => {
      // The settings may reference the plan, and a new slug changes them too. Lock order: settings first.
      if (changes.slug !== undefined) await this.settings.lock(tx, true);
      return limits ? this.credits.guard(tx, { plan: slug, newPlan: changes.slug }, () => change(tx)) : change(tx);
    });
  }

  /**
   * Deletes a plan that is not in use: its users would become unlimited.
   * @throws Problem not_found, version_mismatch; plan_in_use while users have the plan or it is the default plan
   */
  async delete(slug: string, caller: Caller, preconditions: Preconditions): Promise<void> {
    if (!isSlug(slug)) throw new Problem('not_found');
    await this.database.transaction(async (tx) => {
      await this.settings.lock(tx, true);
      const plan = required(await this.plans.lock(tx, slug));
      requireVersion(preconditions, toPlanResponse(plan));
      await this.plans.delete(tx, slug);
      await this.audit.record(tx, caller, 'plan.delete', slug, changesBetween(plan, null));
    });
  }
}

function byMeter(limits: readonly LimitDto[]): NewLimit[] {
  return [...new Set(limits.map(({ meter }) => meter))].map((meter) => ({
    meter,
    limits: WINDOWS.map((each) => {
      const said = limits.find((limit) => limit.meter === meter && (limit.window ?? 'lifetime') === each);
      return said ? (said.limit ?? -1) : null;
    }),
  }));
}

/** Whether two lists have the same limits, in any order. */
function isSame(one: readonly NewLimit[], other: readonly NewLimit[]): boolean {
  const [sorted, others] = [one, other].map((list) =>
    list.map((each) => JSON.stringify([each.meter, each.limits])).sort(),
  );
  return JSON.stringify(sorted) === JSON.stringify(others);
}

function changesBetween(before: PlanState | null, after: PlanState | null): Changes {
  const [old, now] = [before && toPlanResponse(before), after && toPlanResponse(after)];
  return changesOf(old, now, ['slug', 'name', 'limits']);
}
