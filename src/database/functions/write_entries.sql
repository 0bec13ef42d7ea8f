-- Writes entries of one owner's store for several requests, and charges them, in one transaction.
--
-- Parameters: the owner. By request, in order of arrival: its mode (0 skip, 1 replace, 2 fail); whether it is atomic; its wave:
-- requests that write the same key are in different waves, one after the other. By entry, in order of requests, at least one for
-- each: the place of its request; the key; where its value stands in `data`; seconds to live; the version that must exist (0: none,
-- -1: any, NULL: whatever exists).
--
-- Returns one row for each wave (none, if the owner does not exist): for each of its entries, in order, a verdict and the version
-- that exists now (NULL: none); and the requests that a quota has denied so far (see judge_writes). Verdicts: n(ew), w(ritten over an
-- entry), s(kipped), m(ismatch of versions), q (denied by a quota), a(borted with another entry of its request).
--
-- Entries are granted or denied one by one, in the order of the request; those of an atomic request together. A mismatch
-- fails a request as a whole if it is atomic or in mode fail.
--
-- Locks, in this order: those of lock_room, the entries.
CREATE OR REPLACE FUNCTION write_entries(
  of_owner uuid, modes integer[], atomic boolean[], waves integer[],
  requests integer[], keys text[], starts integer[], lengths integer[], ttls bigint[], if_versions bigint[], data bytea
)
RETURNS TABLE (
  wave integer, verdicts text, versions bigint[], denials integer[], entry_limits text[], byte_limits text[],
  entry_costs bigint[], byte_costs bigint[]
)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  now timestamptz;
  room store_room;
  has_shared boolean;
  -- Whether a limit may have too little room.
  is_tight boolean;
  -- By entry of a wave: its place among all; its request; the version that must exist; the version that exists (0: none, or it has
  -- expired); the bytes of its row, also if it has expired (0: no row); the bytes to store; what becomes of it.
  places bigint[];
  wave_requests integer[];
  wave_if_versions bigint[];
  known bigint[];
  row_bytes integer[];
  new_bytes integer[];
  choices text[];
  judged record;
  -- The places that are written, what they add to the counts, and whether they replace rows.
  written bigint[];
  added integer;
  growth bigint;
  replaces boolean;
  -- Whether no key of the wave has a row, and nothing has to be chosen.
  are_new boolean;
BEGIN
  room := lock_room(of_owner, true);
  IF room IS NULL THEN
    RETURN;
  END IF;
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  room := room_with_plan(of_owner, room);
  has_shared := room.all_entries IS NOT NULL OR room.all_bytes IS NOT NULL OR room.objects IS NOT NULL;
  is_tight := may_exceed(room, cardinality(keys), octet_length(data) + 512 * cardinality(keys));
  IF is_tight THEN
    room := room_without_expired(of_owner, room, now);
  END IF;
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  wave := 1;
  WHILE wave = ANY(waves) LOOP
    -- The usual batch of new keys needs no choice for each entry, which saves time. OFFSET 0: see below.
    are_new := NOT is_tight AND NOT 2 = ANY(waves) AND NOT 1 = ANY(modes) AND array_remove(if_versions, NULL) = '{}';
    IF are_new THEN
      PERFORM s.version FROM unnest(keys) AS n (key)
      CROSS JOIN LATERAL (SELECT s.version FROM store_entries s WHERE s.owner_id = of_owner AND s.key = n.key OFFSET 0) AS s
      LIMIT 1;
      are_new := NOT FOUND;
    END IF;
    IF are_new THEN
      added := cardinality(keys);
      replaces := false;
      verdicts := repeat('n', added);
      SELECT array_agg(n.place), array_agg(room.revision + n.place), sum(octet_length(n.key) + n.length)
      INTO written, versions, growth
      FROM unnest(keys, lengths) WITH ORDINALITY AS n (key, length, place);
    ELSE
      -- OFFSET 0 prevents a plan that reads all entries of the owner: PostgreSQL would keep such a plan if it was made while the
      -- table was small. It also makes the join a nested loop, so that the arrays keep the order of keys.
      SELECT array_agg(n.place), array_agg(requests[n.place]), array_agg(if_versions[n.place]), array_agg(coalesce(s.version, 0)),
        array_agg(coalesce(s.size, 0)), array_agg(octet_length(n.key) + lengths[n.place])
      INTO places, wave_requests, wave_if_versions, known, row_bytes, new_bytes
      FROM unnest(keys) WITH ORDINALITY AS n (key, place)
      LEFT JOIN LATERAL (
        SELECT CASE WHEN s.expires_at <= now THEN 0 ELSE s.version END AS version, octet_length(s.key) + octet_length(s.value) AS size
        FROM store_entries s WHERE s.owner_id = of_owner AND s.key = n.key
        OFFSET 0
      ) AS s ON true
      WHERE waves[requests[n.place]] = wave;

      choices := choose_writes(wave_requests, known, wave_if_versions, modes, atomic);
      IF is_tight THEN
        judged := judge_writes(wave_requests, choices, known, row_bytes, new_bytes, atomic, room);
        choices := judged.choices;
        room := judged.room;
        denials := denials || judged.denials;
        entry_limits := entry_limits || judged.entry_limits;
        byte_limits := byte_limits || judged.byte_limits;
        entry_costs := entry_costs || judged.entry_costs;
        byte_costs := byte_costs || judged.byte_costs;
      END IF;

      versions := '{}';
      written := '{}';
      added := 0;
      growth := 0;
      replaces := false;
      FOR i IN 1 .. cardinality(places) LOOP
        IF choices[i] = 'w' THEN
          -- The version is the revision before this call plus the place of the entry: versions rise in this order, with gaps.
          versions[i] := room.revision + places[i];
          written := written || places[i];
          added := added + CASE WHEN row_bytes[i] = 0 THEN 1 ELSE 0 END;
          growth := growth + new_bytes[i] - row_bytes[i];
          replaces := replaces OR row_bytes[i] > 0;
          IF known[i] = 0 THEN
            choices[i] := 'n';
          END IF;
        ELSE
          versions[i] := nullif(known[i], 0);
        END IF;
      END LOOP;
      verdicts := array_to_string(choices, '');
    END IF;

    IF replaces THEN
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT of_owner, keys[w.place], convert_from(substr(data, starts[w.place], lengths[w.place]), 'UTF8'),
        room.revision + w.place, now + make_interval(secs => ttls[w.place])
      FROM unnest(written) AS w (place)
      ON CONFLICT ON CONSTRAINT store_entries_pkey DO UPDATE
        SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at;
    ELSIF added > 0 THEN
      -- None of these keys has a row, and the lock keeps other writers from adding one.
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT of_owner, keys[w.place], convert_from(substr(data, starts[w.place], lengths[w.place]), 'UTF8'),
        room.revision + w.place, now + make_interval(secs => ttls[w.place])
      FROM unnest(written) AS w (place);
    END IF;
    IF replaces OR added > 0 THEN
      PERFORM charge_entries(of_owner, added, growth, room.revision + cardinality(keys), has_shared);
    END IF;
    RETURN NEXT;
    wave := wave + 1;
  END LOOP;
END
$$;
