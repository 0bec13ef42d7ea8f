-- Judges a run of calls by all limits that apply to it, then charges it.
--
-- Parameters: the owner; the key and the meter of the API; the number of calls, and the units of one, 1 or more; whether it is a dry
-- run; the limits of the owner's plan for this API, and for all; whether the platform has quotas on calls; the starts of the current windows,
-- and the moment.
-- Returns how many calls are granted, and the limits that were judged (see judge_limits), in this order: of the owner for all APIs,
-- and for this one; of the key, of the platform likewise.
--
-- All limits are judged together: a call is granted or denied as a whole, and a denied call is charged to no limit. Granted units
-- are charged to each flow that counts these calls: the ledger, which is that of the key for this API, and those above it that are
-- open (see open_flow).
--
-- Locks: the caller holds those of the owner and of the platform. Takes a row of usage_hours when an hour is over; and shares that of
-- the user, by the foreign key of a new flow (a deletion of the user first takes those of the owner).
CREATE OR REPLACE FUNCTION spend_run(
  of_owner uuid, of_key uuid, of_meter text, calls integer, cost bigint, is_dry boolean, planned bigint[], all_planned bigint[],
  has_shared boolean, starts timestamptz[], now timestamptz, OUT granted bigint, OUT limits text
)
LANGUAGE plpgsql
AS $$
DECLARE
  max_count CONSTANT bigint := 9007199254740991;
  flow flows;
  ledger flows;
  is_ledger boolean;
  shared platform_quotas;
  of_plan bigint[];
  judged record;
BEGIN
  -- Counts stay at most 2^53 - 1, which JavaScript reads exactly.
  granted := least(calls, max_count / cost);
  limits := '';
  -- A limit of the plan is judged by a flow of the owner. That for all APIs exists: it is the lock.
  IF planned IS NOT NULL
    AND NOT EXISTS (SELECT FROM flows f WHERE f.owner_id = of_owner AND f.key_id = no_key() AND f.meter = of_meter)
  THEN
    INSERT INTO flows (owner_id, meter) VALUES (of_owner, of_meter);
  END IF;
  FOR flow IN
    SELECT f.* FROM flows f
    WHERE f.owner_id = of_owner AND f.key_id IN (no_key(), of_key) AND f.meter IN ('api:*', of_meter)
    ORDER BY f.key_id, f.meter
  LOOP
    is_ledger := flow.key_id = of_key AND flow.meter = of_meter;
    IF is_ledger THEN
      ledger := flow;
      granted := least(granted, (max_count - flow.counts[1]) / cost);
    END IF;
    of_plan := CASE WHEN flow.key_id <> no_key() THEN NULL WHEN flow.meter = 'api:*' THEN all_planned ELSE planned END;
    CONTINUE WHEN flow.limits IS NULL AND of_plan IS NULL;
    -- The ledger always counts. The flows above it count since they first had a limit.
    IF flow.at = '-infinity' AND NOT is_ledger THEN
      flow.counts := calls_used(of_owner, flow.key_id, flow.meter, now);
      flow.at := now;
      IF NOT is_dry THEN
        PERFORM open_flow(of_owner, flow.key_id, flow.meter, flow.counts, now);
      END IF;
    END IF;
    judged := judge_limits(
      CASE WHEN flow.key_id = no_key() THEN 'u' ELSE 'k' END, flow.meter, flow.limits, of_plan, flow.counts, flow.at, starts, cost
    );
    granted := least(granted, judged.room);
    limits := limits || judged.judged;
  END LOOP;
  IF has_shared THEN
    FOR shared IN SELECT p.* FROM platform_quotas p WHERE p.meter IN ('api:*', of_meter) ORDER BY p.meter LOOP
      judged := judge_limits('g', shared.meter, shared.limits, NULL, shared.counts, shared.at, starts, cost);
      granted := least(granted, judged.room);
      limits := limits || judged.judged;
    END LOOP;
  END IF;
  IF is_dry THEN
    RETURN;
  END IF;

  IF ledger IS NULL THEN
    INSERT INTO flows (owner_id, key_id, meter) VALUES (of_owner, of_key, of_meter);
  ELSIF ledger.at < starts[3] THEN
    PERFORM close_hour(of_owner, ledger);
  END IF;
  UPDATE flows f SET
    counts = counts_after(f.counts, f.at, granted * cost, starts),
    at = greatest(f.at, now),
    denied = f.denied + calls - granted,
    hour_denied = CASE WHEN f.at >= starts[3] THEN f.hour_denied ELSE 0 END + calls - granted
  WHERE f.owner_id = of_owner AND f.key_id IN (no_key(), of_key) AND f.meter IN ('api:*', of_meter)
    AND (f.at > '-infinity' OR (f.key_id = of_key AND f.meter = of_meter));
  IF has_shared THEN
    UPDATE platform_quotas p SET counts = counts_after(p.counts, p.at, granted * cost, starts), at = greatest(p.at, now)
    WHERE p.meter IN ('api:*', of_meter);
  END IF;
END
$$;
