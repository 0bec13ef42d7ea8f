import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, type QueryDeepPartialEntity, type Repository } from 'typeorm';
import { Database, OutOfDate, within, type Transaction } from '../database/database.js';
import { ALL_CALLS, WINDOWS, isFlow, type Window } from './meters.js';
import { PlatformQuota } from './platform-quota.entity.js';
import { Flow, NO_KEY } from './flow.entity.js';
import { Gauge } from './gauge.entity.js';
import {
  LIST,
  LIST_OF_KEYS,
  LIST_OF_PLATFORM,
  LOCK_FLOWS,
  LOCK_GAUGES,
  PLATFORM_FIRST_FLOW,
  PLATFORM_FIRST_GAUGE,
  UNKNOWN_APIS,
} from './quota.statements.js';

/** Limits by window, in the order of WINDOWS. */
export type Limits = (number | null)[] | null;

export interface QuotaRow {
  meter: string;
  /** The row's own limits: null is not set, −1 is unlimited. */
  limits: Limits;
  /** The limits of the owner's plan. */
  planLimits: Limits;
  /** Usage in the windows that contain `moment`. */
  counts: number[];
  moment: Date;
  /** Unexpired bonus grants, added to a limit on `tasks`. */
  bonus?: number;
}

export interface KeyQuotaRow extends QuotaRow {
  keyId: string;
  /** When the key last called that API. */
  usedAt: Date | null;
}

/** An owner as a whole, or one of its keys. */
export interface Holder {
  ownerId: string;
  /** If missing, the owner as a whole. */
  keyId?: string;
}

const LOCK = { mode: 'pessimistic_write' } as const;

@Injectable()
export class QuotaRepository {
  constructor(
    @InjectRepository(Gauge) private readonly gauges: Repository<Gauge>,
    @InjectRepository(Flow) private readonly flows: Repository<Flow>,
    @InjectRepository(PlatformQuota) private readonly platformQuotas: Repository<PlatformQuota>,
    private readonly database: Database,
  ) {}

  /** @param meters meters that are always listed */
  list(ownerId: string, meters: readonly string[]): Promise<QuotaRow[]> {
    return this.database.query<QuotaRow>(LIST, [ownerId, meters]);
  }

  /** Lists the limits and usage of keys. */
  async listOfKeys(keys: readonly { ownerId: string; id: string }[], tx?: Transaction): Promise<KeyQuotaRow[]> {
    const values = [keys.map((key) => key.ownerId), keys.map((key) => key.id)];
    const rows = await this.database.query<KeyQuotaRow & { isUncounted: boolean }>(LIST_OF_KEYS, values, tx);
    return rows.map(({ isUncounted, ...row }) => {
      if (!isUncounted) return row;
      // As in calls_used: until a limit first applies to it, the flow for all APIs does not count itself.
      const others = rows.filter(({ keyId, meter }) => keyId === row.keyId && meter !== ALL_CALLS);
      const counts = row.counts.map((_count, i) => others.reduce((sum, other) => sum + (other.counts[i] ?? 0), 0));
      return { ...row, counts };
    });
  }

  listOfPlatform(): Promise<QuotaRow[]> {
    return this.database.query<QuotaRow>(LIST_OF_PLATFORM, []);
  }

  /** Returns those meters whose API is not in the catalogue. */
  async unknownOf(meters: readonly string[], tx?: Transaction): Promise<string[]> {
    const rows = await this.database.query<{ meter: string }>(UNKNOWN_APIS, [meters], tx);
    return rows.map((row) => row.meter);
  }

  /**
   * Creates the owner's flow of all calls. Its row serves as the lock on everything that the owner's calls change.
   * @throws Problem not_found if the user was deleted concurrently
   */
  async openCalls(tx: Transaction, ownerId: string): Promise<void> {
    await this.open(within(this.flows, tx), keyOf({ ownerId }, ALL_CALLS));
  }

  /** Waits for running spends of an owner. Later spends wait for this transaction. */
  async lockCalls(tx: Transaction, ownerId: string): Promise<void> {
    await within(this.flows, tx).findOne({ where: keyOf({ ownerId }, ALL_CALLS), lock: LOCK });
  }

  /** Reads a limit and locks it until the transaction ends. -1 is unlimited, null is not set. */
  async limitOf(tx: Transaction, holder: Holder, meter: string, window: Window): Promise<number | null> {
    const where = keyOf(holder, meter);
    if (!isFlow(meter)) return (await within(this.gauges, tx).findOne({ where, lock: LOCK }))?.amount ?? null;
    const flow = await within(this.flows, tx).findOne({ where, lock: LOCK });
    return flow?.limits?.[WINDOWS.indexOf(window)] ?? null;
  }

