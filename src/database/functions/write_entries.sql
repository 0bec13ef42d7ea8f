-- TODO
CREATE OR REPLACE FUNCTION write_entries(
  owners uuid[], owner_entries bigint[], owner_bytes bigint[], modes integer[], atomic boolean[], waves integer[],
  requests integer[], keys text[], starts integer[], lengths integer[], ttls bigint[], if_versions bigint[],
  turns integer[], data bytea
)
RETURNS TABLE(
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
  r record;
  s record;
  platform record;
  now timestamptz;
  locked integer;
  last_wave integer;
  -- By request, what the owner's versions begin after; -1 where there is no such owner.
  revisions bigint[];
  -- Owners who may have no room for all they ask.
  tight uuid[];
  -- Requests that fail as a whole, and entries that the quota refuses.
  failing integer[] := '{}';
  refused bigint[] := '{}';
  current_owner uuid;
  current_request integer;
  entries_used bigint;
  bytes_used bigint;
  platform_entries bigint;
  platform_bytes bigint;
  platform_objects bigint;
  new_entries bigint := 0;
  fits boolean;
BEGIN
  FOR attempt IN 1 .. 2 LOOP
    PERFORM FROM quotas q
    WHERE q.owner_id = ANY(owners) AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries')
    ORDER BY q.owner_id, q.meter FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    EXIT WHEN locked = 2 * cardinality(owners) OR attempt = 2
      OR locked = 2 * (SELECT count(DISTINCT o) FROM unnest(owners) AS o);
    -- Their first entry. KEY SHARE as the foreign key's own check takes: an owner that is being deleted is waited for, and
    -- then is gone.
    INSERT INTO quotas (owner_id, meter)
    SELECT u.id, m.meter FROM (SELECT u.id FROM users u WHERE u.id = ANY(owners) ORDER BY u.id FOR KEY SHARE) u
    CROSS JOIN (VALUES ('store.bytes'), ('store.entries')) AS m (meter)
    ORDER BY u.id, m.meter
    ON CONFLICT ON CONSTRAINT quotas_pkey DO NOTHING;
  END LOOP;
  PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries') ORDER BY p.meter FOR UPDATE;
  -- From here on every statement sees what was committed before the locks were had, and so does the clock.
  now := clock_timestamp();
  SELECT max(p.counts[1]) FILTER (WHERE p.meter = 'store.entries') AS entries,
    max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.entries') AS entry_limit,
    max(p.counts[1]) FILTER (WHERE p.meter = 'store.bytes') AS bytes,
    max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.bytes') AS byte_limit,
    max(p.counts[1]) FILTER (WHERE p.meter = 'objects') AS objects,
    max(p.limits[1]) FILTER (WHERE p.meter = 'objects') AS object_limit
  INTO platform FROM platform_quotas p WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
  SELECT array_agg(coalesce(e.revision, -1) ORDER BY o.place),
    coalesce(array_agg(o.owner_id) FILTER (
      WHERE e.counts[1] + o.entries > nullif(coalesce(e.limits[1], pe.limits[1]), -1) OR b.counts[1] + o.bytes > nullif(coalesce(b.limits[1], pb.limits[1]), -1)
        OR platform.entries + cardinality(keys) > platform.entry_limit
        OR platform.bytes + o.all_bytes > platform.byte_limit
        OR platform.objects + cardinality(keys) > platform.object_limit
    ), '{}')
  INTO revisions, tight
  FROM (
    SELECT o.*, octet_length(data) + 512 * cardinality(keys) AS all_bytes
    FROM unnest(owners, owner_entries, owner_bytes) WITH ORDINALITY AS o (owner_id, entries, bytes, place)
  ) o
    LEFT JOIN users u ON u.id = o.owner_id
    LEFT JOIN quotas e ON e.owner_id = o.owner_id AND e.key_id = no_key() AND e.meter = 'store.entries'
    LEFT JOIN quotas b ON b.owner_id = o.owner_id AND b.key_id = no_key() AND b.meter = 'store.bytes'
    LEFT JOIN plan_limits pe ON pe.plan = u.plan AND pe.meter = 'store.entries'
    LEFT JOIN plan_limits pb ON pb.plan = u.plan AND pb.meter = 'store.bytes';
  IF cardinality(tight) > 0
    AND (platform.entry_limit IS NOT NULL OR platform.byte_limit IS NOT NULL OR platform.object_limit IS NOT NULL) THEN
    -- What is told of the platform's limits has everyone's entries in it.
    tight := owners;
    SELECT platform.entries - x.expired[1], platform.bytes - x.expired[2], platform.objects - x.expired[1]
    INTO platform_entries, platform_bytes, platform_objects
    FROM expired_entries(now) AS x (expired);
  END IF;
  denials := '{}';
  entry_limits := '{}';
  byte_limits := '{}';
  entry_costs := '{}';
  byte_costs := '{}';
  SELECT max(w) INTO last_wave FROM unnest(waves) AS w;
  FOR current_wave IN 1 .. last_wave LOOP
    wave := current_wave;
    IF true = ANY(atomic) OR 2 = ANY(modes) THEN
      SELECT failing || array_agg(DISTINCT d.request) INTO failing
      FROM (
      SELECT d.*, CASE
          WHEN revisions[d.request] < 0 THEN 'u'
          WHEN d.choice <> 'm' AND d.request = ANY(failing) THEN 'a'
          WHEN d.choice = 'w' AND d.ord = ANY(refused) THEN 'q'
          WHEN d.choice = 's' AND atomic[d.request] AND d.request = ANY(denials) THEN 'a'
          ELSE d.choice
        END AS verdict
      FROM (
        SELECT e.*,
          CASE WHEN e.known = 0 THEN 1 ELSE 0 END AS cost,
          e.size - CASE WHEN e.known = 0 THEN 0 ELSE e.old_size END AS bytes,
          CASE WHEN e.old_size = 0 THEN 1 ELSE 0 END AS more,
          e.size - e.old_size AS growth,
          CASE
            WHEN e.if_version IS NOT NULL THEN CASE WHEN (e.if_version = e.known OR (e.if_version = -1 AND e.known > 0)) THEN 'w' ELSE 'm' END
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
          WHERE last_wave = 1 OR waves[e.request] = wave
        ) e
      ) d
      ) d WHERE d.verdict = 'm' AND (atomic[d.request] OR modes[d.request] = 2);
    END IF;
    IF cardinality(tight) > 0 THEN
      current_owner := NULL;
      FOR r IN
        SELECT d.ord, d.request, d.owner_id,
          CASE WHEN atomic[d.request] THEN sum(d.cost) OVER one ELSE d.cost END AS cost,
          CASE WHEN atomic[d.request] THEN sum(d.bytes) OVER one ELSE d.bytes END AS bytes
        FROM (
      SELECT d.*, CASE
          WHEN revisions[d.request] < 0 THEN 'u'
          WHEN d.choice <> 'm' AND d.request = ANY(failing) THEN 'a'
          WHEN d.choice = 'w' AND d.ord = ANY(refused) THEN 'q'
          WHEN d.choice = 's' AND atomic[d.request] AND d.request = ANY(denials) THEN 'a'
          ELSE d.choice
        END AS verdict
      FROM (
        SELECT e.*,
          CASE WHEN e.known = 0 THEN 1 ELSE 0 END AS cost,
          e.size - CASE WHEN e.known = 0 THEN 0 ELSE e.old_size END AS bytes,
          CASE WHEN e.old_size = 0 THEN 1 ELSE 0 END AS more,
          e.size - e.old_size AS growth,
          CASE
            WHEN e.if_version IS NOT NULL THEN CASE WHEN (e.if_version = e.known OR (e.if_version = -1 AND e.known > 0)) THEN 'w' ELSE 'm' END
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
          WHERE last_wave = 1 OR waves[e.request] = wave
        ) e
      ) d
        ) d
        WHERE d.owner_id = ANY(tight) AND d.verdict = 'w'
        WINDOW one AS (PARTITION BY d.request)
        ORDER BY d.owner_id, d.ord
      LOOP
        IF current_owner IS DISTINCT FROM r.owner_id THEN
          current_owner := r.owner_id;
          current_request := NULL;
          SELECT e.counts[1] - x.expired[1] AS entries, nullif(coalesce(e.limits[1], pe.limits[1]), -1) AS entry_limit,
            CASE WHEN e.limits[1] IS NULL THEN 'p' ELSE 'u' END AS entry_scope,
            b.counts[1] - x.expired[2] AS bytes, nullif(coalesce(b.limits[1], pb.limits[1]), -1) AS byte_limit,
            CASE WHEN b.limits[1] IS NULL THEN 'p' ELSE 'u' END AS byte_scope
          INTO s FROM expired_entries_of(current_owner, now) AS x (expired)
    LEFT JOIN users u ON u.id = current_owner
    LEFT JOIN quotas e ON e.owner_id = current_owner AND e.key_id = no_key() AND e.meter = 'store.entries'
    LEFT JOIN quotas b ON b.owner_id = current_owner AND b.key_id = no_key() AND b.meter = 'store.bytes'
    LEFT JOIN plan_limits pe ON pe.plan = u.plan AND pe.meter = 'store.entries'
    LEFT JOIN plan_limits pb ON pb.plan = u.plan AND pb.meter = 'store.bytes';
          entries_used := s.entries;
          bytes_used := s.bytes;
        END IF;
        IF NOT atomic[r.request] OR current_request IS DISTINCT FROM r.request THEN
          current_request := r.request;
          -- What takes no more than there was is granted, also above the limit.
          fits := (r.cost <= 0 OR (entries_used + r.cost <= coalesce(s.entry_limit, 9007199254740991)
              AND coalesce(platform_entries, 0) + r.cost <= coalesce(platform.entry_limit, 9007199254740991)
              AND coalesce(platform_objects, 0) + r.cost <= coalesce(platform.object_limit, 9007199254740991)))
            AND (r.bytes <= 0 OR (bytes_used + r.bytes <= coalesce(s.byte_limit, 9007199254740991)
              AND coalesce(platform_bytes, 0) + r.bytes <= coalesce(platform.byte_limit, 9007199254740991)));
          IF fits THEN
            entries_used := entries_used + r.cost;
            bytes_used := bytes_used + r.bytes;
            platform_entries := platform_entries + r.cost;
            platform_objects := platform_objects + r.cost;
            platform_bytes := platform_bytes + r.bytes;
          ELSIF array_position(denials, r.request) IS NULL THEN
            denials := denials || r.request;
            entry_limits := entry_limits || concat_ws(';', s.entry_scope || 'ls' || s.entry_limit || ':' || entries_used,
              'gls' || platform.entry_limit || ':' || platform_entries,
              'glo' || platform.object_limit || ':' || platform_objects);
            byte_limits := byte_limits || concat_ws(';', s.byte_scope || 'ls' || s.byte_limit || ':' || bytes_used,
              'gls' || platform.byte_limit || ':' || platform_bytes);
            entry_costs := entry_costs || r.cost::bigint;
            byte_costs := byte_costs || r.bytes::bigint;
          END IF;
        END IF;
        IF NOT fits THEN
          refused := refused || r.ord;
        END IF;
      END LOOP;
    END IF;
    WITH d AS MATERIALIZED (
      SELECT d.*, CASE
          WHEN revisions[d.request] < 0 THEN 'u'
          WHEN d.choice <> 'm' AND d.request = ANY(failing) THEN 'a'
          WHEN d.choice = 'w' AND d.ord = ANY(refused) THEN 'q'
          WHEN d.choice = 's' AND atomic[d.request] AND d.request = ANY(denials) THEN 'a'
          ELSE d.choice
        END AS verdict
      FROM (
        SELECT e.*,
          CASE WHEN e.known = 0 THEN 1 ELSE 0 END AS cost,
          e.size - CASE WHEN e.known = 0 THEN 0 ELSE e.old_size END AS bytes,
          CASE WHEN e.old_size = 0 THEN 1 ELSE 0 END AS more,
          e.size - e.old_size AS growth,
          CASE
            WHEN e.if_version IS NOT NULL THEN CASE WHEN (e.if_version = e.known OR (e.if_version = -1 AND e.known > 0)) THEN 'w' ELSE 'm' END
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
          WHERE last_wave = 1 OR waves[e.request] = wave
        ) e
      ) d
    ), written AS (
      INSERT INTO store_entries (owner_id, key, value, version, expires_at)
      SELECT d.owner_id, d.key, convert_from(substr(data, d.start, d.length), 'UTF8'), revisions[d.request] + d.turn,
        now + make_interval(secs => d.ttl)
      FROM d WHERE d.verdict = 'w'
      ON CONFLICT ON CONSTRAINT store_entries_pkey DO UPDATE
        SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
    ), charged AS (
      UPDATE quotas q SET
        counts[1] = q.counts[1] + CASE q.meter WHEN 'store.entries' THEN w.more ELSE w.growth END,
        rank = CASE q.meter WHEN 'store.entries' THEN q.counts[1] + w.more ELSE 0 END,
        revision = CASE q.meter WHEN 'store.entries' THEN greatest(q.revision, w.revision) ELSE q.revision END
      FROM (
        SELECT d.owner_id, sum(d.more) AS more, sum(d.growth) AS growth,
          max(revisions[d.request] + owner_entries[d.request]) AS revision
        FROM d WHERE d.verdict = 'w' GROUP BY d.owner_id
      ) w
      WHERE q.owner_id = w.owner_id AND q.key_id = no_key() AND q.meter IN ('store.bytes', 'store.entries')
        AND (q.meter = 'store.entries' OR w.growth <> 0)
    )
    SELECT string_agg(CASE WHEN d.verdict = 'w' AND d.known = 0 THEN 'n' ELSE d.verdict END, '' ORDER BY d.ord) AS verdicts,
      array_agg(CASE d.verdict WHEN 'w' THEN revisions[d.request] + d.turn ELSE nullif(d.known, 0) END ORDER BY d.ord) AS versions,
      sum(d.more) FILTER (WHERE d.verdict = 'w') AS more, sum(d.growth) FILTER (WHERE d.verdict = 'w') AS growth
    INTO r FROM d;
    IF platform.entries IS NOT NULL OR platform.bytes IS NOT NULL OR platform.objects IS NOT NULL THEN
      UPDATE platform_quotas p
      SET counts[1] = p.counts[1] + coalesce(CASE p.meter WHEN 'store.bytes' THEN r.growth ELSE r.more END, 0)
      WHERE p.meter IN ('objects', 'store.bytes', 'store.entries');
    END IF;
    new_entries := new_entries + coalesce(r.more, 0);
    verdicts := r.verdicts;
    versions := r.versions;
    RETURN NEXT;
  END LOOP;
  IF new_entries <> 0 THEN
    PERFORM add_objects('store.entries', new_entries);
  END IF;
END
$$;
