import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { ALL_OBJECTS } from '../platform/objects.js';
import { ALL_CALLS, WINDOWS, isFlow, type Window } from './meters.js';
import { NO_KEY } from './quota.entity.js';

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

/** SQL: the usage of a row in the current windows. */
const COUNTS_NOW = `ARRAY[counts[1], ${WINDOWS.slice(1)
  .map((window, i) => `CASE WHEN at >= window_start('${window}', now()) THEN counts[${i + 2}] ELSE 0 END`)
  .join(', ')}]`;

/** SQL: counts without expired store entries, which stay in the stored counts until they are swept. */
function withoutExpired(meter: string, counts: string, whose: string): string {
  return `CASE WHEN ${meter} LIKE 'store.%'
    THEN ARRAY[(${counts})[1] - (expired_entries(${whose}))[CASE ${meter} WHEN 'store.entries' THEN 1 ELSE 2 END], 0, 0, 0, 0]
    ELSE ${counts} END`;
}

/** Lists all current meters, and further meters for which the owner has a quota row. */
const LIST = {
  name: 'quotas-list',
  text: `
    SELECT m.meter, q.limits, p.limits AS "planLimits", now() AS moment,
      CASE m.meter WHEN 'tasks' THEN coalesce(bonus_credits($1::uuid, now()), 0) ELSE 0 END::float8 AS bonus,
      CASE WHEN m.meter LIKE 'api:%' THEN calls_used($1, '${NO_KEY}', m.meter, now())
        ELSE ${withoutExpired('m.meter', `coalesce(q.counts, '{0,0,0,0,0}')`, '$1::uuid, now()')} END AS counts
    FROM (
      SELECT unnest($2::text[]) AS meter UNION SELECT 'api:' || slug FROM apis
      UNION SELECT meter FROM quotas WHERE owner_id = $1 AND key_id = '${NO_KEY}'
    ) m
    JOIN users u ON u.id = $1
    LEFT JOIN quotas q ON q.owner_id = u.id AND q.key_id = '${NO_KEY}' AND q.meter = m.meter
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = m.meter
    ORDER BY array_position($2::text[], m.meter), m.meter COLLATE "C"`,
};

const LIST_OF_KEYS = {
  name: 'quotas-list-of-keys',
  text: `
    SELECT q.key_id AS "keyId", q.meter, q.limits, NULL AS "planLimits", 
      CASE WHEN q.meter = '${ALL_CALLS}' AND q.at = '-infinity' THEN calls_used(q.owner_id, q.key_id, q.meter, now())
        ELSE ${COUNTS_NOW} END AS counts,
      now() AS moment, CASE WHEN q.meter <> '${ALL_CALLS}' THEN nullif(q.at, '-infinity') END AS "usedAt"
    FROM unnest($1::uuid[], $2::uuid[]) AS k (owner_id, key_id)
    JOIN quotas q ON q.owner_id = k.owner_id AND q.key_id = k.key_id
    ORDER BY q.meter`,
};

const LIST_OF_PLATFORM = {
  name: 'quotas-list-of-platform',
  text: `
    SELECT meter, limits, NULL AS "planLimits", now() AS moment,
      ${withoutExpired('meter', COUNTS_NOW, 'now()')} AS counts
    FROM platform_quotas WHERE meter <> '${ALL_OBJECTS}' ORDER BY meter`,
};

const UNKNOWN_APIS = {
  name: 'quotas-unknown-apis',
  text: `
    SELECT m.meter FROM unnest($1::text[]) AS m (meter)
    WHERE m.meter LIKE 'api:%' AND m.meter <> '${ALL_CALLS}' AND NOT EXISTS (SELECT FROM apis a WHERE 'api:' || a.slug = m.meter)`,
};

/**
 * Creates the first platform quota on a meter with the usage so far of all keys, or of all owners. Usage of deleted
 * users comes from the ledger, by the hour. The `lifetime` count of calls includes all calls ever granted. Reads whole
 * tables.
 */
