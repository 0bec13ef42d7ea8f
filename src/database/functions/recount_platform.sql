-- Computes anew, from the rows that they summarize: the number of all objects, if it has a limit; and the sum of credits, if it
-- has a bound. For programs that write rows past the API. Blocks all writes until the transaction ends.
CREATE OR REPLACE FUNCTION recount_platform()
RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
  moment timestamptz := clock_timestamp();
BEGIN
  -- Transactions that create or delete users or change credits hold this lock (LOCK in platform.repository.ts).
  PERFORM pg_advisory_xact_lock(1902997619);
  LOCK TABLE gauges IN EXCLUSIVE MODE;
  UPDATE platform_quotas SET counts[1] = count_objects() WHERE meter = 'objects';
  UPDATE platform_settings SET credits_at = moment, credits = (SELECT coalesce(sum(c.amount), 0) FROM user_credits(moment) c)
  WHERE credits IS NOT NULL;
END
$$;
