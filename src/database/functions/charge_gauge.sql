-- Charges units of a gauge to several owners. Call it in the statement that inserts the objects.
--
-- Parameters: the gauge; by object, in order: its owner and its units.
-- Returns one row for each object: whether it was granted (NULL: the owner does not exist), and the limits that were judged,
-- as spend_calls does. An object is granted or denied as a whole; objects of an owner are judged in order.
--
-- Locks, in this order: the users without the gauge (FOR KEY SHARE), the owners' gauges by owner, the platform's quotas by meter.
CREATE OR REPLACE FUNCTION charge_gauge(of_meter text, owners uuid[], costs bigint[])
RETURNS TABLE (place integer, granted boolean, limits text)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  r record;
  platform_used bigint;
  platform_limit bigint;
  objects_used bigint;
  objects_limit bigint;
  now timestamptz;
  current_owner uuid;
  extra bigint;
  platform_extra bigint := 0;
  units bigint[] := '{}';
BEGIN
  -- FOR KEY SHARE waits for a concurrent deletion of the owner. Then the owner has no row.
  INSERT INTO gauges (owner_id, meter)
  SELECT u.id, of_meter FROM users u
  WHERE u.id = ANY(owners) AND NOT EXISTS (SELECT FROM gauges g WHERE g.owner_id = u.id AND g.meter = of_meter)
  ORDER BY u.id FOR KEY SHARE
  ON CONFLICT ON CONSTRAINT gauges_pkey DO NOTHING;
  PERFORM FROM gauges g WHERE g.owner_id = ANY(owners) AND g.meter = of_meter ORDER BY g.owner_id FOR UPDATE;
  FOR r IN
    SELECT p.meter, p.counts[1] AS used, nullif(p.limits[1], -1) AS amount
    FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE
  LOOP
    IF r.meter = 'objects' THEN
      objects_used := r.used;
      objects_limit := r.amount;
    ELSE
      platform_used := r.used;
      platform_limit := r.amount;
    END IF;
  END LOOP;
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  IF objects_used + (SELECT sum(c) FROM unnest(costs) AS c) > objects_limit THEN
    objects_used := objects_used - (expired_entries(now))[1];
  END IF;
  FOR r IN
    SELECT a.place::integer AS place, a.owner_id, a.cost, g.used,
      CASE WHEN coalesce(g.amount, p.limits[1]) >= 0 THEN least(9007199254740991, coalesce(g.amount, p.limits[1])
        + CASE of_meter WHEN 'tasks' THEN bonus_credits(a.owner_id, now) ELSE 0 END)::bigint END AS amount,
      CASE WHEN g.amount IS NULL THEN 'p' ELSE 'u' END AS scope
    FROM unnest(owners, costs) WITH ORDINALITY AS a (owner_id, cost, place)
    LEFT JOIN gauges g ON g.owner_id = a.owner_id AND g.meter = of_meter
    LEFT JOIN users u ON u.id = a.owner_id
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = of_meter
    ORDER BY a.owner_id, a.place
  LOOP
    IF current_owner IS DISTINCT FROM r.owner_id THEN
      current_owner := r.owner_id;
      extra := 0;
    END IF;
    place := r.place;
    granted := CASE WHEN r.used IS NOT NULL THEN r.used + extra + r.cost <= coalesce(r.amount, 9007199254740991)
      AND (platform_used IS NULL OR platform_used + platform_extra + r.cost <= coalesce(platform_limit, 9007199254740991))
      AND (objects_used IS NULL OR objects_used + platform_extra + r.cost <= coalesce(objects_limit, 9007199254740991)) END;
    limits := concat_ws(';',
      r.scope || 'ls' || r.amount || ':' || (r.used + extra),
      'gls' || platform_limit || ':' || (platform_used + platform_extra),
      'glo' || objects_limit || ':' || (objects_used + platform_extra));
    units[r.place] := CASE WHEN granted THEN r.cost ELSE 0 END;
    extra := extra + units[r.place];
    platform_extra := platform_extra + units[r.place];
    RETURN NEXT;
  END LOOP;
  UPDATE gauges g SET used = g.used + w.units
  FROM (
    SELECT w.owner_id, sum(w.units)::bigint AS units FROM unnest(owners, units) AS w (owner_id, units)
    GROUP BY w.owner_id HAVING sum(w.units) > 0
  ) w
  WHERE g.owner_id = w.owner_id AND g.meter = of_meter;
  IF platform_extra > 0 AND (platform_used IS NOT NULL OR objects_used IS NOT NULL) THEN
    UPDATE platform_quotas p SET counts[1] = p.counts[1] + platform_extra WHERE p.meter IN ('objects', of_meter);
  END IF;
END
$$;