const PLATFORM_FIRST = `
  WITH mine AS MATERIALIZED (
    SELECT counts, at FROM quotas
    WHERE CASE WHEN $1 = '${ALL_CALLS}' THEN key_id <> '${NO_KEY}' AND meter LIKE 'api:%' AND meter <> '${ALL_CALLS}'
      WHEN $1 LIKE 'api:%' THEN key_id <> '${NO_KEY}' AND meter = $1
      ELSE key_id = '${NO_KEY}' AND meter = $1 END
    UNION ALL
    SELECT array_fill(h.granted, '{5}'), h.hour FROM usage_hours h
    WHERE ($1 = '${ALL_CALLS}' OR h.meter = $1) AND NOT EXISTS (SELECT FROM users u WHERE u.id = h.owner_id)
  ), latest AS (
    SELECT greatest(clock_timestamp(), max(at)) AS at FROM mine
  )
  INSERT INTO platform_quotas (meter, counts, at)
  SELECT $1, ARRAY[CASE WHEN $1 LIKE 'api:%' THEN coalesce((
      SELECT sum(c.granted) FROM platform_calls c WHERE $1 = '${ALL_CALLS}' OR c.meter = $1
    ), 0) ELSE coalesce(sum(m.counts[1]), 0) END, ${WINDOWS.slice(1)
      .map((window, i) => `coalesce(sum(m.counts[${i + 2}]) FILTER (WHERE m.at >= window_start('${window}', l.at)), 0)`)
      .join(', ')}]::bigint[], l.at
  FROM latest l LEFT JOIN mine m ON true GROUP BY l.at
  ON CONFLICT ON CONSTRAINT platform_quotas_pkey DO NOTHING`;

@Injectable()
export class QuotaRepository {
  constructor(private readonly database: Database) {}

  /** @param meters meters that are always listed */
  list(ownerId: string, meters: readonly string[]): Promise<QuotaRow[]> {
    return this.database.query<QuotaRow>(LIST, [ownerId, meters]);
  }

  /** Lists the limits and usage of keys. */
  listOfKeys(keys: readonly { ownerId: string; id: string }[], tx?: Transaction): Promise<KeyQuotaRow[]> {
    const values = [keys.map((key) => key.ownerId), keys.map((key) => key.id)];
    return tx
      ? tx.query<KeyQuotaRow>(LIST_OF_KEYS.text, values)
      : this.database.query<KeyQuotaRow>(LIST_OF_KEYS, values);
  }

  listOfPlatform(): Promise<QuotaRow[]> {
    return this.database.query<QuotaRow>(LIST_OF_PLATFORM, []);
  }

  /** Returns those meters whose API is not in the catalogue. */
  async unknownOf(meters: readonly string[], tx?: Transaction): Promise<string[]> {
    const rows = await (tx
      ? tx.query<{ meter: string }>(UNKNOWN_APIS.text, [meters])
      : this.database.query<{ meter: string }>(UNKNOWN_APIS, [meters]));
    return rows.map((row) => row.meter);
  }

  /**
   * Creates the owner's quota on all calls. Its row serves as the lock on everything that the owner's calls change.
   * @throws Problem not_found if the user was deleted concurrently
   */
  async openCalls(tx: Transaction, ownerId: string): Promise<void> {
    await this.open(tx, { ownerId }, ALL_CALLS);
  }

  /** Waits for running spends of an owner. Later spends wait for this transaction. */
  async lockCalls(tx: Transaction, ownerId: string): Promise<void> {
    await tx.query('SELECT FROM quotas WHERE owner_id = $1 AND key_id = $2 AND meter = $3 FOR UPDATE', [
      ownerId,
      NO_KEY,
      ALL_CALLS,
    ]);
  }

