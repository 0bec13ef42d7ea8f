import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Api } from './api.js';
import type { Fleet } from './fleet.js';
import { write } from './load.js';

/** What stores hold, and what their owners and the platform were charged for it; of one snapshot. */
export interface Holdings {
  /** Of each owner: rows and their bytes, and of these what has not expired. */
  owners: { rows: number; bytes: number; live: number; liveBytes: number }[];
  /** Owners, and the platform, whose counters say something else than their rows. */
  wrong: object[];
  /** What all stores hold that has not expired. */
  live: number;
  liveBytes: number;
}

/** The clock is read after the snapshot was taken: what is not past then was not past for whoever wrote in it. */
const HOLDINGS = `
  WITH s AS MATERIALIZED (
    SELECT owner_id, octet_length(key) + octet_length(value) AS size,
      expires_at IS NULL OR expires_at > clock_timestamp() AS is_live
    FROM store_entries
  ), there AS (
    SELECT owner_id, count(*)::int AS rows, sum(size)::int AS bytes, count(*) FILTER (WHERE is_live)::int AS live,
      coalesce(sum(size) FILTER (WHERE is_live), 0)::int AS "liveBytes"
    FROM s GROUP BY GROUPING SETS (owner_id, ())
  ), counted AS (
    SELECT owner_id, meter, counts[1]::int AS counted FROM quotas WHERE meter LIKE 'store.%'
    UNION ALL SELECT NULL, meter, counts[1]::int FROM platform_quotas WHERE meter LIKE 'store.%'
    -- An owner of entries who was charged for none.
    UNION ALL SELECT t.owner_id, 'none', 0 FROM there t WHERE t.owner_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM quotas q WHERE q.owner_id = t.owner_id AND q.meter = 'store.entries')
  )
  SELECT (SELECT coalesce(json_agg(t), '[]') FROM there t WHERE t.owner_id = ANY($1)) AS owners,
    (SELECT coalesce(json_agg(w), '[]') FROM (
      SELECT c.*, t.rows, t.bytes FROM counted c LEFT JOIN there t ON t.owner_id IS NOT DISTINCT FROM c.owner_id
      WHERE counted <> coalesce(CASE meter WHEN 'store.bytes' THEN t.bytes ELSE t.rows END, 0)
    ) w) AS wrong,
    (SELECT live FROM there WHERE owner_id IS NULL) AS live,
    (SELECT "liveBytes" FROM there WHERE owner_id IS NULL) AS "liveBytes"`;

/** What some owners hold now. */
export async function holdingsOf(fleet: Fleet, owners: readonly string[]): Promise<Holdings> {
  return (await fleet.query(HOLDINGS, [owners]))[0];
}

/** What some owners hold, over and over while `work` goes on, and once more after it. */
export async function watching(fleet: Fleet, owners: readonly string[], work: Promise<unknown>): Promise<Holdings[]> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    const look = async (): Promise<Holdings> => (await client.query<Holdings>(HOLDINGS, [owners])).rows[0]!;
    const seen: Holdings[] = [];
    const state = { isWorking: true };
    const done = work.finally(() => (state.isWorking = false));
    // Should it fail while one looks, it is heard of below.
    done.catch(() => undefined);
    while (state.isWorking) {
      seen.push(await look());
      await sleep(5);
    }
    await done;
    return [...seen, await look()];
  } finally {
    await client.end();
  }
}

/** Keeps every sweeper out while `work` goes on. */
export async function withoutSweeper<T>(fleet: Fleet, work: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    await client.query(`SELECT pg_advisory_lock(hashtext('store.sweep'), 0)`);
    return await work();
  } finally {
    await client.end();
  }
}

/** Lets entries expire, as of now: between two writes, as time passes. All of an owner's where no keys are named. */
export async function expire(fleet: Fleet, owner: string, keys: readonly string[] | null = null): Promise<void> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT FROM quotas WHERE owner_id = $1 AND meter LIKE 'store.%' ORDER BY meter FOR UPDATE`, [
      owner,
    ]);
    await client.query(
      `UPDATE store_entries SET expires_at = date_trunc('ms', clock_timestamp())
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

/** The fields that say who asks. */
export function as({ token }: Api): Record<string, string> {
  return { authorization: `Bearer ${String(token)}` };
}

/** A request that writes a batch. */
export function writeBatch(who: Api, batch: Batch, headers: Record<string, string> = {}): string {
  return write('POST', '/v1/store/write', { ...as(who), ...headers }, batch);
}
