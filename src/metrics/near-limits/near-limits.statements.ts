import type { Statement } from '../../database/database.js';
import { NO_KEY } from '../../quota/flow.entity.js';

/**
 * Reads every gauge and flow with a limit of its own or of its owner's plan. What makes a share smaller (bonus credits,
 * expired entries), and the usage of limits that no call was judged by yet, is computed only for rows that can be listed.
 */
export const NEAR_LIMITS: Statement = {
  text: `
    WITH windows AS MATERIALIZED (
      SELECT w.place, w.name, window_start(w.name, now()) AS start
      FROM unnest($1::text[]) WITH ORDINALITY AS w (name, place)
    ), near AS (
      SELECT q.owner_id, q.key_id, q.meter, w.place, w.name,
        CASE WHEN q.key_id <> '${NO_KEY}' THEN 'key' WHEN q.limits[w.place] IS NULL THEN 'plan' ELSE 'user' END AS scope,
        CASE q.meter WHEN 'tasks' THEN l.amount + bonus_credits(q.owner_id, now()) ELSE l.amount END AS amount,
        CASE
          WHEN q.meter LIKE 'store.%' THEN c.used - (expired_entries_of(q.owner_id, now()))[CASE q.meter WHEN 'store.entries' THEN 1 ELSE 2 END]
          ELSE c.used
        END AS used
      FROM (
        SELECT owner_id, '${NO_KEY}'::uuid AS key_id, meter, CASE WHEN amount IS NOT NULL THEN with_limit(NULL, 1, amount) END AS limits,
          ARRAY[used, 0, 0, 0, 0] AS counts, now() AS at
        FROM gauges
        UNION ALL
        SELECT owner_id, key_id, meter, limits, counts, at FROM flows
      ) q
      JOIN users o ON o.id = q.owner_id
      LEFT JOIN plan_limits p ON q.key_id = '${NO_KEY}' AND p.plan = o.plan AND p.meter = q.meter
      CROSS JOIN windows w
      CROSS JOIN LATERAL (SELECT coalesce(q.limits[w.place], p.limits[w.place]) AS amount) l
      CROSS JOIN LATERAL (
        SELECT CASE
          WHEN q.meter LIKE 'api:%' AND q.at = '-infinity' THEN (calls_used(q.owner_id, q.key_id, q.meter, now()))[w.place]
          WHEN q.at >= w.start OR w.place = 1 THEN q.counts[w.place]
          ELSE 0
        END AS used WHERE l.amount > 0 OFFSET 0
      ) c
      WHERE (q.limits IS NOT NULL OR p.limits IS NOT NULL) AND c.used >= $2::float8 * l.amount
    )
    SELECT n.owner_id AS id, u.username, u.email, nullif(n.key_id, '${NO_KEY}') AS "keyId", n.scope, n.meter,
      n.name AS window, n.amount::float8 AS limit, n.used::float8 AS used,
      (extract(epoch FROM now()) * 1000)::float8 AS moment
    FROM near n JOIN users u ON u.id = n.owner_id
    WHERE n.used >= $2::float8 * n.amount
    ORDER BY n.used / n.amount::float8 DESC, n.owner_id, n.key_id, n.meter, n.place LIMIT $3`,
};
