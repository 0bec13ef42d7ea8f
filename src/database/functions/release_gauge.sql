-- Gives back units of a gauge that charge_gauge charged. The caller must have locked the owner's gauge.
--
-- Locks: the platform's quotas by meter.
CREATE OR REPLACE FUNCTION release_gauge(of_meter text, of_owner uuid, units bigint)
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  UPDATE gauges g SET used = g.used - units WHERE g.owner_id = of_owner AND g.meter = of_meter;
  PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE;
  IF FOUND THEN
    UPDATE platform_quotas p SET counts[1] = p.counts[1] - units WHERE p.meter IN ('objects', of_meter);
  END IF;
END
$$;
