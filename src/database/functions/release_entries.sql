-- Gives back the quota of deleted entries. The caller has locked the stores.
--
-- Parameters: by entry: its owner, and the bytes of its key and value.
--
-- Locks: the connection's stripe of platform_totals.
CREATE OR REPLACE FUNCTION release_entries(owners uuid[], sizes integer[])
RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
  IF owners IS NULL THEN
    RETURN;
  END IF;
  UPDATE quotas q SET
    counts[1] = q.counts[1] - CASE q.meter WHEN 'store.entries' THEN e.entries ELSE e.bytes END,
    rank = CASE q.meter WHEN 'store.entries' THEN q.counts[1] - e.entries ELSE 0 END
  FROM (
    SELECT e.owner_id, count(*) AS entries, sum(e.size)::bigint AS bytes
    FROM unnest(owners, sizes) AS e (owner_id, size) GROUP BY e.owner_id
  ) e
  WHERE q.owner_id = e.owner_id AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries');
  UPDATE platform_quotas p
  SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.bytes' THEN e.bytes ELSE e.entries END
  FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM unnest(sizes) AS e (size)) e
  WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
  PERFORM add_objects('store.entries', -cardinality(owners));
END
$$;
