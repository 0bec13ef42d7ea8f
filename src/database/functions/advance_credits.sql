-- Brings the sum of all credits to the present: subtracts the grants that have expired since. Returns the moment of the sum.
-- The caller has locked the settings of the platform, and a bound on credits is set.
CREATE OR REPLACE FUNCTION advance_credits()
RETURNS timestamptz
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  moment timestamptz;
  last_moment timestamptz;
BEGIN
  -- If the clock goes back, grants that have expired stay so.
  SELECT s.credits_at, greatest(s.credits_at, clock_timestamp()) INTO last_moment, moment FROM platform_settings s;
  UPDATE platform_settings SET credits_at = moment, credits = credits - (
    SELECT coalesce(sum(g.amount), 0) FROM credit_grants g
    JOIN users u ON u.id = g.owner_id
    LEFT JOIN quotas q ON q.owner_id = u.id AND q.key_id = no_key() AND q.meter = 'tasks'
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
    WHERE g.expires_at > last_moment AND g.expires_at <= moment AND coalesce(q.limits[1], p.limits[1]) >= 0
  );
  RETURN moment;
END
$$;
