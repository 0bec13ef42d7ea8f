-- Gives back what a user holds of the platform's quotas, and keeps its usage, before the user is deleted.
--
-- Locks: the caller holds those of the user's flows and gauges, and then of the platform's quotas. Takes departed_calls, by meter.
CREATE OR REPLACE FUNCTION release_user(of_owner uuid)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  UPDATE platform_quotas p SET counts[1] = p.counts[1] - g.used
  FROM (
    SELECT g.meter, g.used FROM gauges g WHERE g.owner_id = of_owner
    UNION ALL
    SELECT 'objects', sum(g.used) FROM gauges g WHERE g.owner_id = of_owner AND g.meter <> 'store.bytes'
  ) g
  WHERE p.meter = g.meter AND g.used > 0;
  INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
  SELECT f.owner_id, f.key_id, f.meter, window_start('hour', f.at), f.counts[3], f.hour_denied FROM flows f
  WHERE f.owner_id = of_owner AND f.key_id <> no_key() AND f.meter <> 'api:*' AND (f.counts[3] > 0 OR f.hour_denied > 0)
  ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
    SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  INSERT INTO departed_calls AS d (meter, granted, denied)
  SELECT f.meter, sum(f.counts[1]), sum(f.denied) FROM flows f
  WHERE f.owner_id = of_owner AND f.key_id <> no_key() AND f.meter <> 'api:*'
  GROUP BY f.meter ORDER BY f.meter
  ON CONFLICT ON CONSTRAINT departed_calls_pkey DO UPDATE
    SET granted = d.granted + excluded.granted, denied = d.denied + excluded.denied;
  PERFORM charge_users(-1);
END
$$;
