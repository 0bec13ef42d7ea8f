import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Api } from './api.js';
import type { Fleet } from './fleet.js';
import { isDistributed } from './citus.js';
import { SWEEP_LOCK } from '../../src/store/store.repository.js';
import { write } from './load.js';

/** The contents of stores and the charges of their owners and the platform, in one snapshot. */
export interface Holdings {
  /** For each owner: rows and bytes, in total and of live entries. */
  owners: { rows: number; bytes: number; live: number; liveBytes: number }[];
  /** Counters of owners or of the platform that differ from the rows. */
  wrong: object[];
  /** Live entries of all stores. */
  live: number;
  liveBytes: number;
}

/**
 * Selects holdings. The clock is read after the snapshot, so an entry counted as live was live for every writer in the
 * snapshot.
 * @param rows condition for rows of owners
 * @param quotas condition for rows of the platform
 */
const selectHoldings = (rows: string, quotas: string): string => `
  WITH s AS MATERIALIZED (
    SELECT owner_id, octet_length(key) + octet_length(value) AS size,
      expires_at IS NULL OR expires_at > clock_timestamp() AS is_live
    FROM store_entries WHERE ${rows}
  ), there AS (
    SELECT owner_id, count(*)::int AS rows, sum(size)::int AS bytes, count(*) FILTER (WHERE is_live)::int AS live,
      coalesce(sum(size) FILTER (WHERE is_live), 0)::int AS "liveBytes"
    FROM s GROUP BY GROUPING SETS (owner_id, ())
  ), charged AS MATERIALIZED (
    SELECT owner_id, meter, used::int AS counted FROM gauges WHERE meter LIKE 'store.%' AND ${rows}
  ), counted AS (
    SELECT * FROM charged
    UNION ALL SELECT NULL, meter, counts[1]::int FROM platform_quotas WHERE meter LIKE 'store.%' AND ${quotas}
    -- An owner of entries who was charged for none.
    UNION ALL SELECT t.owner_id, 'none', 0
    FROM there t LEFT JOIN charged c ON c.owner_id = t.owner_id AND c.meter = 'store.entries'
    WHERE t.owner_id IS NOT NULL AND c.owner_id IS NULL
  )
  SELECT (SELECT coalesce(json_agg(t), '[]') FROM there t WHERE t.owner_id = ANY($1)) AS owners,
    (SELECT coalesce(json_agg(w), '[]') FROM (
      SELECT c.*, t.rows, t.bytes FROM counted c LEFT JOIN there t ON t.owner_id IS NOT DISTINCT FROM c.owner_id
      WHERE counted <> coalesce(CASE meter WHEN 'store.bytes' THEN t.bytes ELSE t.rows END, 0)
    ) w) AS wrong,
    (SELECT live FROM there WHERE owner_id IS NULL) AS live,
    (SELECT "liveBytes" FROM there WHERE owner_id IS NULL) AS "liveBytes"`;

const HOLDINGS = selectHoldings('true', 'true');

const OF_ONE = selectHoldings('owner_id = $2', 'false');

/** Reads holdings in one snapshot. A distributed database has no snapshot of all nodes: this reads one for each owner. */
async function look(client: pg.Client, owners: readonly string[]): Promise<Holdings> {
  if (!isDistributed()) return (await client.query<Holdings>(HOLDINGS, [owners])).rows[0]!;
  const each: Holdings[] = [];
  for (const owner of owners) each.push((await client.query<Holdings>(OF_ONE, [[owner], owner])).rows[0]!);
  const sum = (field: 'live' | 'liveBytes'): number => each.reduce((total, holdings) => total + holdings[field], 0);
  return {
    owners: each.flatMap((holdings) => holdings.owners),
    wrong: each.flatMap((holdings) => holdings.wrong),
    ...{ live: sum('live'), liveBytes: sum('liveBytes') },
  };
}

/** Returns the holdings of some owners. */
export async function holdingsOf(fleet: Fleet, owners: readonly string[]): Promise<Holdings> {
  return (await fleet.query(HOLDINGS, [owners]))[0];
}

/** Reads the holdings repeatedly while `work` runs, and once after it. */
export async function watching(fleet: Fleet, owners: readonly string[], work: Promise<unknown>): Promise<Holdings[]> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    const seen: Holdings[] = [];
    const state = { isWorking: true };
    const done = work.finally(() => (state.isWorking = false));
    // Prevents an unhandled rejection; `done` is awaited below.
    done.catch(() => undefined);
    while (state.isWorking) {
      seen.push(await look(client, owners));
      await sleep(5);
    }
    await done;
    return [...seen, await look(client, owners)];
  } finally {
    await client.end();
  }
}

/** Holds the lock of the sweeper while `work` runs. */
export async function withoutSweeper<T>(fleet: Fleet, work: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1::bigint)', [SWEEP_LOCK]);
    return await work();
  } finally {
    await client.end();
  }
}

/**
 * Lets entries expire now. It locks the store like a writer, so that no write sees the change half-way. Without keys,
 * all entries of the owner expire.
 */
export async function expire(fleet: Fleet, owner: string, keys: readonly string[] | null = null): Promise<void> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT FROM gauges WHERE owner_id = $1 AND meter LIKE 'store.%' ORDER BY meter FOR UPDATE`, [
      owner,
    ]);
    await client.query(
      `UPDATE store_entries SET expires_at = date_trunc('ms', statement_timestamp())
       WHERE owner_id = $1 AND ($2::text[] IS NULL OR key = ANY($2))`,
      [owner, keys],
    );
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}

export interface Entry {
  key: string;
  value: unknown;
  ttlSeconds?: number;
  ifVersion?: number;
}

export interface Batch {
  entries: Entry[];
  onConflict?: string;
  atomic?: boolean;
  owner?: string;
}

/** Returns the authorization header. */
export function as({ token }: Api): Record<string, string> {
  return { authorization: `Bearer ${String(token)}` };
}

/** Formats a request that writes a batch. */
export function writeBatch(who: Api, batch: Batch, headers: Record<string, string> = {}): string {
  return write('POST', '/v1/store/write', { ...as(who), ...headers }, batch);
}
