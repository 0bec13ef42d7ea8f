-- Judges and charges calls of one or several owners in one transaction.
--
-- Parameters: an owner, which decides where a distributed database runs the function. Then by run, in ascending order of owners and,
-- of one owner, in order of arrival: the owner, the hash of the key's secret, the slug of the API, the units of one call, the number
-- of calls, and whether it is a dry run, which charges nothing. A run is a sequence of equal calls.
-- Returns one row for each run, in order: its place; the verdict; the key; the number of granted calls, which are the first of
-- the run; the limits that were judged, with what was used of them before the run (see judge_limits); what the API answers; the
-- moment in ms since 1970.
--
-- Locks, in this order: the flow api:* of each owner, with which a transaction may change every flow of the owner; the platform's
-- quotas on these calls, by meter, if there are some; those of spend_run.
CREATE OR REPLACE FUNCTION spend_calls(
  of_owner uuid, owners uuid[], hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[]
)
RETURNS TABLE (
  place integer, verdict text, key_id uuid, granted integer, limits text, answer text, upstream text, moment float8
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  has_shared boolean;
  now timestamptz;
  starts timestamptz[];
  run record;
  spent record;
BEGIN
  PERFORM FROM flows f WHERE f.owner_id = ANY(owners) AND f.key_id = no_key() AND f.meter = 'api:*'
  ORDER BY f.owner_id FOR UPDATE;
  -- Most platforms have no such quota. Then nothing of the platform is locked. None is set while a flow is locked: that locks the whole table.
  has_shared := EXISTS (SELECT FROM platform_quotas p WHERE p.meter LIKE 'api:%');
  IF has_shared THEN
    PERFORM FROM platform_quotas p
    WHERE p.meter = ANY('api:*'::text || ARRAY(SELECT 'api:' || s FROM unnest(slugs) AS s))
    ORDER BY p.meter FOR UPDATE;
  END IF;
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  starts := window_starts(now);
  moment := extract(epoch FROM now) * 1000;

  -- LIMIT: a plan from when the tables were small would otherwise read them whole.
  FOR run IN
    SELECT r.place, r.owner_id, 'api:' || r.slug AS meter, r.cost, r.calls, r.is_dry,
      k.key_id, a.answer, a.upstream, l.limits AS planned, t.limits AS all_planned,
      CASE
        WHEN k.key_id IS NULL OR k.disabled OR k.expires_at <= now OR k.retires_at <= now THEN 'invalid_api_key'
        WHEN k.status <> 'active' THEN 'account_disabled'
        WHEN a.slug IS NULL THEN 'not_found'
        WHEN NOT is_in_scope(a.slug, k.scopes) THEN 'scope_denied'
        ELSE 'ok'
      END AS verdict
    FROM unnest(owners, hashes, slugs, costs, run_counts, dry) WITH ORDINALITY
      AS r (owner_id, hash, slug, cost, calls, is_dry, place)
    LEFT JOIN LATERAL (
      SELECT s.key_id, s.scopes, s.disabled, s.expires_at, s.retires_at, u.status, u.plan
      FROM api_key_secrets s JOIN users u ON u.id = r.owner_id
      WHERE s.hash = r.hash AND s.owner_id = r.owner_id
      LIMIT 1
    ) AS k ON true
    LEFT JOIN apis a ON a.slug = r.slug
    LEFT JOIN plan_limits l ON l.plan = k.plan AND l.meter = 'api:' || r.slug
    LEFT JOIN plan_limits t ON t.plan = k.plan AND t.meter = 'api:*'
    ORDER BY r.place
  LOOP
    place := run.place;
    verdict := run.verdict;
    key_id := run.key_id;
    answer := run.answer;
    upstream := run.upstream;
    granted := 0;
    limits := '';
    IF verdict = 'ok' THEN
      spent := spend_run(
        run.owner_id, key_id, run.meter, run.calls, run.cost, run.is_dry, run.planned, run.all_planned, has_shared, starts, now
      );
      granted := spent.granted;
      limits := spent.limits;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
