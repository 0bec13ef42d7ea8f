-- Gives back what a user holds of the platform's quotas, and keeps its usage, before the user is deleted.
--
-- Locks: the caller holds those of the user's flows and gauges, and then of the platform's quotas. Takes departed_calls, by meter.
CREATE OR REPLACE FUNCTION release_user(the_owner uuid)
RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  held record;
BEGIN
  SELECT coalesce(array_agg(g.meter), '{}') AS meters, coalesce(array_agg(g.used), '{}') AS units,
    coalesce(sum(g.used) FILTER (WHERE g.meter <> 'store.bytes'), 0) AS objects
  INTO held FROM gauges g WHERE g.owner_id = the_owner AND g.used > 0;
  UPDATE platform_quotas p
  SET counts[1] = p.counts[1] - CASE WHEN p.meter = 'objects' THEN held.objects ELSE held.units[array_position(held.meters, p.meter)] END
  WHERE p.meter = ANY(held.meters) OR (p.meter = 'objects' AND held.objects > 0);
  INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
  SELECT f.owner_id, f.key_id, f.meter, window_start('hour', f.at), f.counts[3], f.hour_denied FROM flows f
  WHERE f.owner_id = the_owner AND f.key_id <> no_key() AND f.meter <> 'api:*' AND (f.counts[3] > 0 OR f.hour_denied > 0)
  ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
    SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
  INSERT INTO departed_calls AS d (meter, granted, denied)
  SELECT f.meter, sum(f.counts[1]), sum(f.denied) FROM flows f
  WHERE f.owner_id = the_owner AND f.key_id <> no_key() AND f.meter <> 'api:*'
  GROUP BY f.meter ORDER BY f.meter
  ON CONFLICT ON CONSTRAINT departed_calls_pkey DO UPDATE
    SET granted = d.granted + excluded.granted, denied = d.denied + excluded.denied;
  PERFORM charge_users(-1);
END
$$;
