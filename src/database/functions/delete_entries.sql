-- Deletes entries of the store, and gives their quota back.
--
-- Parameters: by request: its owner; by entry, in order of requests: the place of its request, its key, and the version that
-- must exist (0: none, -1: any, NULL: whatever exists).
-- Returns one row for each request: a verdict for each of its entries, in order: d(eleted), n(ot found), m(ismatch of versions).
--
-- Locks, in this order: the quotas of the owners' stores by owner and meter, the platform's quotas by meter, the entries, the
-- stripe of platform_totals.
CREATE OR REPLACE FUNCTION delete_entries(owners uuid[], requests integer[], keys text[], if_versions bigint[])
RETURNS TABLE(place integer, verdicts text)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  now timestamptz;
  entries bigint;
BEGIN
    PERFORM FROM quotas q
    WHERE q.owner_id = ANY(owners) AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries')
    ORDER BY q.owner_id, q.meter FOR UPDATE;
  PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE;
  now := clock_timestamp();
  FOR place, verdicts, entries IN
  WITH d AS MATERIALIZED (
    SELECT e.*, CASE
        WHEN e.known = 0 THEN 'n'
        WHEN NOT (e.if_version = e.known OR (e.if_version = -1 AND e.known > 0)) THEN 'm'
        WHEN row_number() OVER (
          PARTITION BY e.owner_id, e.key, e.if_version IS NULL OR (e.if_version = e.known OR (e.if_version = -1 AND e.known > 0)) ORDER BY e.ord) > 1 THEN 'n'
        ELSE 'd'
      END AS verdict
    FROM (
      SELECT e.ord, e.request, owners[e.request] AS owner_id, e.key, e.if_version,
        octet_length(s.key) + octet_length(s.value) AS size,
        CASE WHEN s.key IS NULL OR s.expires_at <= now THEN 0 ELSE s.version END AS known
      FROM unnest(requests, keys, if_versions) WITH ORDINALITY AS e (request, key, if_version, ord)
      LEFT JOIN store_entries s ON s.owner_id = owners[e.request] AND s.key = e.key
    ) e
  ), gone AS (
    DELETE FROM store_entries s USING d
    WHERE d.verdict = 'd' AND s.owner_id = d.owner_id AND s.key = d.key
    RETURNING s.owner_id, d.size
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
  SELECT d.request, string_agg(d.verdict, '' ORDER BY d.ord), (SELECT count(*) FROM gone) FROM d GROUP BY d.request
  LOOP
    RETURN NEXT;
  END LOOP;
  IF entries > 0 THEN
    PERFORM add_objects('store.entries', -entries);
  END IF;
END
$$;
