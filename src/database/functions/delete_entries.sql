-- Deletes entries of the store, and gives their quota back.
--
-- Parameters: by request: its owner; by entry, in order of requests: the place of its request, its key, and the version that
-- must exist (0: none, -1: any, NULL: whatever exists).
-- Returns one row for each request: a verdict for each of its entries, in order: d(eleted), n(ot found), m(ismatch of versions).
--
-- Locks, in this order: those of lock_stores, the entries, those of release_entries.
CREATE OR REPLACE FUNCTION delete_entries(owners uuid[], requests integer[], keys text[], if_versions bigint[])
RETURNS TABLE (place integer, verdicts text)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  now timestamptz;
  gone_owners uuid[];
  gone_sizes integer[];
BEGIN
  PERFORM lock_stores(owners, false);
  now := clock_timestamp();
  FOR place, verdicts, gone_owners, gone_sizes IN
    WITH d AS MATERIALIZED (
      SELECT e.*, CASE
          WHEN e.known = 0 THEN 'n'
          WHEN NOT e.fits THEN 'm'
          -- Only the first request for an entry deletes it.
          WHEN row_number() OVER (PARTITION BY e.owner_id, e.key, e.fits ORDER BY e.ord) > 1 THEN 'n'
          ELSE 'd'
        END AS verdict
      FROM (
        SELECT e.*, e.if_version IS NULL OR e.if_version = e.known OR (e.if_version = -1 AND e.known > 0) AS fits
        FROM (
          SELECT e.ord, e.request, owners[e.request] AS owner_id, e.key, e.if_version,
            octet_length(s.key) + octet_length(s.value) AS size,
            CASE WHEN s.key IS NULL OR s.expires_at <= now THEN 0 ELSE s.version END AS known
          FROM unnest(requests, keys, if_versions) WITH ORDINALITY AS e (request, key, if_version, ord)
          LEFT JOIN store_entries s ON s.owner_id = owners[e.request] AND s.key = e.key
        ) e
      ) e
    ), gone AS (
      DELETE FROM store_entries s USING d
      WHERE d.verdict = 'd' AND s.owner_id = d.owner_id AND s.key = d.key
      RETURNING s.owner_id, d.size
    )
    SELECT d.request, string_agg(d.verdict, '' ORDER BY d.ord),
      (SELECT array_agg(g.owner_id) FROM gone g), (SELECT array_agg(g.size) FROM gone g)
    FROM d GROUP BY d.request
  LOOP
    RETURN NEXT;
  END LOOP;
  PERFORM release_entries(gone_owners, gone_sizes);
END
$$;
