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
  key record;
  api apis;
  planned bigint[];
  all_planned bigint[];
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

  FOR n IN 1 .. cardinality(owners) LOOP
    SELECT s.key_id, s.scopes, s.disabled OR s.expires_at <= now OR s.retires_at <= now AS is_over, u.status, u.plan INTO key
    FROM api_key_secrets s JOIN users u ON u.id = s.owner_id
    WHERE s.hash = hashes[n] AND s.owner_id = owners[n];
    IF slugs[n] IS DISTINCT FROM api.slug THEN
      SELECT a.* INTO api FROM apis a WHERE a.slug = slugs[n];
    END IF;
    place := n;
    verdict := CASE
      WHEN key.key_id IS NULL OR key.is_over THEN 'invalid_api_key'
      WHEN key.status <> 'active' THEN 'account_disabled'
      WHEN api.slug IS NULL THEN 'not_found'
      WHEN NOT is_in_scope(api.slug, key.scopes) THEN 'scope_denied'
      ELSE 'ok'
    END;
    key_id := key.key_id;
    answer := api.answer;
    upstream := api.upstream;
    granted := 0;
    limits := '';
    IF verdict = 'ok' THEN
      planned := NULL;
      all_planned := NULL;
      IF key.plan IS NOT NULL THEN
        planned := (SELECT l.limits FROM plan_limits l WHERE l.plan = key.plan AND l.meter = 'api:' || api.slug);
        all_planned := (SELECT l.limits FROM plan_limits l WHERE l.plan = key.plan AND l.meter = 'api:*');
      END IF;
      spent := spend_run(
        owners[n], key_id, 'api:' || api.slug, run_counts[n], costs[n], dry[n], planned, all_planned, has_shared, starts, now
      );
      granted := spent.granted;
      limits := spent.limits;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
