-- Gives back the quota of deleted entries. The caller has locked the stores.
--
-- Parameters: by entry: its owner, and the bytes of its key and value.
--
-- Locks: none but those of the caller.
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
  UPDATE gauges g SET used = g.used - CASE g.meter WHEN 'store.entries' THEN e.entries ELSE e.bytes END
  FROM (
    SELECT e.owner_id, count(*) AS entries, sum(e.size)::bigint AS bytes
    FROM unnest(owners, sizes) AS e (owner_id, size) GROUP BY e.owner_id
  ) e
  WHERE g.owner_id = e.owner_id AND g.meter IN ('store.bytes', 'store.entries');
  UPDATE platform_quotas p
  SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.bytes' THEN e.bytes ELSE e.entries END
  FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM unnest(sizes) AS e (size)) e
  WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
END
$$;
