import type { Statement } from '../database/database.js';
import { ALL_CALLS } from '../quota/meters.js';
import { NO_KEY } from '../quota/quota.entity.js';
import type { RankedBy } from './metrics.dto.js';

// Aggregates over maintained sums and the ledger, which no entity describes. They read many rows in one snapshot.

/** Reads maintained sums, not the rows that they summarize (see docs/decisions/0014). */
export const PLATFORM = {
  text: `
    SELECT t.users, t.tasks, t.resources, t.entries - (expired_entries(now()))[1] AS "storeEntries",
      (SELECT coalesce(sum(amount), 0)::text FROM user_credits(now())) AS "creditsGranted",
      c.granted AS "callsGranted", c.denied AS "callsDenied",
      t.requests, t.errors
    FROM (
      SELECT coalesce(sum(users), 0)::bigint AS users, coalesce(sum(tasks), 0)::bigint AS tasks,
        coalesce(sum(resources), 0)::bigint AS resources, coalesce(sum(store_entries), 0)::bigint AS entries,
        coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(errors), 0)::bigint AS errors
      FROM platform_totals
    ) t, (
      SELECT coalesce(sum(granted), 0)::bigint AS granted, coalesce(sum(denied), 0)::bigint AS denied FROM platform_calls
    ) c`,
};

const gauge = (meter: string): string =>
  `(SELECT counts[1] FROM quotas WHERE owner_id = u.id AND key_id = '${NO_KEY}' AND meter = '${meter}')`;

/** Frequent: a user reads its own numbers. */
export const USER: Statement = {
  name: 'metrics-user',
  text: `
    SELECT
      CASE WHEN l.amount >= 0 THEN l.amount + bonus_credits(u.id, now()) END::float8 AS credits,
      coalesce(${gauge('tasks')}, 0) AS tasks,
      (SELECT count(*) FROM tasks t WHERE t.owner_id = u.id AND t.completed) AS completed,
      coalesce(${gauge('resources')}, 0) AS resources,
      coalesce(${gauge('store.entries')}, 0) - x.expired[1] AS entries,
      coalesce(${gauge('store.bytes')}, 0) - x.expired[2] AS bytes,
      (
        SELECT json_agg(c) FROM (
          SELECT meter, sum(counts[1])::bigint AS granted, sum(denied)::bigint AS denied FROM quotas
          WHERE owner_id = u.id AND key_id <> '${NO_KEY}' AND meter LIKE 'api:%' AND meter <> '${ALL_CALLS}'
          GROUP BY meter HAVING sum(counts[1]) > 0 OR sum(denied) > 0 ORDER BY meter
        ) c
      ) AS calls,
      coalesce(r.total, 0) AS requests, coalesce(r.errors, 0) AS errors
    FROM users u
    CROSS JOIN LATERAL expired_entries_of(u.id, now()) AS x (expired)
    CROSS JOIN LATERAL (
      SELECT coalesce(
        (SELECT limits[1] FROM quotas WHERE owner_id = u.id AND key_id = '${NO_KEY}' AND meter = 'tasks'),
        (SELECT limits[1] FROM plan_limits WHERE plan = u.plan AND meter = 'tasks')
      ) AS amount
    ) l
    LEFT JOIN request_counts r ON r.owner_id = u.id
    WHERE u.id = $1`,
};

/** Adds names to ranked owners. Only listed users are looked up. Ids sort by creation time. */
const named = (ranked: string): string => `
    SELECT u.id, u.username, u.email, r.value FROM (${ranked}
    ) r JOIN users u ON u.id = r.owner_id
    ORDER BY r.value DESC, r.owner_id`;

const byGauge = (meter: string): string =>
  named(`
      SELECT owner_id, rank AS value FROM quotas
      WHERE meter = '${meter}' AND rank > 0 ORDER BY rank DESC, owner_id LIMIT $1`);

