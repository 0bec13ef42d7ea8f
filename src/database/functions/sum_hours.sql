-- Adds the usage of past hours to platform_hours, so that reports on the platform need not read the hours of all owners.
-- Leaves out the last full hour: a transaction that began in it may not be committed yet.
--
-- Locks: an advisory lock, then the settings of the platform. Returns at once while another process holds the lock.
CREATE OR REPLACE FUNCTION sum_hours()
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  since timestamptz;
  -- The start of the last full hour.
  until timestamptz := window_start('hour', window_start('hour', clock_timestamp()) - interval '1 microsecond');
BEGIN
  SELECT s.usage_until INTO since FROM platform_settings s;
  IF since >= until OR NOT pg_try_advisory_xact_lock(hashtext('usage.sum'), 0) THEN
    RETURN;
  END IF;
  -- Another process may have been faster.
  SELECT s.usage_until INTO since FROM platform_settings s;
  INSERT INTO platform_hours AS h (meter, hour, granted, denied)
  SELECT u.meter, u.hour, sum(u.granted), sum(u.denied) FROM usage u
  WHERE u.hour >= since AND u.hour < until
  GROUP BY u.meter, u.hour
  ON CONFLICT ON CONSTRAINT platform_hours_pkey DO UPDATE
    SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  UPDATE platform_settings SET usage_until = until WHERE usage_until < until;
END
$$;
