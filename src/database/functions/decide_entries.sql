-- Returns what becomes of each entry that the requests of one wave write, from what the store holds now.
--
-- Parameters: the owner. By request: modes to waves, as in write_entries; `failing` lists requests that fail as a whole, `denials`
-- those that a quota denied. By entry: requests to if_versions, as in write_entries; `refused` lists entries that a quota denied. The
-- wave; the moment.
--
-- Returns for each entry: its place among all entries; its request; `known`, the version that exists (0: none, or it has expired);
-- `cost` and `bytes`, what the entry adds to the used quota; `more` and `growth`, what it adds to the counts, which differ if it
-- replaces an expired entry; and the verdict: w(ritten), s(kipped), m(ismatch of versions), q (denied by a quota), a(borted with
-- another entry of its request). In the order of places.
--
-- OFFSET 0 keeps PostgreSQL from repeating the terms of `known` and `choice` wherever they are used. It also prevents a plan that reads
-- all entries of the owner: PostgreSQL would keep such a plan if it was made while the table was small.
CREATE OR REPLACE FUNCTION decide_entries(
  of_owner uuid, modes integer[], atomic boolean[], waves integer[], failing integer[], denials integer[], refused integer[],
  requests integer[], keys text[], lengths integer[], if_versions bigint[], of_wave integer, now timestamptz
)
RETURNS TABLE (
  place integer, request integer, known bigint, cost integer, bytes integer, more integer, growth integer, verdict text
)
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT d.place, d.request, d.known,
    CASE WHEN d.known = 0 THEN 1 ELSE 0 END,
    d.size - CASE WHEN d.known = 0 THEN 0 ELSE d.old_size END,
    CASE WHEN d.old_size = 0 THEN 1 ELSE 0 END,
    d.size - d.old_size,
    CASE
      WHEN d.choice <> 'm' AND d.request = ANY(failing) THEN 'a'
      WHEN d.choice = 'w' AND d.place = ANY(refused) THEN 'q'
      WHEN d.choice = 's' AND atomic[d.request] AND d.request = ANY(denials) THEN 'a'
      ELSE d.choice
    END
  FROM (
    SELECT e.*,
      CASE
        WHEN e.if_version IS NOT NULL THEN
          CASE WHEN e.if_version = e.known OR (e.if_version = -1 AND e.known > 0) THEN 'w' ELSE 'm' END
        WHEN e.known = 0 OR modes[e.request] = 1 THEN 'w'
        WHEN modes[e.request] = 0 THEN 's'
        ELSE 'm'
      END AS choice
    FROM (
      SELECT n.place::integer AS place, n.request, n.if_version, octet_length(n.key) + n.length AS size,
        CASE WHEN s.version IS NULL OR s.expires_at <= now THEN 0 ELSE s.version END AS known, coalesce(s.size, 0) AS old_size
      FROM unnest(requests, keys, lengths, if_versions) WITH ORDINALITY AS n (request, key, length, if_version, place)
      LEFT JOIN LATERAL (
        SELECT s.version, s.expires_at, octet_length(s.key) + octet_length(s.value) AS size
        FROM store_entries s WHERE s.owner_id = of_owner AND s.key = n.key
        OFFSET 0
      ) AS s ON true
      WHERE waves[n.request] = of_wave
      OFFSET 0
    ) e
    OFFSET 0
  ) d
  ORDER BY d.place;
END
$$;
