import { Injectable } from '@nestjs/common';
import { AuditLog, PLATFORM } from '../audit/audit-log.js';
import type { Changes } from '../audit/changes.js';
import type { Caller } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { CreditBound } from '../platform/credit-bound.js';
import { UsersService } from '../users/users.service.js';
import { isViolated, parseLimits, toLimitResponse, type Scope } from './judged-limits.js';
import { ALL_CALLS, GAUGES, WINDOWS, hasWindow, isMeter, windowEnd, type GaugeMeter, type Window } from './meters.js';
import type { LimitDto, QuotaResponse, SetQuotaDto, WindowQuery } from './quota.dto.js';
import { QuotaRepository, type Holder, type Limits, type QuotaRow } from './quota.repository.js';

interface LimitChange {
  meter: string;
  window: Window;
  /** The old limit: -1 is unlimited, null is not set. */
  before: number | null;
  /** The new limit: null is unlimited, undefined is not set. */
  after?: number | null;
}

/**
 * The limits of users and of the platform. Nothing is charged here: calls are charged in calls/, resources and tasks in
 * objects/, entries in src/store, and users in src/users.
 */
@Injectable()
export class QuotaService {
  constructor(
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly quotas: QuotaRepository,
    private readonly credits: CreditBound,
    private readonly audit: AuditLog,
  ) {}

  async list(reference: string, caller: Caller): Promise<QuotaResponse[]> {
    const id = await this.users.idOf(reference, caller);
    return this.listOf(id);
  }

  async set(reference: string, meter: string, dto: SetQuotaDto, caller: Caller): Promise<QuotaResponse> {
    const window = await this.check(meter, dto);
    const ownerId = await this.users.idOf(reference, caller);
    await this.change(ownerId, meter, async (tx) => {
      const before = await this.quotas.set(tx, { ownerId }, meter, window, dto.limit);
      await this.recordLimit(tx, caller, ownerId, { meter, window, before, after: dto.limit });
    });
    const listed = await this.listOf(ownerId);
    const quota = listed.find((each) => each.meter === meter && each.window === window);
    if (!quota) throw new Problem('not_found');
    return quota;
  }

  async unset(reference: string, meter: string, query: WindowQuery, caller: Caller): Promise<void> {
    const window = windowOf(meter, query);
    const ownerId = await this.users.idOf(reference, caller);
    await this.change(ownerId, meter, async (tx) => {
      const before = await this.quotas.unset(tx, { ownerId }, meter, window);
      await this.recordLimit(tx, caller, ownerId, { meter, window, before });
    });
  }

  async listOfPlatform(): Promise<QuotaResponse[]> {
    return (await this.quotas.listOfPlatform()).flatMap((row) => toQuotaResponses(row, 'platform'));
  }

  async setOfPlatform(meter: string, dto: SetQuotaDto, caller: Caller): Promise<QuotaResponse> {
    const window = await this.check(meter, dto);
    await this.database.transaction(async (tx) => {
      const before = await this.quotas.setOfPlatform(tx, meter, window, dto.limit);
      await this.recordLimit(tx, caller, PLATFORM, { meter, window, before, after: dto.limit });
    });
    const listed = await this.listOfPlatform();
    const quota = listed.find((each) => each.meter === meter && each.window === window);
    if (!quota) throw new Problem('not_found');
    return quota;
  }

  async unsetOfPlatform(meter: string, query: WindowQuery, caller: Caller): Promise<void> {
    const window = windowOf(meter, query);
    await this.database.transaction(async (tx) => {
      const before = await this.quotas.unsetOfPlatform(tx, meter, window);
      await this.recordLimit(tx, caller, PLATFORM, { meter, window, before });
    });
  }

  /**
   * Checks the limits of a plan or a key.
   * @param flowsOnly rejects gauges: a key has limits on calls only
   * @throws Problem validation_failed for an unknown API, a window that the meter does not have, or a repeated limit
   */
  async checkAll(limits: readonly LimitDto[], flowsOnly: boolean, tx?: Transaction): Promise<void> {
    const meters = limits.map(({ meter }) => meter);
    const unknown = meters.length > 0 ? await this.quotas.unknownOf(meters, tx) : [];
    const said = new Set<string>();
    const errors = limits.flatMap(({ meter, window = 'lifetime' }, i) => {
      const pointer = `/limits/${i}/meter`;
      const name = `${meter} ${window}`;
      const isRepeated = said.has(name);
      said.add(name);
      if (unknown.includes(meter)) return [{ pointer, detail: 'names an API that is not in the catalogue' }];
      if (flowsOnly && isGauge(meter)) return [{ pointer, detail: 'must be api:<slug> or api:*' }];
      if (!hasWindow(meter, window))
        return [{ pointer: `/limits/${i}/window`, detail: 'must be lifetime for resources, tasks and store meters' }];
      return isRepeated ? [{ pointer, detail: 'is limited twice in the same window' }] : [];
    });
    if (errors.length > 0) throw Problem.fields(errors);
  }

