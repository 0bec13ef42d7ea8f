import type { Statement } from '../database/database.js';
import { ALL_CALLS } from '../quota/meters.js';
import { NO_KEY } from '../quota/flow.entity.js';
import type { RankedBy } from './metrics.dto.js';

// Aggregates over the rows of all owners and the ledger. They read many rows in one snapshot.

/** SQL: condition for the flows that are the ledger: each of a key and an API. */
const LEDGER = `key_id <> '${NO_KEY}' AND meter <> '${ALL_CALLS}'`;

/**
 * Sums the rows of all owners (see docs/decisions/0014). A statement that reads the rows of owners may call no function
 * that does, except in a materialized part: Citus runs it on all nodes.
 */
export const PLATFORM = {
  text: `
    WITH credits AS MATERIALIZED (
      SELECT all_credits(now()) AS granted
    ), departed AS MATERIALIZED (
      SELECT coalesce(sum(granted), 0)::bigint AS granted, coalesce(sum(denied), 0)::bigint AS denied FROM departed_calls
    ), requests AS MATERIALIZED (
      SELECT total, errors FROM request_totals
    )
    SELECT now() AS "asOf", (SELECT count(*) FROM users) AS users,
      g.tasks, g.resources, g.entries - (SELECT count(*) FROM store_entries WHERE expires_at <= now()) AS "storeEntries",
      c.granted::text AS "creditsGranted",
      f.granted + d.granted AS "callsGranted", f.denied + d.denied AS "callsDenied", r.total AS requests, r.errors
    FROM (
      SELECT coalesce(sum(used) FILTER (WHERE meter = 'tasks'), 0)::bigint AS tasks,
        coalesce(sum(used) FILTER (WHERE meter = 'resources'), 0)::bigint AS resources,
        coalesce(sum(used) FILTER (WHERE meter = 'store.entries'), 0)::bigint AS entries
      FROM gauges
    ) g, (
      SELECT coalesce(sum(counts[1]), 0)::bigint AS granted, coalesce(sum(denied), 0)::bigint AS denied
      FROM flows WHERE ${LEDGER}
    ) f, credits c, departed d, requests r`,
};

/** SQL: units of a gauge that the user has. */
const used = (meter: string): string =>
  `coalesce((SELECT used FROM gauges WHERE owner_id = $1 AND meter = '${meter}'), 0)`;

/** Frequent: a user reads its own numbers. Each part names the user, so that Citus asks one node. */
export const USER: Statement = {
  name: 'metrics-user',
  text: `
    WITH requests AS MATERIALIZED (
      SELECT total, errors FROM request_counts WHERE owner_id = $1
    )
    SELECT
      CASE WHEN l.amount >= 0 THEN l.amount + (
        SELECT coalesce(sum(amount), 0) FROM credit_grants
        WHERE owner_id = $1 AND (expires_at IS NULL OR expires_at > now())
      ) END::float8 AS credits,
      ${used('tasks')} AS tasks,
      (SELECT count(*) FROM tasks WHERE owner_id = $1 AND completed) AS completed,
      ${used('resources')} AS resources,
      ${used('store.entries')} - x.entries AS entries,
      ${used('store.bytes')} - x.bytes AS bytes,
      (
        SELECT json_agg(c) FROM (
          SELECT meter, sum(counts[1])::bigint AS granted, sum(denied)::bigint AS denied FROM flows
          WHERE owner_id = $1 AND ${LEDGER}
          GROUP BY meter HAVING sum(counts[1]) > 0 OR sum(denied) > 0 ORDER BY meter
        ) c
      ) AS calls,
      coalesce(r.total, 0) AS requests, coalesce(r.errors, 0) AS errors
    FROM users u
    CROSS JOIN LATERAL (
      SELECT count(*) AS entries, coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint AS bytes
      FROM store_entries WHERE owner_id = $1 AND expires_at <= now()
    ) x
    CROSS JOIN LATERAL (
      SELECT coalesce(
        (SELECT amount FROM gauges WHERE owner_id = $1 AND meter = 'tasks'),
        (SELECT limits[1] FROM plan_limits WHERE plan = u.plan AND meter = 'tasks')
      ) AS amount
    ) l
    LEFT JOIN requests r ON true
    WHERE u.id = $1`,
};