  /** Reads a limit and locks its quota until the transaction ends. -1 is unlimited, null is not set. */
  async limitOf(tx: Transaction, { ownerId, keyId }: Holder, meter: string, window: Window): Promise<number | null> {
    const rows = await tx.query<{ amount: number | null }>(
      'SELECT limits[$4] AS amount FROM quotas WHERE owner_id = $1 AND key_id = $2 AND meter = $3 FOR UPDATE',
      [ownerId, keyId ?? NO_KEY, meter, placeOf(window)],
    );
    return rows[0]?.amount ?? null;
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
    const { ownerId, keyId } = holder;
    if (isFlow(meter)) await this.lockCalls(tx, ownerId);
    // Create the row first, so that concurrent changes lock it and the second one reads the limit of the first.
    await this.open(tx, holder, meter);
    const before = await this.limitOf(tx, holder, meter, window);
    await tx.query(
      'UPDATE quotas SET limits = with_limit(limits, $4, $5) WHERE owner_id = $1 AND key_id = $2 AND meter = $3',
      [ownerId, keyId ?? NO_KEY, meter, placeOf(window), limit ?? -1],
    );
    return before;
  }

  /** Removes a limit. @returns the old limit, as in `set` */
  async unset(tx: Transaction, holder: Holder, meter: string, window: Window): Promise<number | null> {
    const { ownerId, keyId } = holder;
    if (isFlow(meter)) await this.lockCalls(tx, ownerId);
    const before = await this.limitOf(tx, holder, meter, window);
    await tx.query(
      'UPDATE quotas SET limits = with_limit(limits, $4, NULL) WHERE owner_id = $1 AND key_id = $2 AND meter = $3',
      [ownerId, keyId ?? NO_KEY, meter, placeOf(window)],
    );
    return before;
  }

  /**
   * Sets a platform limit. The first limit on a meter starts with the usage so far. To count it, a table lock waits for
   * running charges and blocks new ones.
   */
  async setOfPlatform(tx: Transaction, meter: string, window: Window, limit: number | null): Promise<number | null> {
    const before = await this.limitOfPlatform(tx, meter, window);
    if (before === undefined) {
      await tx.query('LOCK TABLE quotas IN EXCLUSIVE MODE');
      await tx.query(PLATFORM_FIRST, [meter]);
    }
    await tx.query('UPDATE platform_quotas SET limits = with_limit(limits, $2, $3) WHERE meter = $1', [
      meter,
      placeOf(window),
      limit ?? -1,
    ]);
    return before ?? null;
  }

  /** Removes a platform limit. Deletes a row without limits, so that charges need not lock and count on it. */
  async unsetOfPlatform(tx: Transaction, meter: string, window: Window): Promise<number | null> {
    const before = await this.limitOfPlatform(tx, meter, window);
    await tx.query('UPDATE platform_quotas SET limits = with_limit(limits, $2, NULL) WHERE meter = $1', [
      meter,
      placeOf(window),
    ]);
    await tx.query('DELETE FROM platform_quotas WHERE meter = $1 AND limits IS NULL', [meter]);
    return before ?? null;
  }

  private async open(tx: Transaction, { ownerId, keyId }: Holder, meter: string): Promise<void> {
    try {
      await tx.query(
        `INSERT INTO quotas (owner_id, key_id, meter) VALUES ($1, $2, $3) ON CONFLICT ON CONSTRAINT quotas_pkey DO NOTHING`,
        [ownerId, keyId ?? NO_KEY, meter],
      );
    } catch (error) {
      if (violatedConstraint(error) === 'quotas_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  /** Returns undefined if the platform has no quota on that meter. */
  private async limitOfPlatform(tx: Transaction, meter: string, window: Window): Promise<number | null | undefined> {
    const [row] = await tx.query<{ amount: number | null }>(
      'SELECT limits[$2] AS amount FROM platform_quotas WHERE meter = $1 FOR UPDATE',
      [meter, placeOf(window)],
    );
    return row?.amount;
  }
}

/** Returns the index of a window in the database arrays, which start at 1. */
function placeOf(window: Window): number {
  return WINDOWS.indexOf(window) + 1;
}
