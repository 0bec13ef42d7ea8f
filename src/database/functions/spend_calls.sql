-- Judges and charges a batch of calls of any owners, in one transaction.
--
-- Parameters: one element for each run, in order of arrival. A run is a number of equal calls, one after the other: the hash
-- of the key's secret, the slug of the API, the units of each call, the number of calls, and whether they are only judged.
-- Returns one row for each run: its place; the verdict; how many of its calls are granted, the first ones; the limits that
-- were judged, with what was used of them before the run (see judge_quota); what the API answers; the moment in ms since 1970.
--
-- The calls of an owner are judged in order. All limits that apply to a call are judged together: the call is granted or
-- denied as a whole, and a call that is denied is charged to no limit.
--
-- Locks, in this order: the owners' quotas for all APIs, by owner; who holds it may change all quotas of the owner's calls.
-- The platform's quotas on calls, by meter. Then as charge_calls.
CREATE OR REPLACE FUNCTION spend_calls(
  hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[]
)
RETURNS TABLE (
  place integer, verdict text, owner_id uuid, key_id uuid, granted integer, limits text, answer text, upstream text,
  moment float8
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  now timestamptz;
  starts timestamptz[];
  call record;
  quota applying_quota;
  judged record;
  room bigint;
  -- What the batch charges: one element for each quota. Those of the current owner begin at `first`.
  names text[] := '{}';
  owners uuid[] := '{}';
  keys uuid[] := '{}';
  meters text[] := '{}';
  units bigint[] := '{}';
  denials bigint[] := '{}';
  first integer;
  -- The elements for the current call.
  slots integer[];
  slot integer;
  current_owner uuid;
  used bigint[];
  is_unopened boolean;
  has_unopened boolean := false;
  has_past_hour boolean := false;
BEGIN
  PERFORM FROM quotas q
  WHERE q.key_id = no_key() AND q.meter = 'api:*'
    AND q.owner_id IN (SELECT s.owner_id FROM unnest(hashes) AS a (hash) JOIN api_key_secrets s ON s.hash = a.hash)
  ORDER BY q.owner_id FOR UPDATE;
  PERFORM FROM platform_quotas p
  WHERE p.meter = 'api:*' OR p.meter IN (SELECT 'api:' || a.slug FROM unnest(slugs) AS a (slug))
  ORDER BY p.meter FOR UPDATE;
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  starts := window_starts(now);
  moment := extract(epoch FROM now) * 1000;

  FOR call IN SELECT * FROM calls_to_judge(hashes, slugs, costs, run_counts, dry, now) LOOP
    place := call.place;
    verdict := call.verdict;
    owner_id := call.owner_id;
    key_id := call.key_id;
    granted := 0;
    limits := '';
    answer := call.answer;
    upstream := call.upstream;
    IF verdict <> 'ok' THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF current_owner IS DISTINCT FROM owner_id THEN
      current_owner := owner_id;
      first := cardinality(names) + 1;
    END IF;

    room := call.count;
    slots := '{}';
    FOREACH quota IN ARRAY call.quotas LOOP
      -- Earlier calls of the batch may have used some of it.
      slot := CASE quota.scope
        WHEN 'g' THEN array_position(names, 'g' || quota.meter)
        ELSE array_position(names, quota.key_id || quota.meter, first)
      END;
      -- A quota above those of keys for one API counts only since a limit applied to it.
      is_unopened := quota.scope <> 'g' AND (quota.key_id = no_key() OR quota.meter = 'api:*')
        AND coalesce(quota.at, '-infinity') = '-infinity';
      IF quota.limits IS NOT NULL OR quota.plan_limits IS NOT NULL THEN
        used := CASE WHEN is_unopened THEN calls_used(owner_id, quota.key_id, quota.meter, now) ELSE quota.counts END;
        judged := judge_quota(quota, used, coalesce(units[slot], 0), starts, call.cost);
        room := least(room, judged.room);
        limits := limits || judged.limits;
      END IF;
      -- A count must stay exact in a double.
      room := least(room, (9007199254740991 - coalesce(quota.counts[1], 0) - coalesce(units[slot], 0)) / call.cost);
      CONTINUE WHEN call.dry;
      IF slot IS NULL THEN
        slot := cardinality(names) + 1;
        names[slot] := CASE quota.scope WHEN 'g' THEN 'g' || quota.meter ELSE quota.key_id || quota.meter END;
        owners[slot] := CASE WHEN quota.scope <> 'g' THEN owner_id END;
        keys[slot] := quota.key_id;
        meters[slot] := quota.meter;
        units[slot] := 0;
        denials[slot] := 0;
        has_unopened := has_unopened OR is_unopened;
        has_past_hour := has_past_hour OR coalesce(quota.at < starts[3], false);
      END IF;
      slots := slots || slot;
    END LOOP;
    granted := room;
    RETURN NEXT;
    FOREACH slot IN ARRAY slots LOOP
      units[slot] := units[slot] + granted * call.cost;
      denials[slot] := denials[slot] + call.count - granted;
    END LOOP;
  END LOOP;

  IF cardinality(names) = 0 THEN
    RETURN;
  END IF;
  IF has_past_hour THEN
    PERFORM close_hours(owners, keys, meters, now);
  END IF;
  IF has_unopened THEN
    PERFORM open_quotas(owners, keys, meters, now);
  END IF;
  PERFORM charge_calls(owners, keys, meters, units, denials, now);
END
$$;
