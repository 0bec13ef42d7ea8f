-- Deletes at most `most` expired entries of the store, and gives their quota back. Returns the number of deleted entries; 0 also
-- while another process sweeps.
--
-- Locks: an advisory lock, then as delete_entries.
CREATE OR REPLACE FUNCTION sweep_entries(most integer)
RETURNS integer
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
  now timestamptz := clock_timestamp();
  owners uuid[];
  keys text[];
  gone_owners uuid[];
  gone_sizes integer[];
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('store.sweep'), 0) THEN
    RETURN 0;
  END IF;
  SELECT array_agg(e.owner_id), array_agg(e.key) INTO owners, keys
  FROM (
    SELECT s.owner_id, s.key FROM store_entries s WHERE s.expires_at <= now ORDER BY s.expires_at LIMIT most
  ) e;
  IF owners IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM lock_stores(owners, false);
  -- An entry that was written meanwhile stays.
  WITH gone AS (
    DELETE FROM store_entries s USING unnest(owners, keys) AS e (owner_id, key)
    WHERE s.owner_id = e.owner_id AND s.key = e.key AND s.expires_at <= now
    RETURNING s.owner_id, octet_length(s.key) + octet_length(s.value) AS size
  )
  SELECT array_agg(g.owner_id), array_agg(g.size) INTO gone_owners, gone_sizes FROM gone g;
  PERFORM release_entries(gone_owners, gone_sizes);
  RETURN coalesce(cardinality(gone_owners), 0);
END
$$;
