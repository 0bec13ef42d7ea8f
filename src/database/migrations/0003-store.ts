import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The store: entries of owners, and the functions that write, delete and sweep them together with what they are charged
 * to (`store.entries` and `store.bytes`). How they lock is in docs/decisions/0012.
 *
 * Ready for Citus: `store_entries` belongs to an owner.
 */
export class Store1764000000003 implements MigrationInterface {
  readonly name = 'Store1764000000003';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...TABLES, ...EXPIRED, WRITE_ENTRIES, DELETE_ENTRIES, SWEEP_ENTRIES]) {
      await runner.query(statement);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      UPDATE platform_quotas SET counts[1] = 0 WHERE meter IN ${METERS};
      UPDATE quotas SET counts[1] = 0 WHERE meter IN ${METERS};
      DROP FUNCTION sweep_entries, delete_entries, write_entries;
      DROP FUNCTION expired_entries(uuid, timestamptz), expired_entries(timestamptz);
      DROP TABLE store_entries;
      ALTER TABLE quotas DROP COLUMN revision`);
  }
}

/** What a double holds exactly: 2^53 − 1. */
const MAX = '9007199254740991';

/** Stands for "of no key": what an owner uses as a whole. */
const NO_KEY = `'00000000-0000-0000-0000-000000000000'::uuid`;

const METERS = `('store.bytes', 'store.entries')`;

const TABLES = [
  // Of a gauge: how often what it counts was written. Versions of entries are taken from it, and so rise for ever.
  `ALTER TABLE quotas ADD COLUMN revision bigint NOT NULL DEFAULT 0`,
  // The value is JSON text as it was sent; json and jsonb would change it or refuse some of it. Some room on each page for
  // the next version of a row: replacing a value then needs no new index entry (heap-only tuples).
  `CREATE TABLE store_entries (
    owner_id uuid NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    version bigint NOT NULL,
    expires_at timestamptz(3),
    CONSTRAINT store_entries_pkey PRIMARY KEY (owner_id, key),
    CONSTRAINT store_entries_key_check CHECK (octet_length(key) BETWEEN 1 AND 512),
    CONSTRAINT store_entries_value_check CHECK (octet_length(value) BETWEEN 1 AND 262144),
    CONSTRAINT store_entries_version_check CHECK (version >= 1),
    CONSTRAINT store_entries_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  ) WITH (fillfactor = 90)`,
  // For the sweeper, and for an owner who needs the room of what has expired.
  `CREATE INDEX store_entries_expires_idx ON store_entries (expires_at) WHERE expires_at IS NOT NULL`,
  `CREATE INDEX store_entries_owner_expires_idx ON store_entries (owner_id, expires_at) WHERE expires_at IS NOT NULL`,
];

/**
 * What has expired but was not swept yet, {entries, bytes}: of an owner, or of everyone. It is still in the counts, and
 * counts no more.
 */
const EXPIRED = ['of_owner uuid, moment timestamptz', 'moment timestamptz'].map(
  (parameters) => `
  CREATE FUNCTION expired_entries(${parameters}) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY[count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint]
    FROM store_entries WHERE ${parameters.startsWith('of_owner') ? 'owner_id = of_owner AND ' : ''}expires_at <= moment
  $$`,
);

/** Takes the locks of stores, in the one order that everybody takes them in. */
const LOCKED = `
      PERFORM FROM quotas q
      WHERE q.owner_id = ANY(owners) AND q.key_id = ${NO_KEY} AND q.meter IN ${METERS}
      ORDER BY q.owner_id, q.meter FOR UPDATE;`;

const PLATFORM_LOCKED = `
    PERFORM FROM platform_quotas p WHERE p.meter IN ${METERS} ORDER BY p.meter FOR UPDATE;`;

/** Whether an entry's condition holds: `if_version` is the version that must be there, 0 none, -1 any. */
const HOLDS = `(e.if_version = e.known OR (e.if_version = -1 AND e.known > 0))`;

/**
 * What becomes of each entry of a wave, by what is there now: w(ritten), s(kipped), m(ismatch: another version is there, or
 * one where none may be), a(borted: with another entry of its request), q(uota: refused by it), u(nknown owner).
 *
 * `known` is the version that is there, 0 where none is or it has expired. `more` and `growth` are what the entry adds to
 * the counts, `cost` and `bytes` what it adds to what counts: they differ where it takes the row of one that has expired.
 */
const DECIDED = `
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
              WHEN e.if_version IS NOT NULL THEN CASE WHEN ${HOLDS} THEN 'w' ELSE 'm' END
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
        ) d`;

/** The quotas of an owner's store and those of its plan; outer joins, so that they are looked up and never scanned. */
const STORE_OF = (owner: string): string => `
      LEFT JOIN users u ON u.id = ${owner}
      LEFT JOIN quotas e ON e.owner_id = ${owner} AND e.key_id = ${NO_KEY} AND e.meter = 'store.entries'
      LEFT JOIN quotas b ON b.owner_id = ${owner} AND b.key_id = ${NO_KEY} AND b.meter = 'store.bytes'
      LEFT JOIN plan_limits pe ON pe.plan = u.plan AND pe.meter = 'store.entries'
      LEFT JOIN plan_limits pb ON pb.plan = u.plan AND pb.meter = 'store.bytes'`;

/** The limit that bears on an owner; null where there is none. */
const ENTRY_LIMIT = 'nullif(coalesce(e.limits[1], pe.limits[1]), -1)';
const BYTE_LIMIT = 'nullif(coalesce(b.limits[1], pb.limits[1]), -1)';

/**
 * Writes entries for many requests, and charges them. By request: its owner; how many entries and bytes all requests of
 * that owner have; its mode, 0 skip, 1 replace, 2 fail; whether it is atomic; and its wave: requests that write the same
 * key of an owner come one wave after the other. By entry, in the order of requests: the request's place, the key, where
 * the value stands in `data`, seconds to live, the version that must be there (0 none, -1 any), and which of its owner's
 * entries it is.
 *
 * Requests are judged wave by wave, within a wave in order. An entry is granted or refused by itself, in the order of the
 * request; those of an atomic request together. A conflict refuses all of a request that is atomic or in mode fail.
 *
 * One row a wave: for each of its entries, in order, a verdict (a letter, see DECIDED; n(ew) where none was there before)
 * and the version that is there now, null where there is none; and for each request that the quota refused so far the
 * limits that were judged, as charge_gauge gives them, and what was asked of them.
 */
const WRITE_ENTRIES = `
  CREATE FUNCTION write_entries(
    owners uuid[], owner_entries bigint[], owner_bytes bigint[], modes integer[], atomic boolean[], waves integer[],
    requests integer[], keys text[], starts integer[], lengths integer[], ttls bigint[], if_versions bigint[],
    turns integer[], data bytea
  )
  RETURNS TABLE (
    wave integer, verdicts text, versions bigint[],
    denials integer[], entry_limits text[], byte_limits text[], entry_costs bigint[], byte_costs bigint[]
  ) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
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
    fits boolean;
  BEGIN
    FOR attempt IN 1 .. 2 LOOP${LOCKED}
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
    END LOOP;${PLATFORM_LOCKED}
    -- From here on every statement sees what was committed before the locks were had, and so does the clock.
    now := clock_timestamp();
    SELECT max(p.counts[1]) FILTER (WHERE p.meter = 'store.entries') AS entries,
      max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.entries') AS entry_limit,
      max(p.counts[1]) FILTER (WHERE p.meter = 'store.bytes') AS bytes,
      max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.bytes') AS byte_limit
    INTO platform FROM platform_quotas p WHERE p.meter IN ${METERS};
    SELECT array_agg(coalesce(e.revision, -1) ORDER BY o.place),
      coalesce(array_agg(o.owner_id) FILTER (
        WHERE e.counts[1] + o.entries > ${ENTRY_LIMIT} OR b.counts[1] + o.bytes > ${BYTE_LIMIT}
          OR platform.entries + cardinality(keys) > platform.entry_limit
          OR platform.bytes + o.all_bytes > platform.byte_limit
      ), '{}')
    INTO revisions, tight
    FROM (
      SELECT o.*, octet_length(data) + 512 * cardinality(keys) AS all_bytes
      FROM unnest(owners, owner_entries, owner_bytes) WITH ORDINALITY AS o (owner_id, entries, bytes, place)
    ) o${STORE_OF('o.owner_id')};
    IF cardinality(tight) > 0 AND (platform.entry_limit IS NOT NULL OR platform.byte_limit IS NOT NULL) THEN
      -- What is told of the platform's limits has everyone's entries in it.
      tight := owners;
      SELECT platform.entries - x.expired[1], platform.bytes - x.expired[2] INTO platform_entries, platform_bytes
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
        FROM (${DECIDED}
        ) d WHERE d.verdict = 'm' AND (atomic[d.request] OR modes[d.request] = 2);
      END IF;
      IF cardinality(tight) > 0 THEN
        current_owner := NULL;
        FOR r IN
          SELECT d.ord, d.request, d.owner_id,
            CASE WHEN atomic[d.request] THEN sum(d.cost) OVER one ELSE d.cost END AS cost,
            CASE WHEN atomic[d.request] THEN sum(d.bytes) OVER one ELSE d.bytes END AS bytes
          FROM (${DECIDED}
          ) d
          WHERE d.owner_id = ANY(tight) AND d.verdict = 'w'
          WINDOW one AS (PARTITION BY d.request)
          ORDER BY d.owner_id, d.ord
        LOOP
          IF current_owner IS DISTINCT FROM r.owner_id THEN
            current_owner := r.owner_id;
            current_request := NULL;
            SELECT e.counts[1] - x.expired[1] AS entries, ${ENTRY_LIMIT} AS entry_limit,
              CASE WHEN e.limits[1] IS NULL THEN 'p' ELSE 'u' END AS entry_scope,
              b.counts[1] - x.expired[2] AS bytes, ${BYTE_LIMIT} AS byte_limit,
              CASE WHEN b.limits[1] IS NULL THEN 'p' ELSE 'u' END AS byte_scope
            INTO s FROM expired_entries(current_owner, now) AS x (expired)${STORE_OF('current_owner')};
            entries_used := s.entries;
            bytes_used := s.bytes;
          END IF;
          IF NOT atomic[r.request] OR current_request IS DISTINCT FROM r.request THEN
            current_request := r.request;
            -- What takes no more than there was is granted, also above the limit.
            fits := (r.cost <= 0 OR (entries_used + r.cost <= coalesce(s.entry_limit, ${MAX})
                AND coalesce(platform_entries, 0) + r.cost <= coalesce(platform.entry_limit, ${MAX})))
              AND (r.bytes <= 0 OR (bytes_used + r.bytes <= coalesce(s.byte_limit, ${MAX})
                AND coalesce(platform_bytes, 0) + r.bytes <= coalesce(platform.byte_limit, ${MAX})));
            IF fits THEN
              entries_used := entries_used + r.cost;
              bytes_used := bytes_used + r.bytes;
              platform_entries := platform_entries + r.cost;
              platform_bytes := platform_bytes + r.bytes;
            ELSIF array_position(denials, r.request) IS NULL THEN
              denials := denials || r.request;
              entry_limits := entry_limits || concat_ws(';', s.entry_scope || 'ls' || s.entry_limit || ':' || entries_used,
                'gls' || platform.entry_limit || ':' || platform_entries);
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
      WITH d AS MATERIALIZED (${DECIDED}
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
          revision = CASE q.meter WHEN 'store.entries' THEN greatest(q.revision, w.revision) ELSE q.revision END
        FROM (
          SELECT d.owner_id, sum(d.more) AS more, sum(d.growth) AS growth,
            max(revisions[d.request] + owner_entries[d.request]) AS revision
          FROM d WHERE d.verdict = 'w' GROUP BY d.owner_id
        ) w
        WHERE q.owner_id = w.owner_id AND q.key_id = ${NO_KEY} AND q.meter IN ${METERS}
          AND (q.meter = 'store.entries' OR w.growth <> 0)
      )
      SELECT string_agg(CASE WHEN d.verdict = 'w' AND d.known = 0 THEN 'n' ELSE d.verdict END, '' ORDER BY d.ord) AS verdicts,
        array_agg(CASE d.verdict WHEN 'w' THEN revisions[d.request] + d.turn ELSE nullif(d.known, 0) END ORDER BY d.ord) AS versions,
        sum(d.more) FILTER (WHERE d.verdict = 'w') AS more, sum(d.growth) FILTER (WHERE d.verdict = 'w') AS growth
      INTO r FROM d;
      IF platform.entries IS NOT NULL OR platform.bytes IS NOT NULL THEN
        UPDATE platform_quotas p
        SET counts[1] = p.counts[1] + coalesce(CASE p.meter WHEN 'store.entries' THEN r.more ELSE r.growth END, 0)
        WHERE p.meter IN ${METERS};
      END IF;
      verdicts := r.verdicts;
      versions := r.versions;
      RETURN NEXT;
    END LOOP;
  END $$`;

/** In a statement with `gone(owner_id, size)`: lowers the counts by what was deleted. The stores are locked. */
const FREED = `
      freed AS (
        UPDATE quotas q SET counts[1] = q.counts[1] - CASE q.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END
        FROM (SELECT owner_id, count(*) AS entries, sum(size)::bigint AS bytes FROM gone GROUP BY owner_id) f
        WHERE q.owner_id = f.owner_id AND q.key_id = ${NO_KEY} AND q.meter IN ${METERS}
      ), platform_freed AS (
        UPDATE platform_quotas p SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END
        FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM gone HAVING count(*) > 0) f
        WHERE p.meter IN ${METERS}
      )`;

/**
 * Deletes entries for many requests, and gives back what they were charged: only for what was really deleted. One row a
 * request: d(eleted), n(one is there) or m(ismatch) for each of its entries. Of two who delete the same, one does.
 */
const DELETE_ENTRIES = `
  CREATE FUNCTION delete_entries(owners uuid[], requests integer[], keys text[], if_versions bigint[])
  RETURNS TABLE (place integer, verdicts text) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
  #variable_conflict use_column
  DECLARE
    now timestamptz;
  BEGIN${LOCKED}${PLATFORM_LOCKED}
    now := clock_timestamp();
    RETURN QUERY
    WITH d AS MATERIALIZED (
      SELECT e.*, CASE
          WHEN e.known = 0 THEN 'n'
          WHEN NOT ${HOLDS} THEN 'm'
          WHEN row_number() OVER (
            PARTITION BY e.owner_id, e.key, e.if_version IS NULL OR ${HOLDS} ORDER BY e.ord) > 1 THEN 'n'
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
    ),${FREED}
    SELECT d.request, string_agg(d.verdict, '' ORDER BY d.ord) FROM d GROUP BY d.request;
  END $$`;

/** Deletes some of what has expired; on one node at a time. Returns how many. */
const SWEEP_ENTRIES = `
  CREATE FUNCTION sweep_entries(most integer) RETURNS integer LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  DECLARE
    now timestamptz := clock_timestamp();
    owners uuid[];
    keys text[];
    swept integer;
  BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('store.sweep'), 0) THEN
      RETURN 0;
    END IF;
    SELECT array_agg(e.owner_id), array_agg(e.key) INTO owners, keys
    FROM (
      SELECT s.owner_id, s.key FROM store_entries s WHERE s.expires_at <= now ORDER BY s.expires_at LIMIT most
    ) e;
    IF owners IS NULL THEN
      RETURN 0;
    END IF;${LOCKED}${PLATFORM_LOCKED}
    -- What was written anew meanwhile stays.
    WITH gone AS (
      DELETE FROM store_entries s USING unnest(owners, keys) AS e (owner_id, key)
      WHERE s.owner_id = e.owner_id AND s.key = e.key AND s.expires_at <= now
      RETURNING s.owner_id, octet_length(s.key) + octet_length(s.value) AS size
    ),${FREED}
    SELECT count(*) INTO swept FROM gone;
    RETURN swept;
  END $$`;
