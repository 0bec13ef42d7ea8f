-- Removes at most `most` expired grants from the bonuses that they are part of. Returns the number of removed grants; 0 also
-- while another process sweeps.
CREATE OR REPLACE FUNCTION sweep_grants(most integer)
RETURNS integer
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  now timestamptz := clock_timestamp();
  owners uuid[];
  swept integer;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('credits.sweep'), 0) THEN
    RETURN 0;
  END IF;
  SELECT array_agg(DISTINCT e.owner_id) INTO owners FROM (
    SELECT g.owner_id FROM credit_grants g WHERE g.counted AND g.expires_at <= now ORDER BY g.expires_at LIMIT most
  ) e;
  IF owners IS NULL THEN
    RETURN 0;
  END IF;
  UPDATE credit_grants g SET counted = false
  WHERE g.owner_id = ANY(owners) AND g.counted AND g.expires_at <= now;
  GET DIAGNOSTICS swept = ROW_COUNT;
  PERFORM recount_credits(owners);
  RETURN swept;
END
$$;
