-- Gives back units of a gauge that charge_gauge charged. The caller must have locked the owner's gauge.
--
-- Locks: the platform's quotas by meter, if there are some.
CREATE OR REPLACE FUNCTION release_gauge(of_owner uuid, of_meter text, units bigint)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE gauges g SET used = g.used - units WHERE g.owner_id = of_owner AND g.meter = of_meter;
  IF EXISTS (SELECT FROM platform_quotas p WHERE p.meter IN ('objects', of_meter)) THEN
    PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE;
    UPDATE platform_quotas p SET counts[1] = p.counts[1] - units WHERE p.meter IN ('objects', of_meter);
  END IF;
END
$$;