  /**
   * Sets a limit.
   * @param limit null is unlimited and overrides the plan
   * @returns the old limit: -1 is unlimited, null is not set
   * @throws Problem not_found if the user was deleted concurrently
   */
  async set(
    tx: Transaction,
    holder: Holder,
    meter: string,
    window: Window,
    limit: number | null,
  ): Promise<number | null> {
    if (isFlow(meter)) await this.lockCalls(tx, holder.ownerId);
    // Create the row first, so that concurrent changes lock it and the second one reads the limit of the first.
    await this.open(within<Flow | Gauge>(isFlow(meter) ? this.flows : this.gauges, tx), keyOf(holder, meter));
    const before = await this.limitOf(tx, holder, meter, window);
    await this.setLimit(tx, holder, meter, window, limit ?? -1);
    return before;
  }

  /** Removes a limit. @returns the old limit, as in `set` */
  async unset(tx: Transaction, holder: Holder, meter: string, window: Window): Promise<number | null> {
    if (isFlow(meter)) await this.lockCalls(tx, holder.ownerId);
    const before = await this.limitOf(tx, holder, meter, window);
    await this.setLimit(tx, holder, meter, window, null);
    return before;
  }

  /**
   * Sets a platform limit. The first limit on a meter starts with the usage so far. To count it, a table lock waits for
   * running charges and blocks new ones.
   */
  async setOfPlatform(tx: Transaction, meter: string, window: Window, limit: number | null): Promise<number | null> {
    // Without a lock: on Citus a locking read locks the whole table, even if it finds no row, and flows and gauges come first.
    if (!(await within(this.platformQuotas, tx).existsBy({ meter }))) {
      await this.database.query(isFlow(meter) ? LOCK_FLOWS : LOCK_GAUGES, [], tx);
      await this.database.query(isFlow(meter) ? PLATFORM_FIRST_FLOW : PLATFORM_FIRST_GAUGE, [meter], tx);
    }
    const before = await this.limitOfPlatform(tx, meter, window);
    // Its last limit was removed in the meantime.
    if (before === undefined) throw new OutOfDate();
    await setElement(within(this.platformQuotas, tx), { meter }, window, limit ?? -1);
    return before;
  }

  /** Removes a platform limit. Deletes a row without limits, so that charges need not lock and count on it. */
  async unsetOfPlatform(tx: Transaction, meter: string, window: Window): Promise<number | null> {
    const before = await this.limitOfPlatform(tx, meter, window);
    const quotas = within(this.platformQuotas, tx);
    await setElement(quotas, { meter }, window, null);
    await quotas.delete({ meter, limits: IsNull() });
    return before ?? null;
  }

  private async open<T extends Flow | Gauge>(rows: Repository<T>, key: QueryDeepPartialEntity<T>): Promise<void> {
    try {
      await rows.createQueryBuilder().insert().values(key).orIgnore().updateEntity(false).execute();
    } catch (error) {
      const violated = violatedConstraint(error);
      if (violated === 'flows_owner_fkey' || violated === 'gauges_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  /** Sets a limit; null removes it. */
  private async setLimit(
    tx: Transaction,
    holder: Holder,
    meter: string,
    window: Window,
    limit: number | null,
  ): Promise<void> {
    const key = keyOf(holder, meter);
    if (isFlow(meter)) await setElement(within(this.flows, tx), key, window, limit);
    else await within(this.gauges, tx).update(key, { amount: limit });
  }

  /** Returns undefined if the platform has no quota on that meter. */
  private async limitOfPlatform(tx: Transaction, meter: string, window: Window): Promise<number | null | undefined> {
    const quota = await within(this.platformQuotas, tx).findOne({ where: { meter }, lock: LOCK });
    return quota ? (quota.limits?.[WINDOWS.indexOf(window)] ?? null) : undefined;
  }
}

/** The primary key of a flow, or of a gauge, which has no key. */
function keyOf({ ownerId, keyId = NO_KEY }: Holder, meter: string): { ownerId: string; meter: string; keyId?: string } {
  return isFlow(meter) ? { ownerId, keyId, meter } : { ownerId, meter };
}

/** Sets one element of the limits; null removes it. */
async function setElement<T extends Flow | PlatformQuota>(
  rows: Repository<T>,
  key: Partial<T>,
  window: Window,
  limit: number | null,
): Promise<void> {
  await rows
    .createQueryBuilder()
    .update()
    .set({ limits: () => 'with_limit(limits, :place, :amount)' } as QueryDeepPartialEntity<T>)
    .where(key)
    // Arrays of the database start at 1.
    .setParameters({ place: WINDOWS.indexOf(window) + 1, amount: limit })
    .execute();
}
