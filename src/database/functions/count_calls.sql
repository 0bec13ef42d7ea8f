-- Adds granted units and denied calls to the platform's sum of an API. At the first call of an hour, moves the sums of the hour before
-- to platform_hours.
--
-- Locks: the connection's stripe of platform_calls.
CREATE OR REPLACE FUNCTION count_calls(of_meter text, units bigint, denials bigint, this_hour timestamptz)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  LOOP
    -- After the clock is set back, adds to the later hour.
    UPDATE platform_calls c SET
      granted = c.granted + units, denied = c.denied + denials,
      hour_granted = c.hour_granted + units, hour_denied = c.hour_denied + denials
    WHERE c.meter = of_meter AND c.stripe = pg_backend_pid() % 64 AND c.hour >= this_hour;
    EXIT WHEN FOUND;
    PERFORM FROM platform_calls c WHERE c.meter = of_meter AND c.stripe = pg_backend_pid() % 64 FOR UPDATE;
    INSERT INTO platform_hours AS h (meter, hour, granted, denied)
    SELECT c.meter, c.hour, c.hour_granted, c.hour_denied FROM platform_calls c
    WHERE c.meter = of_meter AND c.stripe = pg_backend_pid() % 64 AND c.hour < this_hour
      AND (c.hour_granted > 0 OR c.hour_denied > 0)
    ON CONFLICT ON CONSTRAINT platform_hours_pkey DO UPDATE
      SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
    INSERT INTO platform_calls AS c (meter, stripe, granted, denied, hour, hour_granted, hour_denied)
    VALUES (of_meter, pg_backend_pid() % 64, 0, 0, this_hour, 0, 0)
    ON CONFLICT ON CONSTRAINT platform_calls_pkey DO UPDATE SET
      hour = excluded.hour, hour_granted = 0, hour_denied = 0
    WHERE c.hour < excluded.hour;
  END LOOP;
END
$$;
