-- Returns what becomes of each entry that the requests of one wave write, from what the store holds now.
--
-- Parameters: by request: owners to denials, as in write_entries; `revisions` is -1 if the owner does not exist; `failing`
-- lists requests that fail as a whole, and `denials` those that a quota denied. `refused` lists entries that a quota denied.
-- By entry: requests to turns, as in write_entries. The wave, or NULL for all requests; the moment.
--
-- Returns for each entry: `known`, the version that exists (0: none, or it has expired); `cost` and `bytes`, what the entry adds
-- to the used quota; `more` and `growth`, what it adds to the counts, which differ if it replaces an expired entry; and the
-- verdict: w(ritten), s(kipped), m(ismatch of versions), q (denied by a quota), a(borted with another entry of its request),
-- u(nknown owner).
CREATE OR REPLACE FUNCTION decide_entries(
  owners uuid[], modes integer[], atomic boolean[], waves integer[], revisions bigint[], failing integer[],
  denials integer[], refused bigint[],
  requests integer[], keys text[], starts integer[], lengths integer[], ttls bigint[], if_versions bigint[],
  turns integer[], wave integer, now timestamptz
)
RETURNS TABLE (
  ord bigint, request integer, owner_id uuid, key text, start integer, length integer, ttl bigint, turn integer,
  known bigint, cost integer, bytes integer, more integer, growth integer, verdict text
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
SELECT d.ord, d.request, d.owner_id, d.key, d.start, d.length, d.ttl, d.turn, d.known,
  CASE WHEN d.known = 0 THEN 1 ELSE 0 END,
  d.size - CASE WHEN d.known = 0 THEN 0 ELSE d.old_size END,
  CASE WHEN d.old_size = 0 THEN 1 ELSE 0 END,
  d.size - d.old_size,
  CASE
    WHEN revisions[d.request] < 0 THEN 'u'
    WHEN d.choice <> 'm' AND d.request = ANY(failing) THEN 'a'
    WHEN d.choice = 'w' AND d.ord = ANY(refused) THEN 'q'
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
    SELECT e.ord, e.request, owners[e.request] AS owner_id, e.key, e.start, e.length, e.ttl, e.if_version, e.turn,
      octet_length(e.key) + e.length AS size,
      CASE WHEN s.key IS NULL OR s.expires_at <= now THEN 0 ELSE s.version END AS known,
      coalesce(octet_length(s.key) + octet_length(s.value), 0) AS old_size
    FROM unnest(requests, keys, starts, lengths, ttls, if_versions, turns) WITH ORDINALITY
      AS e (request, key, start, length, ttl, if_version, turn, ord)
    LEFT JOIN store_entries s ON s.owner_id = owners[e.request] AND s.key = e.key
    WHERE wave IS NULL OR waves[e.request] = wave
  ) e
) d
$$;
