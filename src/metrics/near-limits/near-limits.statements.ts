import type { Statement } from '../../database/database.js';
import { NO_KEY } from '../../quota/flow.entity.js';
import { ALL_CALLS, WINDOWS } from '../../quota/meters.js';

/** SQL: whether a gauge or flow can have a near limit in some window. Ended windows and bonus credits are not looked at yet. */
const MAY_BE_NEAR = WINDOWS.map(
  (_window, i) => `q.counts[${i + 1}] >= $2::float8 * nullif(coalesce(q.limits[${i + 1}], p.limits[${i + 1}]), -1)`,
).join(' OR ');

/** SQL: units of the window at a place that the counted flows `f` have used. */
const sumOf = (window: string, i: number): string =>
  `coalesce(sum(f.counts[${i + 1}])${i === 0 ? '' : ` FILTER (WHERE f.at >= window_start('${window}', now()))`}, 0)`;

/**
 * Reads all gauges and flows with their users and plans, and computes for the few that can be listed what is really
 * used: calls before a limit first applied count (see calls_used), expired entries do not, and bonus credits raise the
 * limit. The parts are materialized, because Citus reads each from the nodes, and joins them on the coordinator.
 */
export const NEAR_LIMITS: Statement = {
  text: `
    WITH near AS MATERIALIZED (
      SELECT u.id, u.username, u.email, q.key_id, q.meter, q.limits, p.limits AS plan_limits, q.counts, q.at,
        q.meter LIKE 'api:%' AND q.at = '-infinity' AS is_uncounted
      FROM (
        SELECT owner_id, '${NO_KEY}'::uuid AS key_id, meter, with_limit(NULL, 1, amount) AS limits,
          ARRAY[used, 0, 0, 0, 0] AS counts, now() AS at
        FROM gauges
        UNION ALL
        SELECT owner_id, key_id, meter, limits, counts, at FROM flows
      ) q
      JOIN users u ON u.id = q.owner_id
      LEFT JOIN plan_limits p ON q.key_id = '${NO_KEY}' AND p.plan = u.plan AND p.meter = q.meter
      WHERE (q.limits IS NOT NULL OR p.limits IS NOT NULL)
        AND (q.meter LIKE 'api:%' AND q.at = '-infinity' OR ${MAY_BE_NEAR})
    ), grants AS MATERIALIZED (
      SELECT owner_id, sum(amount) AS amount FROM credit_grants
      WHERE (expires_at IS NULL OR expires_at > now()) AND owner_id IN (SELECT id FROM near WHERE meter = 'tasks')
      GROUP BY owner_id
    ), expired AS MATERIALIZED (
      SELECT owner_id, count(*) AS entries, sum(octet_length(key) + octet_length(value)) AS bytes FROM store_entries
      WHERE expires_at <= now() AND owner_id IN (SELECT id FROM near WHERE meter LIKE 'store.%')
      GROUP BY owner_id
    ), uncounted AS MATERIALIZED (
      SELECT n.id, n.key_id, n.meter, ARRAY[${WINDOWS.map(sumOf).join(', ')}]::bigint[] AS counts
      FROM near n
      JOIN flows f ON f.owner_id = n.id AND f.key_id <> '${NO_KEY}' AND (n.key_id = '${NO_KEY}' OR f.key_id = n.key_id)
        AND f.meter <> '${ALL_CALLS}' AND (n.meter = '${ALL_CALLS}' OR f.meter = n.meter)
      WHERE n.is_uncounted
      GROUP BY n.id, n.key_id, n.meter
    )
    SELECT j.id, j.username, j.email, nullif(j.key_id, '${NO_KEY}') AS "keyId", j.scope, j.meter, j.name AS window,
      j.amount::float8 AS limit, j.used::float8 AS used, (extract(epoch FROM now()) * 1000)::float8 AS moment
    FROM (
      SELECT n.id, n.username, n.email, n.key_id, n.meter, w.place, w.name,
        CASE WHEN n.key_id <> '${NO_KEY}' THEN 'key' WHEN n.limits[w.place] IS NULL THEN 'plan' ELSE 'user' END AS scope,
        coalesce(n.limits[w.place], n.plan_limits[w.place])
          + CASE n.meter WHEN 'tasks' THEN coalesce(g.amount, 0) ELSE 0 END AS amount,
        CASE
          WHEN n.is_uncounted THEN coalesce(c.counts[w.place], 0)
          WHEN n.meter = 'store.entries' THEN n.counts[1] - coalesce(e.entries, 0)
          WHEN n.meter = 'store.bytes' THEN n.counts[1] - coalesce(e.bytes, 0)
          WHEN w.place = 1 OR n.at >= window_start(w.name, now()) THEN n.counts[w.place]
          ELSE 0
        END AS used
      FROM near n
      CROSS JOIN LATERAL unnest($1::text[]) WITH ORDINALITY AS w (name, place)
      LEFT JOIN grants g ON g.owner_id = n.id
      LEFT JOIN expired e ON e.owner_id = n.id
      LEFT JOIN uncounted c ON c.id = n.id AND c.key_id = n.key_id AND c.meter = n.meter
      WHERE coalesce(n.limits[w.place], n.plan_limits[w.place]) > 0
    ) j
    WHERE j.used >= $2::float8 * j.amount
    ORDER BY j.used / j.amount::float8 DESC, j.id, j.key_id, j.meter, j.place LIMIT $3`,
};
