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
  swept integer;
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
    PERFORM FROM quotas q
    WHERE q.owner_id = ANY(owners) AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries')
    ORDER BY q.owner_id, q.meter FOR UPDATE;
  PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE;
  -- What was written anew meanwhile stays.
  WITH gone AS (
    DELETE FROM store_entries s USING unnest(owners, keys) AS e (owner_id, key)
    WHERE s.owner_id = e.owner_id AND s.key = e.key AND s.expires_at <= now
    RETURNING s.owner_id, octet_length(s.key) + octet_length(s.value) AS size
  ),
    freed AS (
      UPDATE quotas q SET counts[1] = q.counts[1] - CASE q.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END,
        rank = CASE q.meter WHEN 'store.entries' THEN q.counts[1] - f.entries ELSE 0 END
      FROM (SELECT owner_id, count(*) AS entries, sum(size)::bigint AS bytes FROM gone GROUP BY owner_id) f
      WHERE q.owner_id = f.owner_id AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries')
    ), platform_freed AS (
      UPDATE platform_quotas p SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.bytes' THEN f.bytes ELSE f.entries END
      FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM gone HAVING count(*) > 0) f
      WHERE p.meter IN ('objects', 'store.bytes', 'store.entries')
    )
  SELECT count(*) INTO swept FROM gone;
  IF swept > 0 THEN
    PERFORM add_objects('store.entries', -swept);
  END IF;
  RETURN swept;
END
$$;
