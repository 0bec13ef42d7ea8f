-- Judges and charges calls of one or several owners, owner by owner, in one transaction.
--
-- Parameters: the first owner, which decides where a distributed database runs the function; the owners, in ascending order; for
-- each, the place of its last run. By run, ordered by owner, then by arrival: the hash of the key's secret, the slug of the API, the
-- units of one call, the number of calls, and whether it is a dry run, which charges nothing. A run is a sequence of equal calls.
-- Returns one row for each run, in order: its place; the verdict; the key; the number of granted calls, which are the first of
-- the run; the limits that were judged, with what was used of them before the run (see judge_limits); what the API answers; the
-- moment in ms since 1970.
--
-- All limits that apply to a call are judged together: the call is granted or denied as a whole, and a denied call is charged to
-- no limit.
--
-- Locks, in this order: the flow api:* of each owner, with which a transaction may change every flow of the owner; the platform's
-- quotas on these calls, by meter, if there are some (then after the flows of all owners); rows of usage_hours.
CREATE OR REPLACE FUNCTION spend_calls(
  of_owner uuid, owners uuid[], ends integer[],
  hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[]
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
  has_lock boolean;
  has_shared boolean;
  now timestamptz;
  starts timestamptz[];
  account record;
  -- Limits of the owner's plan, for all APIs and for the one that is called.
  all_planned bigint[];
  planned bigint[];
  of_meter text;
  secret api_key_secrets;
  api apis;
  flow flows;
  ledger flows;
  is_ledger boolean;
  shared platform_quotas;
  of_plan bigint[];
  used bigint[];
  judged record;
  room bigint;
BEGIN
  IF cardinality(owners) > 1 AND EXISTS (SELECT FROM platform_quotas p WHERE p.meter LIKE 'api:%') THEN
    -- With quotas of the platform locked between two owners, two batches could wait for each other.
    PERFORM FROM flows f WHERE f.owner_id = ANY(owners) AND f.key_id = no_key() AND f.meter = 'api:*'
    ORDER BY f.owner_id FOR UPDATE;
  END IF;
  place := 0;
  FOR o IN 1 .. cardinality(owners) LOOP
    of_owner := owners[o];
    PERFORM FROM flows f WHERE f.owner_id = of_owner AND f.key_id = no_key() AND f.meter = 'api:*' FOR UPDATE;
    has_lock := FOUND;
    -- Most platforms have no such quota. Then nothing of the platform is locked. None is set while a flow is locked.
    IF has_shared IS NULL THEN
      has_shared := EXISTS (SELECT FROM platform_quotas p WHERE p.meter LIKE 'api:%');
      IF has_shared THEN
        PERFORM lock_shared_calls(slugs);
      END IF;
    END IF;
    -- From here on, each statement and the clock see everything that was committed before these locks were granted.
    now := clock_timestamp();
    starts := window_starts(now);
    moment := extract(epoch FROM now) * 1000;
    all_planned := NULL;
    SELECT u.status, u.plan INTO account FROM users u WHERE u.id = of_owner;
    IF account.plan IS NOT NULL THEN
      SELECT p.limits INTO all_planned FROM plan_limits p WHERE p.plan = account.plan AND p.meter = 'api:*';
    END IF;

    FOR n IN place + 1 .. ends[o] LOOP
      of_meter := 'api:' || slugs[n];
      SELECT * INTO secret FROM api_key_secrets s WHERE s.hash = hashes[n] AND s.owner_id = of_owner;
      SELECT * INTO api FROM apis a WHERE a.slug = slugs[n];
      place := n;
      key_id := secret.key_id;
      granted := 0;
      limits := '';
      answer := api.answer;
      upstream := api.upstream;
      verdict := CASE
        -- An owner without this flow has no key.
        WHEN key_id IS NULL OR NOT has_lock OR secret.disabled OR secret.expires_at <= now OR secret.retires_at <= now
          THEN 'invalid_api_key'
        WHEN account.status <> 'active' THEN 'account_disabled'
        WHEN api.slug IS NULL THEN 'not_found'
        WHEN NOT is_in_scope(api.slug, secret.scopes) THEN 'scope_denied'
        ELSE 'ok'
      END;
      IF verdict <> 'ok' THEN
        RETURN NEXT;
        CONTINUE;
      END IF;

      room := run_counts[n];
      planned := NULL;
      ledger := NULL;
      IF account.plan IS NOT NULL THEN
        SELECT p.limits INTO planned FROM plan_limits p WHERE p.plan = account.plan AND p.meter = of_meter;
        IF FOUND THEN
          -- The limit of the plan is judged by a flow of the owner. (That for all APIs exists: it is the lock.)
          INSERT INTO flows (owner_id, meter) VALUES (of_owner, of_meter) ON CONFLICT ON CONSTRAINT flows_pkey DO NOTHING;
        END IF;
      END IF;
      -- In this order: of the owner for all APIs, and for this one; of the key for all APIs, and for this one.
      FOR flow IN
        SELECT f.* FROM flows f
        WHERE f.owner_id = of_owner AND f.key_id IN (no_key(), secret.key_id) AND f.meter IN ('api:*', of_meter)
        ORDER BY f.key_id, f.meter
      LOOP
        is_ledger := flow.key_id = secret.key_id AND flow.meter = of_meter;
        IF is_ledger THEN
          ledger := flow;
          -- Keeps its counts at most 2^53 - 1, which JavaScript reads exactly.
          room := least(room, (9007199254740991 - flow.counts[1]) / costs[n]);
        END IF;
        of_plan := CASE WHEN flow.key_id <> no_key() THEN NULL WHEN flow.meter = 'api:*' THEN all_planned ELSE planned END;
        CONTINUE WHEN flow.limits IS NULL AND of_plan IS NULL;
        -- The ledger always counts. The flows above it count since they first had a limit.
        IF flow.at = '-infinity' AND NOT is_ledger THEN
          used := calls_used(of_owner, flow.key_id, flow.meter, now);
          IF NOT dry[n] THEN
            PERFORM open_flow(of_owner, flow.key_id, flow.meter, now);
          END IF;
        ELSE
          used := counts_after(flow.counts, flow.at, 0, starts);
        END IF;
        judged := judge_limits(
          CASE WHEN flow.key_id = no_key() THEN 'u' ELSE 'k' END, flow.meter, flow.limits, of_plan, used, costs[n]
        );
        room := least(room, judged.room);
        limits := limits || judged.judged;
      END LOOP;
      IF has_shared THEN
        FOR shared IN SELECT p.* FROM platform_quotas p WHERE p.meter IN ('api:*', of_meter) ORDER BY p.meter LOOP
          judged := judge_limits(
            'g', shared.meter, shared.limits, NULL, counts_after(shared.counts, shared.at, 0, starts), costs[n]
          );
          room := least(room, judged.room);
          limits := limits || judged.judged;
        END LOOP;
      END IF;
      granted := room;
      RETURN NEXT;
      IF NOT dry[n] THEN
        PERFORM charge_calls(
          of_owner, key_id, of_meter, ledger, granted * costs[n], run_counts[n] - granted, starts, now
        );
        IF has_shared THEN
          UPDATE platform_quotas p SET counts = counts_after(p.counts, p.at, granted * costs[n], starts), at = greatest(p.at, now)
          WHERE p.meter IN ('api:*', of_meter);
        END IF;
      END IF;
    END LOOP;
  END LOOP;
END
$$;
