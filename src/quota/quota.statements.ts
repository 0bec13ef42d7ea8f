import type { Statement } from '../database/database.js';
import { ALL_OBJECTS } from '../platform/objects.js';
import { ALL_CALLS, WINDOWS } from './meters.js';
import { NO_KEY } from './flow.entity.js';

/** SQL: the usage of a row in the current windows. */
const COUNTS_NOW = `ARRAY[counts[1], ${WINDOWS.slice(1)
  .map((window, i) => `CASE WHEN at >= window_start('${window}', now()) THEN counts[${i + 2}] ELSE 0 END`)
  .join(', ')}]`;

/** SQL: counts without expired store entries, which stay in the stored counts until they are swept. */
function withoutExpired(meter: string, counts: string, expired: string): string {
  return `CASE WHEN ${meter} LIKE 'store.%'
    THEN ARRAY[(${counts})[1] - (${expired})[CASE ${meter} WHEN 'store.entries' THEN 1 ELSE 2 END], 0, 0, 0, 0]
    ELSE ${counts} END`;
}

/** Lists all current meters, and those of deleted APIs for which the owner has a flow. */
export const LIST: Statement = {
  name: 'quotas-list',
  text: `
    SELECT m.meter, CASE WHEN g.amount IS NULL THEN f.limits ELSE with_limit(NULL, 1, g.amount) END AS limits,
      p.limits AS "planLimits", now() AS moment,
      CASE m.meter WHEN 'tasks' THEN bonus_credits($1::uuid, now()) ELSE 0 END::float8 AS bonus,
      CASE WHEN m.meter LIKE 'api:%' THEN calls_used($1, '${NO_KEY}', m.meter, now())
        ELSE ${withoutExpired('m.meter', 'ARRAY[coalesce(g.used, 0), 0, 0, 0, 0]', 'expired_entries_of($1, now())')} END AS counts
    FROM (
      SELECT unnest($2::text[]) AS meter UNION SELECT 'api:' || slug FROM apis
      UNION SELECT meter FROM flows WHERE owner_id = $1 AND key_id = '${NO_KEY}'
    ) m
    JOIN users u ON u.id = $1
    LEFT JOIN gauges g ON g.owner_id = u.id AND g.meter = m.meter
    LEFT JOIN flows f ON f.owner_id = u.id AND f.key_id = '${NO_KEY}' AND f.meter = m.meter
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = m.meter
    ORDER BY array_position($2::text[], m.meter), m.meter COLLATE "C"`,
};

/** Functions compute the usage in the windows that contain one moment of the database's clock. */
export const LIST_OF_KEYS: Statement = {
  name: 'quotas-list-of-keys',
  text: `
    SELECT q.key_id AS "keyId", q.meter, q.limits, NULL AS "planLimits", 
      CASE WHEN q.meter = '${ALL_CALLS}' AND q.at = '-infinity' THEN calls_used(q.owner_id, q.key_id, q.meter, now())
        ELSE ${COUNTS_NOW} END AS counts,
      now() AS moment, CASE WHEN q.meter <> '${ALL_CALLS}' THEN nullif(q.at, '-infinity') END AS "usedAt"
    FROM unnest($1::uuid[], $2::uuid[]) AS k (owner_id, key_id)
    JOIN flows q ON q.owner_id = k.owner_id AND q.key_id = k.key_id
    ORDER BY q.meter`,
};

export const LIST_OF_PLATFORM: Statement = {
  text: `
    SELECT meter, limits, NULL AS "planLimits", now() AS moment,
      ${withoutExpired('meter', COUNTS_NOW, 'expired_entries(now())')} AS counts
    FROM platform_quotas WHERE meter <> '${ALL_OBJECTS}' ORDER BY meter`,
};

/** The table belongs to a module that depends on this one. */
export const UNKNOWN_APIS: Statement = {
  text: `
    SELECT m.meter FROM unnest($1::text[]) AS m (meter)
    WHERE m.meter LIKE 'api:%' AND m.meter <> '${ALL_CALLS}' AND NOT EXISTS (SELECT FROM apis a WHERE 'api:' || a.slug = m.meter)`,
};

/**
 * Creates the first platform quota on calls with the usage so far of all keys. Usage of deleted users comes from the
 * ledger, by the hour. The `lifetime` count includes all calls ever granted. Reads whole tables.
 */
export const PLATFORM_FIRST_FLOW: Statement = {
  text: `
  WITH mine AS MATERIALIZED (
    SELECT counts, at FROM flows
    WHERE key_id <> '${NO_KEY}' AND CASE WHEN $1 = '${ALL_CALLS}' THEN meter <> '${ALL_CALLS}' ELSE meter = $1 END
    UNION ALL
    SELECT ARRAY[d.granted, 0, 0, 0, 0], '-infinity' FROM departed_calls d WHERE $1 = '${ALL_CALLS}' OR d.meter = $1
    UNION ALL
    SELECT ARRAY[0, h.granted, h.granted, h.granted, h.granted], h.hour FROM usage_hours h
    WHERE ($1 = '${ALL_CALLS}' OR h.meter = $1) AND NOT EXISTS (SELECT FROM users u WHERE u.id = h.owner_id)
  ), latest AS (
    SELECT greatest(clock_timestamp(), max(at)) AS at FROM mine
  )
  INSERT INTO platform_quotas (meter, counts, at)
  SELECT $1, ARRAY[coalesce(sum(m.counts[1]), 0), ${WINDOWS.slice(1)
    .map((window, i) => `coalesce(sum(m.counts[${i + 2}]) FILTER (WHERE m.at >= window_start('${window}', l.at)), 0)`)
    .join(', ')}]::bigint[], l.at
  FROM latest l LEFT JOIN mine m ON true GROUP BY l.at
  ON CONFLICT ON CONSTRAINT platform_quotas_pkey DO NOTHING`,
};

/** Creates the first platform quota on a gauge with the sum of all owners. */
export const PLATFORM_FIRST_GAUGE: Statement = {
  text: `
  INSERT INTO platform_quotas (meter, counts)
  SELECT $1, ARRAY[coalesce(sum(used), 0), 0, 0, 0, 0]::bigint[] FROM gauges WHERE meter = $1
  ON CONFLICT ON CONSTRAINT platform_quotas_pkey DO NOTHING`,
};

// These wait for running charges and block new ones.
export const LOCK_FLOWS: Statement = { text: 'LOCK TABLE flows IN EXCLUSIVE MODE' };
export const LOCK_GAUGES: Statement = { text: 'LOCK TABLE gauges IN EXCLUSIVE MODE' };
