-- Deletes entries of one owner's store, and gives their quota back.
--
-- Parameters: the owner; by entry, in order of requests: the place of its request, its key, and the version that must exist (0:
-- none, -1: any, NULL: whatever exists).
-- Returns one row for each request: a verdict for each of its entries, in order: d(eleted), n(ot found), m(ismatch of versions).
--
-- Locks, in this order: those of lock_room, the entries.
CREATE OR REPLACE FUNCTION delete_entries(of_owner uuid, requests integer[], keys text[], if_versions bigint[])
RETURNS TABLE (place integer, verdicts text)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  now timestamptz;
  choices text[];
BEGIN
  PERFORM lock_room(of_owner, false);
  now := clock_timestamp();
  choices := ARRAY(
    SELECT CASE
        WHEN e.known = 0 THEN 'n'
        WHEN NOT e.fits THEN 'm'
        -- Only the first request for an entry deletes it.
        WHEN row_number() OVER (PARTITION BY e.key, e.fits ORDER BY e.place) > 1 THEN 'n'
        ELSE 'd'
      END
    FROM (
      SELECT e.*, e.if_version IS NULL OR e.if_version = e.known OR (e.if_version = -1 AND e.known > 0) AS fits
      FROM (
        SELECT e.place, e.key, e.if_version, CASE WHEN s.version IS NULL OR s.expires_at <= now THEN 0 ELSE s.version END AS known
        FROM unnest(keys, if_versions) WITH ORDINALITY AS e (key, if_version, place)
        -- OFFSET 0: see write_entries.
        LEFT JOIN LATERAL (
          SELECT s.version, s.expires_at FROM store_entries s WHERE s.owner_id = of_owner AND s.key = e.key
          OFFSET 0
        ) AS s ON true
      ) e
    ) e
    ORDER BY e.place
  );
  PERFORM remove_entries(of_owner, ARRAY(SELECT keys[n] FROM generate_subscripts(keys, 1) AS n WHERE choices[n] = 'd'), NULL);
  RETURN QUERY
  SELECT e.request, string_agg(e.choice, '' ORDER BY e.place)
  FROM unnest(requests, choices) WITH ORDINALITY AS e (request, choice, place)
  GROUP BY e.request;
END
$$;
