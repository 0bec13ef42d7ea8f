-- Charges objects of one owner, each one unit, to a gauge. As many are granted as have room.
--
-- Parameters: the owner, the gauge, the number of objects.
-- Returns how many are granted (NULL: the owner does not exist), and the limits that were judged, as spend_calls does, with what
-- is used of them after the charge.
--
-- Locks, in this order: the owner's gauge (of a new one also the user, by the foreign key); the platform's quotas on these objects,
-- by meter, if there are some.
CREATE OR REPLACE FUNCTION charge_gauge(of_owner uuid, of_meter text, objects integer, OUT granted integer, OUT limits text)
LANGUAGE plpgsql
AS $$
DECLARE
  max CONSTANT bigint := 9007199254740991;
  own gauges;
  amount bigint;
  has_shared boolean;
  -- Quotas of the platform, on this gauge and on all objects. NULL: there is none.
  shared_used bigint;
  shared_amount bigint;
  objects_used bigint;
  objects_amount bigint;
  now timestamptz;
BEGIN
  SELECT * INTO own FROM gauges g WHERE g.owner_id = of_owner AND g.meter = of_meter FOR UPDATE;
  IF NOT FOUND THEN
    IF NOT open_gauge(of_owner, of_meter) THEN
      RETURN;
    END IF;
    SELECT * INTO own FROM gauges g WHERE g.owner_id = of_owner AND g.meter = of_meter FOR UPDATE;
    IF NOT FOUND THEN
      RETURN;
    END IF;
  END IF;
  -- Most platforms have no such quota. Then nothing of the platform is locked.
  has_shared := EXISTS (SELECT FROM platform_quotas p WHERE p.meter IN ('objects', of_meter));
  IF has_shared THEN
    PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE;
  END IF;
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  amount := own.amount;
  IF amount IS NULL THEN
    SELECT p.limits[1] INTO amount FROM users u JOIN plan_limits p ON p.plan = u.plan AND p.meter = of_meter WHERE u.id = of_owner;
  END IF;
  amount := nullif(amount, -1);
  IF of_meter = 'tasks' AND amount IS NOT NULL THEN
    amount := least(max, amount + bonus_credits(of_owner, now));
  END IF;
  IF has_shared THEN
    SELECT p.counts[1], nullif(p.limits[1], -1) INTO shared_used, shared_amount FROM platform_quotas p WHERE p.meter = of_meter;
    SELECT p.counts[1], nullif(p.limits[1], -1) INTO objects_used, objects_amount FROM platform_quotas p WHERE p.meter = 'objects';
    IF objects_used + objects > objects_amount THEN
      objects_used := objects_used - (expired_entries(now))[1];
    END IF;
  END IF;

  granted := greatest(0, least(
    objects, coalesce(amount, max) - own.used, coalesce(shared_amount, max) - coalesce(shared_used, 0),
    coalesce(objects_amount, max) - coalesce(objects_used, 0)
  ));
  limits := concat_ws(';',
    CASE WHEN own.amount IS NULL THEN 'p' ELSE 'u' END || 'ls' || amount || ':' || own.used + granted,
    'gls' || shared_amount || ':' || shared_used + granted,
    'glo' || objects_amount || ':' || objects_used + granted);
  IF granted > 0 THEN
    UPDATE gauges g SET used = g.used + granted WHERE g.owner_id = of_owner AND g.meter = of_meter;
    IF has_shared THEN
      UPDATE platform_quotas p SET counts[1] = p.counts[1] + granted WHERE p.meter IN ('objects', of_meter);
    END IF;
  END IF;
END
$$;
