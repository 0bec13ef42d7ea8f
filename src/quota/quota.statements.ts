import type { Statement } from '../database/database.js';
import { ALL_OBJECTS } from '../platform/objects.js';
import { ALL_CALLS, WINDOWS } from './meters.js';
import { NO_KEY } from './flow.entity.js';

/** SQL: the usage of a row `q` in the current windows. */
const COUNTS_NOW = `ARRAY[q.counts[1], ${WINDOWS.slice(1)
  .map((window, i) => `CASE WHEN q.at >= window_start('${window}', now()) THEN q.counts[${i + 2}] ELSE 0 END`)
  .join(', ')}]`;

/** Lists all current meters, and those of deleted APIs for which the owner has a flow. */
export const LIST: Statement = {
  name: 'quotas-list',
  text: `
    SELECT meter, limits, plan_limits AS "planLimits", bonus, counts, now() AS moment
    FROM owner_quotas($1::uuid, $2::text[])`,
};

/**
 * Returns the usage in the windows that contain one moment of the database's clock. Ids of keys are unique, so owners and
 * keys need not be matched in pairs.
 */
export const LIST_OF_KEYS: Statement = {
  name: 'quotas-list-of-keys',
  text: `
    SELECT q.key_id AS "keyId", q.meter, q.limits, NULL AS "planLimits", ${COUNTS_NOW} AS counts, now() AS moment,
      CASE WHEN q.meter <> '${ALL_CALLS}' THEN nullif(q.at, '-infinity') END AS "usedAt",
      q.meter = '${ALL_CALLS}' AND q.at = '-infinity' AS "isUncounted"
    FROM flows q WHERE q.owner_id = ANY($1::uuid[]) AND q.key_id = ANY($2::uuid[])
    ORDER BY q.meter`,
};

/** Expired store entries stay in the stored counts until they are swept. */
export const LIST_OF_PLATFORM: Statement = {
  text: `
    WITH expired AS MATERIALIZED (SELECT expired_entries(now()) AS counts)
    SELECT q.meter, q.limits, NULL AS "planLimits", now() AS moment, CASE q.meter
      WHEN 'store.entries' THEN ARRAY[q.counts[1] - (SELECT e.counts[1] FROM expired e), 0, 0, 0, 0]
      WHEN 'store.bytes' THEN ARRAY[q.counts[1] - (SELECT e.counts[2] FROM expired e), 0, 0, 0, 0]
      ELSE ${COUNTS_NOW} END AS counts
    FROM platform_quotas q WHERE q.meter <> '${ALL_OBJECTS}' ORDER BY q.meter`,
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