  /**
   * Returns the window of a new limit.
   * @throws Problem validation_failed as in windowOf, and for an API that is not in the catalogue
   */
  async check(meter: string, query: WindowQuery): Promise<Window> {
    const window = windowOf(meter, query);
    const [unknown] = await this.quotas.unknownOf([meter]);
    if (unknown !== undefined) throw Problem.field('/meter', 'names an API that is not in the catalogue');
    return window;
  }

  /** Sets the limits of a new key. */
  async setAll(tx: Transaction, holder: Holder, limits: readonly LimitDto[]): Promise<void> {
    for (const { meter, window, limit } of limits) {
      await this.quotas.set(tx, holder, meter, window ?? 'lifetime', limit);
    }
  }

  /** Records the change of a limit in the audit log. @param target a user, a key, or the platform */
  async recordLimit(tx: Transaction, caller: Caller, target: string, change: LimitChange): Promise<void> {
    const { meter, window, before, after } = change;
    if (before === (after === undefined ? null : (after ?? -1))) return;
    const changes: Changes = {
      meter: { to: meter },
      window: { to: window },
      limit: {
        ...(before === null ? {} : { from: before === -1 ? null : before }),
        ...(after === undefined ? {} : { to: after }),
      },
    };
    await this.audit.record(tx, caller, after === undefined ? 'quota.unset' : 'quota.set', target, changes);
  }

  /** @throws Problem credits_overprovisioned */
  private async change(ownerId: string, meter: string, work: (tx: Transaction) => Promise<void>): Promise<void> {
    await this.database.transaction((tx) => {
      if (meter !== 'tasks') return work(tx);
      return this.credits.guard(tx, { ownerId }, async () => {
        // The limit is the account's `credits`: lock the account, so that a concurrent PATCH with `If-Match` sees this.
        await this.users.lock(tx, ownerId);
        await work(tx);
      });
    });
  }

  private async listOf(ownerId: string): Promise<QuotaResponse[]> {
    const rows = await this.quotas.list(ownerId, [...GAUGES, ALL_CALLS]);
    return rows.flatMap((row) => toQuotaResponses(row, 'user'));
  }
}

/** Returns the window of a request. @throws Problem validation_failed for an unknown meter, or a window it lacks */
export function windowOf(meter: string, { window = 'lifetime' }: WindowQuery): Window {
  if (!isMeter(meter)) {
    throw Problem.field('/meter', `is not a meter; valid meters are ${GAUGES.join(', ')}, api:<slug> and ${ALL_CALLS}`);
  }
  if (!hasWindow(meter, window))
    throw Problem.field('/window', 'must be lifetime for resources, tasks and store meters');
  return window;
}

function isGauge(meter: string): boolean {
  return GAUGES.some((gauge) => gauge === meter);
}

/** Returns the `lifetime` quota of each meter, and the quotas of other windows that have a limit. */
export function toQuotaResponses(
  { meter, limits, planLimits, counts, moment, bonus = 0 }: QuotaRow,
  scope: Scope,
): QuotaResponse[] {
  return WINDOWS.flatMap((window, i) => {
    const [own, plans] = [sayingOf(limits, i), sayingOf(planLimits, i)];
    const said = own ?? plans;
    if (said === null && (window !== 'lifetime' || scope === 'platform' || scope === 'key')) return [];
    const limit = said === null || said === -1 ? null : Math.min(said + bonus, Number.MAX_SAFE_INTEGER);
    const used = counts[i] ?? 0;
    const end = windowEnd(window, moment.getTime());
    return {
      meter,
      window,
      limit,
      used,
      remaining: limit === null ? null : Math.max(0, limit - used),
      resetsAt: end === null ? null : new Date(end).toISOString(),
      scope: own === null && plans !== null ? 'plan' : scope,
    };
  });
}

function sayingOf(limits: Limits, place: number): number | null {
  return limits?.[place] ?? null;
}

/** Units that a write asked of a gauge, and the limits that were judged (see charge_gauge). */
export interface GaugeDenial {
  gauge: GaugeMeter;
  limits: string;
  cost: number;
}

/** Returns the Problem for a write that exceeds limits of gauges. It names every limit that was judged. */
export function gaugeExceeded(denials: GaugeDenial[], members: Record<string, unknown> = {}): Problem {
  const judged = denials.flatMap(({ gauge, limits, cost }) =>
    parseLimits(limits, gauge).map((limit) => ({ limit, isViolated: cost > 0 && isViolated(limit, cost) })),
  );
  const violated = judged.filter((each) => each.isViolated);
  // If only a platform limit on tasks is exceeded, the user has credits left: the code is quota_exceeded.
  const isOfCredits = violated.some(({ limit }) => limit.meter === 'tasks' && limit.scope !== 'platform');
  const first = violated[0]?.limit;
  const now = Date.now();
  const toResponses = (some: typeof judged) => some.map(({ limit }) => toLimitResponse(limit, now));
  return new Problem(isOfCredits ? 'credits_exhausted' : 'quota_exceeded', {
    ...(first
      ? { detail: `${first.used} of ${first.limit} ${isOfCredits ? 'credits' : first.meter} are in use.` }
      : {}),
    members: {
      ...members,
      violated: toResponses(violated),
      limits: toResponses(judged),
    },
  });
}
