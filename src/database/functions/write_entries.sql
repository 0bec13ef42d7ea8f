-- Writes entries of one owner's store for several requests, and charges them, in one transaction.
--
-- Parameters: the owner. By request, in order of arrival: its mode (0 skip, 1 replace, 2 fail); whether it is atomic; its wave:
-- requests that write the same key are in different waves, one after the other. By entry, in order of requests: the place of its
-- request; the key; where its value stands in `data`; seconds to live; the version that must exist (0: none, -1: any, NULL: whatever
-- exists).
--
-- Returns one row for each wave (none, if the owner does not exist): for each of its entries, in order, a verdict (n(ew), w(ritten over
-- an entry), or another one of decide_entries) and the version that exists now (NULL: none); and the requests that a quota has
-- denied so far (see judge_entries).
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
  expired bigint[];
  judged record;
  decided record;
  -- Requests that fail as a whole, and entries that a quota denies.
  failing integer[] := '{}';
  refused integer[] := '{}';
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
    expired := expired_entries_of(of_owner, now);
    room.entries := room.entries - expired[1];
    room.bytes := room.bytes - expired[2];
    IF has_shared THEN
      expired := expired_entries(now);
      room.all_entries := room.all_entries - expired[1];
      room.all_bytes := room.all_bytes - expired[2];
      room.objects := room.objects - expired[1];
    END IF;
  END IF;
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  wave := 1;
  WHILE wave = ANY(waves) LOOP
    IF true = ANY(atomic) OR 2 = ANY(modes) THEN
      failing := failing || ARRAY(
        SELECT DISTINCT d.request
        FROM decide_entries(
          of_owner, modes, atomic, waves, failing, denials, refused, requests, keys, lengths, if_versions, wave, now
        ) AS d
        WHERE d.verdict = 'm' AND (atomic[d.request] OR modes[d.request] = 2)
      );
    END IF;

    IF is_tight THEN
      SELECT array_agg(d.place ORDER BY d.place) AS places, array_agg(d.request ORDER BY d.place) AS requests,
        array_agg(CASE WHEN atomic[d.request] THEN d.all_cost ELSE d.cost END ORDER BY d.place) AS costs,
        array_agg(CASE WHEN atomic[d.request] THEN d.all_bytes ELSE d.bytes END ORDER BY d.place) AS sizes
      INTO decided
      FROM (
        SELECT d.*, sum(d.cost) OVER one AS all_cost, sum(d.bytes) OVER one AS all_bytes
        FROM decide_entries(
          of_owner, modes, atomic, waves, failing, denials, refused, requests, keys, lengths, if_versions, wave, now
        ) AS d
        WHERE d.verdict = 'w'
        WINDOW one AS (PARTITION BY d.request)
      ) AS d;
      judged := judge_entries(decided.places, decided.requests, decided.costs, decided.sizes, atomic, room);
      room := judged.room;
      refused := refused || judged.refused;
      denials := denials || judged.denials;
      entry_limits := entry_limits || judged.entry_limits;
      byte_limits := byte_limits || judged.byte_limits;
      entry_costs := entry_costs || judged.entry_costs;
      byte_costs := byte_costs || judged.byte_costs;
    END IF;

    -- The version of a written entry is the number of writes before it, and its place. The aggregates keep the order of decide_entries.
    SELECT string_agg(CASE WHEN d.verdict = 'w' AND d.known = 0 THEN 'n' ELSE d.verdict END, '') AS verdicts,
      array_agg(CASE d.verdict WHEN 'w' THEN room.revision + d.place ELSE nullif(d.known, 0) END) AS versions,
      array_agg(d.place) FILTER (WHERE d.verdict = 'w' AND d.more = 1) AS added,
      array_agg(d.place) FILTER (WHERE d.verdict = 'w' AND d.more = 0) AS replaced,
      coalesce(sum(d.more) FILTER (WHERE d.verdict = 'w'), 0) AS more,
      coalesce(sum(d.growth) FILTER (WHERE d.verdict = 'w'), 0) AS growth
    INTO decided
    FROM decide_entries(
      of_owner, modes, atomic, waves, failing, denials, refused, requests, keys, lengths, if_versions, wave, now
    ) AS d;
    -- A new entry cannot conflict: the store is locked.
    IF decided.added IS NOT NULL THEN
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT of_owner, keys[w.place], convert_from(substr(data, starts[w.place], lengths[w.place]), 'UTF8'),
        room.revision + w.place, now + make_interval(secs => ttls[w.place])
      FROM unnest(decided.added) AS w (place);
    END IF;
    IF decided.replaced IS NOT NULL THEN
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT of_owner, keys[w.place], convert_from(substr(data, starts[w.place], lengths[w.place]), 'UTF8'),
        room.revision + w.place, now + make_interval(secs => ttls[w.place])
      FROM unnest(decided.replaced) AS w (place)
      ON CONFLICT ON CONSTRAINT store_entries_pkey DO UPDATE
        SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at;
    END IF;
    IF decided.added IS NOT NULL OR decided.replaced IS NOT NULL THEN
      UPDATE gauges g SET
        used = g.used + CASE WHEN g.meter = 'store.entries' THEN decided.more ELSE decided.growth END,
        revision = CASE WHEN g.meter = 'store.entries' THEN room.revision + cardinality(keys) ELSE g.revision END
      WHERE g.owner_id = of_owner AND g.meter IN ('store.bytes', 'store.entries')
        AND (g.meter = 'store.entries' OR decided.growth <> 0);
      IF has_shared THEN
        UPDATE platform_quotas p SET counts[1] = p.counts[1] + decided.more WHERE p.meter IN ('objects', 'store.entries');
        UPDATE platform_quotas p SET counts[1] = p.counts[1] + decided.growth WHERE p.meter = 'store.bytes';
      END IF;
    END IF;
    verdicts := decided.verdicts;
    versions := decided.versions;
    RETURN NEXT;
    wave := wave + 1;
  END LOOP;
END
$$;
