-- Judges and charges a batch of calls of any owners, in one transaction.
--
-- Parameters: one element for each run, in order of arrival. A run is a sequence of equal calls: the hash of the key's secret,
-- the slug of the API, the units of one call, the number of calls, and whether it is a dry run, which charges nothing.
-- Returns one row for each run, ordered by owner, then by place: its place; the verdict; the number of granted calls, which are
-- the first of the run; the limits that were judged, with what was used of them before the run (see judge_quota); what the API
-- answers; the moment in ms since 1970.
--
-- The runs of an owner are judged in order. All limits that apply to a call are judged together: the call is granted or denied as
-- a whole, and a denied call is charged to no limit.
--
-- Locks, in this order: the owners' flows api:*, by owner: a transaction that holds this lock may change every flow of the owner;
-- the platform's quotas on calls, by meter; usage_hours; those of charge_calls.
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
  run record;
  quota applying_quota;
  judged record;
  room bigint;
  -- What the batch charges: one slot for each flow. Slots of the current owner start at `first_slot`. A quota of the platform has
  -- one slot for the whole batch.
  slot_names text[] := '{}';
  owners uuid[] := '{}';
  keys uuid[] := '{}';
  meters text[] := '{}';
  units bigint[] := '{}';
  denials bigint[] := '{}';
  first_slot integer;
  -- The elements for the current run.
  slots integer[];
  slot integer;
  slot_name text;
  current_owner uuid;
  used bigint[];
  is_unopened boolean;
  has_unopened boolean := false;
  has_past_hour boolean := false;
BEGIN
  PERFORM FROM flows q
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

  FOR run IN SELECT * FROM calls_to_judge(hashes, slugs, costs, run_counts, dry, now) LOOP
    place := run.place;
    verdict := run.verdict;
    owner_id := run.owner_id;
    key_id := run.key_id;
    granted := 0;
    limits := '';
    answer := run.answer;
    upstream := run.upstream;
    IF verdict <> 'ok' THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF current_owner IS DISTINCT FROM owner_id THEN
      current_owner := owner_id;
      first_slot := cardinality(slot_names) + 1;
    END IF;

    room := run.count;
    slots := '{}';
    FOREACH quota IN ARRAY run.quotas LOOP
      -- Earlier runs of the batch may have used some of it.
      slot_name := CASE quota.scope WHEN 'g' THEN 'g' || quota.meter ELSE quota.key_id || quota.meter END;
      slot := array_position(slot_names, slot_name, CASE quota.scope WHEN 'g' THEN 1 ELSE first_slot END);
      -- Flows of an owner, and of a key for all APIs, start counting when a limit first applies.
      is_unopened := quota.scope <> 'g' AND (quota.key_id = no_key() OR quota.meter = 'api:*')
        AND coalesce(quota.at, '-infinity') = '-infinity';
      IF quota.limits IS NOT NULL OR quota.plan_limits IS NOT NULL THEN
        used := CASE WHEN is_unopened THEN calls_used(owner_id, quota.key_id, quota.meter, now) ELSE quota.counts END;
        judged := judge_quota(quota, used, coalesce(units[slot], 0), starts, run.cost);
        room := least(room, judged.room);
        limits := limits || judged.limits;
      END IF;
      IF quota.scope = 'k' AND quota.meter <> 'api:*' THEN
        -- Keeps counts at most 2^53 - 1, which JavaScript reads exactly.
        room := least(room, greatest(9007199254740991 - coalesce(quota.counts[1], 0) - coalesce(units[slot], 0), 0) / run.cost);
      END IF;
      CONTINUE WHEN run.dry;
      IF slot IS NULL THEN
        slot := cardinality(slot_names) + 1;
        slot_names[slot] := slot_name;
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
      units[slot] := units[slot] + granted * run.cost;
      denials[slot] := denials[slot] + run.count - granted;
    END LOOP;
  END LOOP;

  IF cardinality(slot_names) = 0 THEN
    RETURN;
  END IF;
  IF has_past_hour THEN
    PERFORM close_hours(owners, keys, meters, now);
  END IF;
  IF has_unopened THEN
    PERFORM open_flows(owners, keys, meters, now);
  END IF;
  PERFORM charge_calls(owners, keys, meters, units, denials, now);
END
$$;
