import type { Statement } from '../../database/database.js';
import { NO_KEY } from '../../quota/flow.entity.js';
import { WINDOWS } from '../../quota/meters.js';

/** SQL: whether a gauge or flow can have a near limit in some window. Ended windows and bonus credits are not looked at yet. */
const MAY_BE_NEAR = WINDOWS.map(
  (_window, i) => `q.counts[${i + 1}] >= $2::float8 * nullif(coalesce(q.limits[${i + 1}], p.limits[${i + 1}]), -1)`,
).join(' OR ');

/**
 * Reads all gauges and flows with their users and plans, and computes for the few that can be listed what is really used: calls
 * before a limit first applied count, expired entries do not, and bonus credits raise the limit.
 */
export const NEAR_LIMITS: Statement = {
  text: `
    SELECT n.id, n.username, n.email, nullif(n.key_id, '${NO_KEY}') AS "keyId", n.scope, n.meter, n.name AS window,
      n.amount::float8 AS limit, n.used::float8 AS used, (extract(epoch FROM now()) * 1000)::float8 AS moment
    FROM (
      SELECT u.id, u.username, u.email, q.key_id, q.meter, w.place, w.name,
        CASE WHEN q.key_id <> '${NO_KEY}' THEN 'key' WHEN q.limits[w.place] IS NULL THEN 'plan' ELSE 'user' END AS scope,
        l.amount + CASE q.meter WHEN 'tasks' THEN bonus_credits(u.id, now()) ELSE 0 END AS amount,
        CASE
          WHEN q.meter LIKE 'api:%' AND q.at = '-infinity' THEN (calls_used(u.id, q.key_id, q.meter, now()))[w.place]
          WHEN q.meter = 'store.entries' THEN q.counts[1] - (expired_entries_of(u.id, now()))[1]
          WHEN q.meter = 'store.bytes' THEN q.counts[1] - (expired_entries_of(u.id, now()))[2]
          WHEN w.place = 1 OR q.at >= window_start(w.name, now()) THEN q.counts[w.place]
          ELSE 0
        END AS used
      FROM (
        SELECT owner_id, '${NO_KEY}'::uuid AS key_id, meter, with_limit(NULL, 1, amount) AS limits,
          ARRAY[used, 0, 0, 0, 0] AS counts, now() AS at
        FROM gauges
        UNION ALL
        SELECT owner_id, key_id, meter, limits, counts, at FROM flows
      ) q
      JOIN users u ON u.id = q.owner_id
      LEFT JOIN plan_limits p ON q.key_id = '${NO_KEY}' AND p.plan = u.plan AND p.meter = q.meter
      CROSS JOIN LATERAL unnest($1::text[]) WITH ORDINALITY AS w (name, place)
      CROSS JOIN LATERAL (SELECT coalesce(q.limits[w.place], p.limits[w.place]) AS amount) l
      WHERE l.amount > 0 AND (q.meter LIKE 'api:%' AND q.at = '-infinity' OR ${MAY_BE_NEAR})
      OFFSET 0
    ) n
    WHERE n.used >= $2::float8 * n.amount
    ORDER BY n.used / n.amount::float8 DESC, n.id, n.key_id, n.meter, n.place LIMIT $3`,
};