/** Top lists. Each is read from an index; the parameter is the length. */
export const TOP: Record<RankedBy, string> = {
  tasks: byGauge('tasks'),
  resources: byGauge('resources'),
  // The rank includes expired entries until they are swept, so their owners may rank too high. The query therefore
  // reads one more owner for each owner with expired entries.
  storeEntries: `
    WITH expired AS MATERIALIZED (
      SELECT owner_id, count(*) AS entries
      FROM (SELECT owner_id FROM store_entries WHERE expires_at <= now() ORDER BY expires_at OFFSET 0) e GROUP BY owner_id
    )${named(`
      SELECT q.owner_id, q.rank - coalesce(e.entries, 0) AS value
      FROM (
        SELECT owner_id, rank FROM quotas
        WHERE meter = 'store.entries' AND rank > 0
        ORDER BY rank DESC, owner_id LIMIT $1 + (SELECT count(*) FROM expired)
      ) q
      LEFT JOIN expired e ON e.owner_id = q.owner_id
      WHERE q.rank > coalesce(e.entries, 0)
      ORDER BY value DESC, q.owner_id LIMIT $1`)}`,
  // The order of calls may be a second old if other processes serve too. The values are exact.
  calls: named(`
      SELECT q.owner_id, s.granted AS value
      FROM (
        SELECT owner_id FROM quotas WHERE meter = '${ALL_CALLS}' AND rank > 0 ORDER BY rank DESC, owner_id LIMIT 2 * $1::int
      ) q
      CROSS JOIN LATERAL (
        SELECT sum(k.counts[1])::bigint AS granted FROM quotas k
        WHERE k.owner_id = q.owner_id AND k.key_id <> '${NO_KEY}' AND k.meter LIKE 'api:%' AND k.meter <> '${ALL_CALLS}'
      ) s
      ORDER BY value DESC, q.owner_id LIMIT $1`),
  requests: named(`
      SELECT owner_id, total AS value FROM request_counts WHERE total > 0 ORDER BY total DESC, owner_id LIMIT $1`),
};

/** Sums rows by hour or day in UTC. */
const series = (rows: string): string => `
    SELECT date_trunc($1, s.hour, 'UTC') AS at, sum(s.granted)::bigint AS granted, sum(s.denied)::bigint AS denied
    FROM (${rows}) s WHERE s.hour >= $2 AND s.hour < $3
    GROUP BY 1`;

export const SERIES = {
  platformCalls: {
    text: series(`SELECT hour, granted, denied FROM platform_usage WHERE $4::text = '${ALL_CALLS}' OR meter = $4`),
  },
  userCalls: {
    text: series(
      `SELECT hour, granted, denied FROM usage WHERE ($4::text = '${ALL_CALLS}' OR meter = $4) AND owner_id = $5`,
    ),
  },
  platformRequests: {
    text: series(`
      SELECT hour, CASE WHEN status < 4 THEN requests ELSE 0 END AS granted,
        CASE WHEN status < 4 THEN 0 ELSE requests END AS denied
      FROM request_routes`),
  },
  userRequests: {
    text: series(`
      SELECT hour, total - errors AS granted, errors AS denied FROM request_hours WHERE owner_id = $4
      UNION ALL
      SELECT hour, hour_total - hour_errors, hour_errors FROM request_counts WHERE owner_id = $4`),
  },
};

export const ROUTES = {
  text: `
    SELECT method, route, sum(requests)::bigint AS requests,
      coalesce(sum(requests) FILTER (WHERE status = 4), 0)::bigint AS "clientErrors",
      coalesce(sum(requests) FILTER (WHERE status = 5), 0)::bigint AS "serverErrors", sum(milliseconds) AS milliseconds
    FROM request_routes WHERE hour >= $1 AND hour < $2
    GROUP BY method, route ORDER BY 3 DESC, route, method`,
};

export const USAGE = `
  SELECT s.hour, s.owner_id AS "ownerId", coalesce(u.username, u.email) AS "ownerName", s.key_id AS "keyId",
    k.name AS "keyName", s.meter, s.granted, s.denied
  FROM usage s
  LEFT JOIN users u ON u.id = s.owner_id
  LEFT JOIN api_keys k ON k.owner_id = s.owner_id AND k.id = s.key_id
  WHERE s.hour >= $1 AND s.hour < $2 ORDER BY s.hour, s.owner_id, s.key_id, s.meter`;

/** Ledger lines per read. */
export const LINES = 1_000;

/** Rows deleted per statement. */
export const BATCH = 5_000;

/** Tables with a retention time, and the primary key of each. */
const KEPT = {
  usage_hours: 'owner_id, key_id, meter, hour',
  platform_hours: 'meter, hour',
  request_hours: 'owner_id, hour',
  request_routes: 'hour, method, route, status',
};

export type Kept = keyof typeof KEPT;

/** Claims a batch of old rows: skips rows that another node has locked. */
export const deleteOlder = (table: Kept): Statement => {
  const columns = KEPT[table];
  return {
    text: `
      WITH old AS MATERIALIZED (
        SELECT ${columns} FROM ${table} WHERE hour < now() - make_interval(days => $1)
        ORDER BY hour LIMIT ${BATCH} FOR UPDATE SKIP LOCKED
      ), gone AS (
        DELETE FROM ${table} t USING old WHERE (${columnsOf('t', columns)}) = (${columnsOf('old', columns)}) RETURNING 1
      )
      SELECT count(*) AS count FROM gone`,
  };
};

function columnsOf(table: string, columns: string): string {
  return columns
    .split(', ')
    .map((column) => `${table}.${column}`)
    .join(', ');
}
