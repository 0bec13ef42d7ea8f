-- Returns the runs of a batch, each with the quotas to judge and charge, ordered by owner, then by place.
--
-- Parameters: as spend_calls; and the moment of the calls.
-- The verdict is ok, or a reason that does not depend on limits. The quotas, in the order in which they are reported:
-- of the owner for all APIs, and for this API, if they have a limit, if the plan has one, or if they count already;
-- of the key for this API, always: it is the ledger;
-- of the key for all APIs, if it has a limit or counts already;
-- of the platform for all APIs, and for this API, if they exist.
CREATE OR REPLACE FUNCTION calls_to_judge(
  hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[], now timestamptz
)
RETURNS TABLE (
  place integer, verdict text, owner_id uuid, key_id uuid, cost bigint, count integer, dry boolean, answer text,
  upstream text, quotas applying_quota[]
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT c.place, c.verdict, c.owner_id, c.key_id, c.cost, c.count, c.dry, c.answer, c.upstream,
  CASE WHEN c.verdict = 'ok' THEN ARRAY(
    SELECT ROW(n.scope, n.key_id, n.meter, q.limits, p.limits, q.counts, q.at)::applying_quota
    FROM (VALUES
      (1, 'u', no_key(), 'api:*'), (2, 'u', no_key(), c.meter), (3, 'k', c.key_id, c.meter), (4, 'k', c.key_id, 'api:*')
    ) AS n (turn, scope, key_id, meter)
    LEFT JOIN flows q ON q.owner_id = c.owner_id AND q.key_id = n.key_id AND q.meter = n.meter
    LEFT JOIN plan_limits p ON n.scope = 'u' AND p.plan = c.plan AND p.meter = n.meter
    WHERE n.turn = 3 OR q.limits IS NOT NULL OR p.limits IS NOT NULL OR q.at > '-infinity'
    ORDER BY n.turn
  ) || ARRAY(
    SELECT ROW('g', NULL, p.meter, p.limits, NULL, p.counts, p.at)::applying_quota
    FROM platform_quotas p WHERE p.meter IN ('api:*', c.meter)
    ORDER BY p.meter <> 'api:*'
  ) END
FROM (
  SELECT a.place::integer AS place, 'api:' || a.slug AS meter, a.cost, a.count, a.dry, s.owner_id, s.key_id, u.plan,
    i.answer, i.upstream,
    CASE
      -- An owner without this flow has no key, and the batch holds no lock for it.
      WHEN d.owner_id IS NULL OR s.disabled OR s.expires_at <= now OR s.retires_at <= now THEN 'invalid_api_key'
      WHEN u.status <> 'active' THEN 'account_disabled'
      WHEN i.slug IS NULL THEN 'not_found'
      WHEN NOT ('*' = ANY(s.scopes) OR a.slug = ANY(s.scopes) OR EXISTS (
        SELECT FROM unnest(s.scopes) AS scope WHERE scope LIKE '%*' AND starts_with(a.slug, left(scope, -1))
      )) THEN 'scope_denied'
      ELSE 'ok'
    END AS verdict
  FROM unnest(hashes, slugs, costs, run_counts, dry) WITH ORDINALITY AS a (hash, slug, cost, count, dry, place)
  LEFT JOIN api_key_secrets s ON s.hash = a.hash
  LEFT JOIN users u ON u.id = s.owner_id
  LEFT JOIN apis i ON i.slug = a.slug
  LEFT JOIN flows d ON d.owner_id = s.owner_id AND d.key_id = no_key() AND d.meter = 'api:*'
) c
ORDER BY c.owner_id, c.place
$$;
