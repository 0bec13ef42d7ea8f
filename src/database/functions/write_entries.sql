-- Writes entries of the store for many requests, and charges them, in one transaction.
--
-- Parameters by request, in order of arrival: its owner; how many entries and bytes all requests of that owner have; its mode
-- (0 skip, 1 replace, 2 fail); whether it is atomic; its wave: requests that write the same key of an owner are in different
-- waves, one after the other. By entry, in order of requests: the place of its request; the key; where its value stands in
-- `data`; seconds to live; the version that must exist (0: none, -1: any, NULL: whatever exists); which of its owner's entries
-- it is.
--
-- Returns one row for each wave: for each of its entries, in order, a verdict (n(ew), w(ritten over an entry), or another one of
-- decide_entries) and the version that exists now (NULL: none); and the requests that a quota has denied so far (see
-- judge_entries).
--
-- Entries are granted or denied one by one, in the order of the request; those of an atomic request together. A mismatch
-- fails a request as a whole if it is atomic or in mode fail.
--
-- Locks, in this order: those of lock_stores, the entries.
CREATE OR REPLACE FUNCTION write_entries(
  owners uuid[], owner_entries bigint[], owner_bytes bigint[], modes integer[], atomic boolean[], waves integer[],
  requests integer[], keys text[], starts integer[], lengths integer[], ttls bigint[], if_versions bigint[],
  turns integer[], data bytea
)
RETURNS TABLE (
  wave integer, verdicts text, versions bigint[], denials integer[], entry_limits text[], byte_limits text[],
  entry_costs bigint[], byte_costs bigint[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
  written record;
  judged record;
  platform platform_store;
  has_platform boolean;
  now timestamptz;
  waves_count integer;
  -- The wave, or NULL if there is only one.
  current_wave integer;
  -- By request: the number after which the versions of its owner begin; -1 if there is no such owner.
  revisions bigint[];
  -- Owners who may have too little room.
  tight uuid[];
  -- Requests that fail as a whole, and entries that a quota denies.
  failing integer[] := '{}';
  refused bigint[] := '{}';
  expired bigint[];
BEGIN
  PERFORM lock_stores(owners, true);
  -- From here on, each statement and the clock see everything that was committed before these locks were granted.
  now := clock_timestamp();
  SELECT max(p.counts[1]) FILTER (WHERE p.meter = 'store.entries'),
    max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.entries'),
    max(p.counts[1]) FILTER (WHERE p.meter = 'store.bytes'),
    max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.bytes'),
    max(p.counts[1]) FILTER (WHERE p.meter = 'objects'),
    max(p.limits[1]) FILTER (WHERE p.meter = 'objects')
  INTO platform FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
  has_platform := platform.entries IS NOT NULL OR platform.bytes IS NOT NULL OR platform.objects IS NOT NULL;
  SELECT array_agg(coalesce(q.revision, -1) ORDER BY o.place),
    coalesce(array_agg(o.owner_id) FILTER (
      WHERE q.entries + o.entries > q.entry_limit OR q.bytes + o.bytes > q.byte_limit
        OR platform.entries + cardinality(keys) > platform.entry_limit
        OR platform.bytes + octet_length(data) + 512 * cardinality(keys) > platform.byte_limit
        OR platform.objects + cardinality(keys) > platform.object_limit
    ), '{}')
  INTO revisions, tight
  FROM unnest(owners, owner_entries, owner_bytes) WITH ORDINALITY AS o (owner_id, entries, bytes, place)
  CROSS JOIN LATERAL store_quotas(o.owner_id) q;
  IF cardinality(tight) > 0
    AND (platform.entry_limit IS NOT NULL OR platform.byte_limit IS NOT NULL OR platform.object_limit IS NOT NULL) THEN
    -- The limits of the platform are judged with the entries of everyone.
    tight := owners;
    expired := expired_entries(now);
    platform.entries := platform.entries - expired[1];
    platform.bytes := platform.bytes - expired[2];
    platform.objects := platform.objects - expired[1];
  END IF;
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  SELECT max(w) INTO waves_count FROM unnest(waves) AS w;
  FOR place IN 1 .. waves_count LOOP
    wave := place;
    current_wave := CASE WHEN waves_count > 1 THEN place END;
    IF true = ANY(atomic) OR 2 = ANY(modes) THEN
      SELECT failing || array_agg(DISTINCT d.request) INTO failing
      FROM decide_entries(
        owners, modes, atomic, waves, revisions, failing, denials, refused,
        requests, keys, starts, lengths, ttls, if_versions, turns, current_wave, now
      ) d
      WHERE d.verdict = 'm' AND (atomic[d.request] OR modes[d.request] = 2);
    END IF;

    IF cardinality(tight) > 0 THEN
      SELECT j.* INTO judged
      FROM (
        SELECT array_agg(d.ord) AS places, array_agg(d.request) AS requests, array_agg(d.owner_id) AS owners,
          array_agg(CASE WHEN atomic[d.request] THEN d.all_cost ELSE d.cost END) AS costs,
          array_agg(CASE WHEN atomic[d.request] THEN d.all_bytes ELSE d.bytes END) AS sizes
        FROM (
          SELECT d.*, sum(d.cost) OVER one AS all_cost, sum(d.bytes) OVER one AS all_bytes
          FROM decide_entries(
            owners, modes, atomic, waves, revisions, failing, denials, refused,
            requests, keys, starts, lengths, ttls, if_versions, turns, current_wave, now
          ) d
          WHERE d.owner_id = ANY(tight) AND d.verdict = 'w'
          WINDOW one AS (PARTITION BY d.request)
          ORDER BY d.owner_id, d.ord
        ) d
      ) e
      CROSS JOIN LATERAL judge_entries(e.places, e.requests, e.owners, e.costs, e.sizes, atomic, now, platform) j;
      platform := judged.platform;
      refused := refused || judged.refused;
      denials := denials || judged.denials;
      entry_limits := entry_limits || judged.entry_limits;
      byte_limits := byte_limits || judged.byte_limits;
      entry_costs := entry_costs || judged.entry_costs;
      byte_costs := byte_costs || judged.byte_costs;
    END IF;

    WITH d AS MATERIALIZED (
      SELECT * FROM decide_entries(
        owners, modes, atomic, waves, revisions, failing, denials, refused,
        requests, keys, starts, lengths, ttls, if_versions, turns, current_wave, now
      )
    ), stored AS (
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT d.owner_id, d.key, convert_from(substr(data, d.start, d.length), 'UTF8'), revisions[d.request] + d.turn,
        now + make_interval(secs => d.ttl)
      FROM d WHERE d.verdict = 'w'
      ON CONFLICT ON CONSTRAINT store_entries_pkey DO UPDATE
        SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
    ), charged AS (
      UPDATE gauges g SET
        used = g.used + CASE g.meter WHEN 'store.entries' THEN w.more ELSE w.growth END,
        revision = CASE g.meter WHEN 'store.entries' THEN greatest(g.revision, w.revision) ELSE g.revision END
      FROM (
        SELECT d.owner_id, sum(d.more) AS more, sum(d.growth) AS growth,
          max(revisions[d.request] + owner_entries[d.request]) AS revision
        FROM d WHERE d.verdict = 'w' GROUP BY d.owner_id
      ) w
      WHERE g.owner_id = w.owner_id AND g.meter IN ('store.bytes', 'store.entries')
        AND (g.meter = 'store.entries' OR w.growth <> 0)
    )
    SELECT string_agg(CASE WHEN d.verdict = 'w' AND d.known = 0 THEN 'n' ELSE d.verdict END, '' ORDER BY d.ord) AS verdicts,
      array_agg(CASE d.verdict WHEN 'w' THEN revisions[d.request] + d.turn ELSE nullif(d.known, 0) END ORDER BY d.ord)
        AS versions,
      coalesce(sum(d.more) FILTER (WHERE d.verdict = 'w'), 0) AS more,
      coalesce(sum(d.growth) FILTER (WHERE d.verdict = 'w'), 0) AS growth
    INTO written FROM d;
    IF has_platform THEN
      UPDATE platform_quotas p
      SET counts[1] = p.counts[1] + CASE p.meter WHEN 'store.bytes' THEN written.growth ELSE written.more END
      WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
    END IF;
    verdicts := written.verdicts;
    versions := written.versions;
    RETURN NEXT;
  END LOOP;
END
$$;
