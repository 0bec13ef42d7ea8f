-- Subtracts from the sum of all credits the grants that have expired since `credits_at`; adds them again if the clock was set back.
-- Returns the new moment of the sum. The caller has locked the settings of the platform, and a bound on credits is set.
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
  moment := clock_timestamp();
  SELECT s.credits_at INTO last_moment FROM platform_settings s;
  UPDATE platform_settings SET credits_at = moment, credits = credits + (
    SELECT coalesce(sum(CASE WHEN moment > last_moment THEN -g.amount ELSE g.amount END), 0)
    FROM credit_grants g
    JOIN user_credits(moment) u ON u.owner_id = g.owner_id
    WHERE g.expires_at > least(last_moment, moment) AND g.expires_at <= greatest(last_moment, moment)
  );
  RETURN moment;
END
$$;