/** Adds names to the first owners by value. Only they are looked up. Ids sort by creation time. */
const ranked = (values: string): string => `
    SELECT now() AS "asOf", coalesce((
      SELECT json_agg(json_build_object('id', u.id, 'username', u.username, 'email', u.email, 'value', r.value)
        ORDER BY r.value DESC, r.owner_id)
      FROM (SELECT owner_id, value FROM (${values}) v WHERE value > 0 ORDER BY value DESC, owner_id LIMIT $1) r
      JOIN users u ON u.id = r.owner_id
    ), '[]') AS rows`;

const byGauge = (meter: string): string =>
  ranked(`SELECT owner_id, used AS value FROM gauges WHERE meter = '${meter}'`);

/** Top lists; the parameter is the length. Each reads the rows of all owners. */
export const TOP: Record<RankedBy, string> = {
  tasks: byGauge('tasks'),
  resources: byGauge('resources'),
  storeEntries: ranked(`
      SELECT g.owner_id, g.used - coalesce(e.expired, 0) AS value
      FROM gauges g
      LEFT JOIN (
        SELECT owner_id, count(*) AS expired FROM store_entries WHERE expires_at <= now() GROUP BY owner_id
      ) e ON e.owner_id = g.owner_id
      WHERE g.meter = 'store.entries'`),
  calls: ranked(`SELECT owner_id, sum(counts[1])::bigint AS value FROM flows WHERE ${LEDGER} GROUP BY owner_id`),
  requests: ranked('SELECT owner_id, total AS value FROM request_counts'),
};

/** Sums rows by hour or day in UTC. */
const series = (rows: string): string => `
    SELECT date_trunc($1, s.hour, 'UTC') AS at, sum(s.granted)::bigint AS granted, sum(s.denied)::bigint AS denied
    FROM (${rows}) s WHERE s.hour >= $2 AND s.hour < $3
    GROUP BY 1`;

/** Reads the moment before which platform_hours has all hours. */
export const SUMMED_UNTIL: Statement = { text: 'SELECT usage_until AS until FROM platform_settings' };

const isOfMeter = `($4::text = '${ALL_CALLS}' OR meter = $4)`;

export const SERIES = {
  // SUMMED_UNTIL is a parameter, so that PostgreSQL plans with its value: few rows of usage_hours are later.
  platformCalls: {
    text: series(`
      SELECT hour, granted, denied FROM platform_hours WHERE hour < $5 AND ${isOfMeter}
      UNION ALL
      SELECT hour, granted, denied FROM usage_hours WHERE hour >= $5 AND ${isOfMeter}
      UNION ALL
      SELECT window_start('hour', at), sum(counts[3]), sum(hour_denied) FROM flows
      WHERE at >= $5 AND ${LEDGER} AND ${isOfMeter} GROUP BY 1`),
  },
  userCalls: {
    text: series(`SELECT hour, granted, denied FROM usage WHERE ${isOfMeter} AND owner_id = $5`),
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

/** Adds past hours to platform_hours. */
export const SUM_HOURS: Statement = { text: 'SELECT sum_hours()' };

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

/** Deletes a batch of old rows. Run it under RETENTION_LOCK: Citus cannot skip the rows that another process deletes. */
export const deleteOlder = (table: Kept): Statement => {
  const columns = KEPT[table];
  return {
    text: `
      WITH old AS MATERIALIZED (
        SELECT ${columns} FROM ${table} WHERE hour < now() - make_interval(days => $1) ORDER BY hour LIMIT ${BATCH}
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
