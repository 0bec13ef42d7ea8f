-- Subtracts from the sum of all credits the grants that have expired since `credits_at`; adds them again if the clock was set back.
-- Returns the new moment of the sum. The caller has locked the settings of the platform, and a bound on credits is set.
CREATE OR REPLACE FUNCTION advance_credits()
RETURNS timestamptz
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  moment timestamptz := clock_timestamp();
  last_moment timestamptz;
  change numeric;
BEGIN
  SELECT s.credits_at INTO last_moment FROM platform_settings s;
  SELECT coalesce(sum(CASE WHEN moment > last_moment THEN -g.amount ELSE g.amount END), 0) INTO change
  FROM credit_grants g
  JOIN users u ON u.id = g.owner_id
  LEFT JOIN gauges t ON t.owner_id = g.owner_id AND t.meter = 'tasks'
  LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
  -- Grants do not count for users whose credits are unlimited.
  WHERE g.expires_at > least(last_moment, moment) AND g.expires_at <= greatest(last_moment, moment)
    AND coalesce(t.amount, p.limits[1]) >= 0;
  UPDATE platform_settings SET credits_at = moment, credits = credits + change;
  RETURN moment;
END
$$;
