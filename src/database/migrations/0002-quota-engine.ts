import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * The quota engine: limits and counters of every scope and window, keys, the catalogue of APIs, the ledger, and the
 * two functions that charge. Why they are functions, and how they lock, is in docs/decisions/0008.
 *
 * Ready for Citus: `quotas`, `usage_hours` and `idempotency_keys` belong to an owner; `plan_limits`, `api_keys`,
 * `api_key_secrets`, `apis` and `platform_quotas` become reference tables.
 */
export class QuotaEngine1763900000002 implements MigrationInterface {
  readonly name = 'QuotaEngine1763900000002';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...TABLES, WITH_LIMIT, WINDOW_START, CALLS_USED, ...LEDGER, CHARGE_GAUGE, SPEND_CALLS]) {
      await runner.query(statement);
    }
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE limits (
        owner_id uuid NOT NULL,
        meter text NOT NULL,
        period text NOT NULL,
        amount bigint,
        CONSTRAINT limits_pkey PRIMARY KEY (owner_id, meter, period),
        CONSTRAINT limits_amount_check CHECK (amount BETWEEN 0 AND ${MAX}),
        CONSTRAINT limits_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      );
      CREATE TABLE counters (
        owner_id uuid NOT NULL,
        meter text NOT NULL,
        used bigint NOT NULL DEFAULT 0,
        CONSTRAINT counters_pkey PRIMARY KEY (owner_id, meter),
        CONSTRAINT counters_used_check CHECK (used BETWEEN 0 AND ${MAX}),
        CONSTRAINT counters_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
      );
      INSERT INTO limits (owner_id, meter, period, amount)
        SELECT owner_id, meter, 'lifetime', nullif(limits[1], -1) FROM quotas
        WHERE meter NOT LIKE 'api:%' AND limits[1] IS NOT NULL;
      INSERT INTO counters (owner_id, meter, used) SELECT owner_id, meter, counts[1] FROM quotas WHERE meter NOT LIKE 'api:%';
      DROP FUNCTION spend_calls, charge_gauge;
      DROP VIEW usage;
      DROP FUNCTION calls_used, with_limit;
      DROP TABLE quotas, idempotency_keys, usage_hours, platform_quotas, plan_limits, api_key_secrets, api_keys, apis;
      DROP FUNCTION keep_usage, window_start`);
  }
}

/** The places of `limits` and `counts`. */
const WINDOWS = ['lifetime', 'minute', 'hour', 'day', 'month'] as const;

/** What a double holds exactly: 2^53 − 1. */
const MAX = '9007199254740991';

/** Stands for "of no key": what an owner uses as a whole. */
const NO_KEY = `'00000000-0000-0000-0000-000000000000'::uuid`;

/** What each window allows: null is not said, −1 is unlimited. All null where nothing is said. */
const limitsOf = (table: string): string => `
    limits bigint[],
    CONSTRAINT ${table}_limits_check CHECK (cardinality(limits) = 5 AND -1 <= ALL(limits) AND ${MAX} >= ALL(limits))`;

/** What was used of each window that holds the moment `at`, when it was last charged. */
const countsOf = (table: string): string => `
    counts bigint[] NOT NULL DEFAULT '{0,0,0,0,0}',
    at timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT ${table}_counts_check CHECK (cardinality(counts) = 5 AND 0 <= ALL(counts))`;

const TABLES = [
  // Room on the page for the next version of a row: updates then need no new index entry (heap-only tuples).
  `CREATE TABLE quotas (
    owner_id uuid NOT NULL,
    key_id uuid NOT NULL DEFAULT ${NO_KEY},
    meter text COLLATE "C" NOT NULL,
    ${limitsOf('quotas')},
    ${countsOf('quotas')},
    denied bigint NOT NULL DEFAULT 0,
    hour_denied bigint NOT NULL DEFAULT 0,
    CONSTRAINT quotas_pkey PRIMARY KEY (owner_id, key_id, meter),
    CONSTRAINT quotas_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  ) WITH (fillfactor = 50)`,
  `INSERT INTO quotas (owner_id, meter, limits, counts)
    SELECT owner_id, meter, CASE WHEN l.owner_id IS NOT NULL THEN ARRAY[coalesce(l.amount, -1), NULL, NULL, NULL, NULL] END,
      ARRAY[coalesce(c.used, 0), 0, 0, 0, 0]
    FROM limits l FULL JOIN counters c USING (owner_id, meter)`,
  `DROP TABLE limits, counters`,
  `CREATE TABLE plan_limits (
    plan text NOT NULL,
    meter text COLLATE "C" NOT NULL,
    ${limitsOf('plan_limits')},
    CONSTRAINT plan_limits_pkey PRIMARY KEY (plan, meter),
    CONSTRAINT plan_limits_plan_fkey FOREIGN KEY (plan) REFERENCES plans (slug) ON UPDATE CASCADE ON DELETE CASCADE
  )`,
  `CREATE TABLE platform_quotas (
    meter text COLLATE "C" NOT NULL,
    ${limitsOf('platform_quotas')},
    ${countsOf('platform_quotas')},
    CONSTRAINT platform_quotas_pkey PRIMARY KEY (meter)
  ) WITH (fillfactor = 50)`,
  `CREATE TABLE apis (
    slug text COLLATE "C" NOT NULL,
    name text NOT NULL,
    answer text,
    upstream text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT apis_pkey PRIMARY KEY (slug),
    CONSTRAINT apis_answer_check CHECK (answer IS NULL OR upstream IS NULL)
  )`,
  `INSERT INTO apis (slug, name, answer) VALUES ('api1', 'API 1', 'API1'), ('api2', 'API 2', 'API2'), ('api3', 'API 3', 'API3')`,
  `CREATE TABLE api_keys (
    id uuid NOT NULL,
    owner_id uuid NOT NULL,
    name text NOT NULL,
    hint text NOT NULL,
    scopes text[] NOT NULL,
    disabled boolean NOT NULL DEFAULT false,
    expires_at timestamptz(3),
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX api_keys_owner_idx ON api_keys (owner_id, id)`,
  // What a call needs of its key is here as well, to be had with one look; whoever changes a key changes both.
  `CREATE TABLE api_key_secrets (
    hash bytea NOT NULL,
    key_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    scopes text[] NOT NULL,
    disabled boolean NOT NULL,
    expires_at timestamptz(3),
    retires_at timestamptz(3),
    CONSTRAINT api_key_secrets_pkey PRIMARY KEY (hash),
    CONSTRAINT api_key_secrets_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT api_key_secrets_key_fkey FOREIGN KEY (key_id) REFERENCES api_keys (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX api_key_secrets_key_idx ON api_key_secrets (key_id)`,
  `CREATE TABLE usage_hours (
    owner_id uuid NOT NULL,
    key_id uuid NOT NULL,
    meter text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    granted bigint NOT NULL,
    denied bigint NOT NULL,
    CONSTRAINT usage_hours_pkey PRIMARY KEY (owner_id, key_id, meter, hour)
  )`,
  `CREATE TABLE idempotency_keys (
    owner_id uuid NOT NULL,
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    answer bytea NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (owner_id, key_hash)
  )`,
  `CREATE INDEX idempotency_keys_created_idx ON idempotency_keys (created_at)`,
];

/** Limits with the one of a window set; null where then nothing is said any more. */
const WITH_LIMIT = `
  CREATE FUNCTION with_limit(limits bigint[], place integer, amount bigint) RETURNS bigint[] LANGUAGE sql IMMUTABLE AS $$
    SELECT nullif(
      ARRAY(SELECT CASE WHEN n = place THEN amount ELSE limits[n] END FROM generate_series(1, 5) AS n ORDER BY n),
      '{NULL,NULL,NULL,NULL,NULL}')
  $$`;

/** When the window began that holds a moment: UTC, whatever the session's time zone is. */
const WINDOW_START = `
  CREATE FUNCTION window_start(period text, moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE period WHEN 'lifetime' THEN '-infinity'::timestamptz ELSE date_trunc(period, moment, 'UTC') END
  $$`;

/**
 * What was used of a flow by an owner, or by one of its keys, in each window that holds a moment. Each key and API that
 * was ever called has a quota that counts; one above them (an owner's, or a key's of all APIs) counts only since a limit
 * first bore on it (`at` says so), and until then is their sum. What a quota says of a window that was over when it was
 * last charged is of no account. Should the clock go back, the later window stays: it was charged.
 */
const CALLS_USED = `
  CREATE FUNCTION calls_used(of_owner uuid, of_key uuid, of_meter text, moment timestamptz) RETURNS bigint[]
  LANGUAGE sql STABLE AS $$
    SELECT ARRAY[${WINDOWS.map((window, i) =>
      i === 0
        ? `coalesce(sum(q.counts[1]), 0)::bigint`
        : `coalesce(sum(q.counts[${String(i + 1)}]) FILTER (WHERE q.at >= window_start('${window}', moment)), 0)::bigint`,
    ).join(', ')}]
    FROM quotas q
    WHERE q.owner_id = of_owner AND CASE
      WHEN EXISTS (SELECT FROM quotas k
        WHERE k.owner_id = of_owner AND k.key_id = of_key AND k.meter = of_meter AND k.at > '-infinity')
      THEN q.key_id = of_key AND q.meter = of_meter
      ELSE q.key_id <> ${NO_KEY} AND (of_key = ${NO_KEY} OR q.key_id = of_key)
        AND q.meter LIKE 'api:%' AND q.meter <> 'api:*' AND (of_meter = 'api:*' OR q.meter = of_meter)
      END
  $$`;

const LEDGER = [
  // The ledger. Of the current hour the quota of a key and an API itself is the row; earlier ones are in usage_hours.
  `CREATE VIEW usage AS
    SELECT owner_id, key_id, meter, hour, granted, denied FROM usage_hours
    UNION ALL
    SELECT owner_id, key_id, meter, window_start('hour', at), counts[3], hour_denied FROM quotas
    WHERE key_id <> ${NO_KEY} AND meter <> 'api:*' AND (counts[3] > 0 OR hour_denied > 0)`,
  // A user's recorded usage stays when the user goes; what it held goes from what the platform holds.
  `CREATE FUNCTION keep_usage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF OLD.meter NOT LIKE 'api:%' THEN
        UPDATE platform_quotas SET counts[1] = counts[1] - OLD.counts[1] WHERE meter = OLD.meter;
      ELSIF OLD.key_id <> ${NO_KEY} AND OLD.meter <> 'api:*' AND (OLD.counts[3] > 0 OR OLD.hour_denied > 0) THEN
        INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
        VALUES (OLD.owner_id, OLD.key_id, OLD.meter, window_start('hour', OLD.at), OLD.counts[3], OLD.hour_denied)
        ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
          SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
      END IF;
      RETURN OLD;
    END $$`,
  `CREATE TRIGGER quotas_keep_usage AFTER DELETE ON quotas FOR EACH ROW EXECUTE FUNCTION keep_usage()`,
];

/**
 * Charges a gauge to many owners. Meant to stand in the statement that inserts what is counted. Judged in order of
 * arrival; whole or not at all. `granted` null: there is no such owner. `limits` as spend_calls gives them.
 */
const CHARGE_GAUGE = `
  CREATE FUNCTION charge_gauge(of_meter text, owners uuid[], costs bigint[])
  RETURNS TABLE (place integer, granted boolean, limits text)
  LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
  #variable_conflict use_column
  DECLARE
    r record;
    platform_used bigint;
    platform_limit bigint;
    current_owner uuid;
    extra bigint;
    platform_extra bigint := 0;
    units bigint[] := '{}';
  BEGIN
    -- KEY SHARE as the foreign key's own check takes: an owner that is being deleted is waited for, and then is gone.
    INSERT INTO quotas (owner_id, meter)
    SELECT u.id, of_meter FROM users u
    WHERE u.id = ANY(owners)
      AND NOT EXISTS (SELECT FROM quotas q WHERE q.owner_id = u.id AND q.key_id = ${NO_KEY} AND q.meter = of_meter)
    ORDER BY u.id FOR KEY SHARE
    ON CONFLICT ON CONSTRAINT quotas_pkey DO NOTHING;
    PERFORM FROM quotas q WHERE q.owner_id = ANY(owners) AND q.key_id = ${NO_KEY} AND q.meter = of_meter
    ORDER BY q.owner_id FOR UPDATE;
    SELECT p.counts[1], nullif(p.limits[1], -1) INTO platform_used, platform_limit
    FROM platform_quotas p WHERE p.meter = of_meter FOR UPDATE;
    -- From here on every statement sees what was committed before the locks were had.
    FOR r IN
      SELECT a.place::integer AS place, a.owner_id, a.cost, q.counts[1] AS used,
        nullif(coalesce(q.limits[1], p.limits[1]), -1) AS amount,
        CASE WHEN q.limits[1] IS NULL THEN 'p' ELSE 'u' END AS scope
      FROM unnest(owners, costs) WITH ORDINALITY AS a (owner_id, cost, place)
      LEFT JOIN quotas q ON q.owner_id = a.owner_id AND q.key_id = ${NO_KEY} AND q.meter = of_meter
      LEFT JOIN users u ON u.id = a.owner_id
      LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = of_meter
      ORDER BY a.owner_id, a.place
    LOOP
      IF current_owner IS DISTINCT FROM r.owner_id THEN
        current_owner := r.owner_id;
        extra := 0;
      END IF;
      place := r.place;
      granted := r.used + extra + r.cost <= coalesce(r.amount, ${MAX})
        AND (platform_used IS NULL OR platform_used + platform_extra + r.cost <= coalesce(platform_limit, ${MAX}));
      limits := concat_ws(';',
        r.scope || 'ls' || r.amount || ':' || (r.used + extra),
        'gls' || platform_limit || ':' || (platform_used + platform_extra));
      units[r.place] := CASE WHEN granted THEN r.cost ELSE 0 END;
      extra := extra + units[r.place];
      platform_extra := platform_extra + units[r.place];
      RETURN NEXT;
    END LOOP;
    UPDATE quotas q SET counts[1] = q.counts[1] + w.units
    FROM (
      SELECT w.owner_id, sum(w.units)::bigint AS units FROM unnest(owners, units) AS w (owner_id, units)
      GROUP BY w.owner_id HAVING sum(w.units) > 0
    ) w
    WHERE q.owner_id = w.owner_id AND q.key_id = ${NO_KEY} AND q.meter = of_meter;
    IF platform_used IS NOT NULL AND platform_extra > 0 THEN
      UPDATE platform_quotas p SET counts[1] = p.counts[1] + platform_extra WHERE p.meter = of_meter;
    END IF;
  END $$`;

/** In spend_calls: one block for each quota that may bear on a call. */
function judge(
  quota: string,
  {
    scope,
    plan,
    meter,
    name,
    sum,
  }: { scope: 'u' | 'k' | 'g'; plan?: string; meter: 's' | '*'; name: string; sum?: string },
): string {
  const columns = scope === 'g' ? `${quota}.` : `r.${quota}_`;
  const [own, counts, at] = [`${columns}limits`, `${columns}counts`, `${columns}at`];
  const amount = plan === undefined ? `${own}[w]` : `coalesce(${own}[w], ${plan}[w])`;
  const letter = plan === undefined ? `'${scope}'` : `CASE WHEN ${own}[w] IS NULL THEN 'p' ELSE 'u' END`;
  const earlier = scope === 'g' ? ['platform_extras', 'platform_names'] : ['extras', 'names'];
  return `
      IF ${own} IS NOT NULL${plan === undefined ? '' : ` OR ${plan} IS NOT NULL`} THEN
        counted := ${sum === undefined ? counts : `CASE WHEN ${at} > '-infinity' THEN ${counts} ELSE ${sum} END`};
        extra := 0;
        IF several THEN
          extra := coalesce(${earlier.join('[array_position(')}, ${name})], 0);
        END IF;
        FOR w IN 1 .. 5 LOOP
          amount := ${amount};
          CONTINUE WHEN amount IS NULL OR amount < 0;
          spent := extra + CASE WHEN ${at} >= starts[w]${sum === undefined ? '' : ` OR coalesce(${at}, '-infinity') = '-infinity'`} THEN counted[w] ELSE 0 END;
          room := least(room, greatest(amount - spent, 0) / r.cost);
          limits := limits || ${letter} || substr('lmhdM', w, 1) || '${meter}' || amount || ':' || spent || ';';
        END LOOP;${
          quota === 'd' || quota === 'c' || quota === 'b'
            ? `
        kept := kept || '${quota}';
        unkept := unkept OR ${at} IS NULL OR ${at} = '-infinity';
      ELSIF ${at} > '-infinity' THEN
        kept := kept || '${quota}';`
            : ''
        }
      END IF;`;
}

const JUDGE = [
  // All APIs, and this API, of the owner; this API, and all APIs, of the key; the platform's.
  judge('d', {
    ...{ scope: 'u', plan: 'r.pd_limits', meter: '*', name: `'api:*'` },
    sum: `calls_used(r.owner_id, ${NO_KEY}, 'api:*', now)`,
  }),
  judge('c', {
    ...{ scope: 'u', plan: 'r.pc_limits', meter: 's', name: 'r.meter' },
    sum: `calls_used(r.owner_id, ${NO_KEY}, r.meter, now)`,
  }),
  judge('m', { scope: 'k', meter: 's', name: 'r.key_id || r.meter' }),
  judge('b', {
    ...{ scope: 'k', meter: '*', name: `r.key_id || 'api:*'` },
    sum: `calls_used(r.owner_id, r.key_id, 'api:*', now)`,
  }),
  `
      IF platform > 0 THEN
        SELECT p.limits, p.counts, p.at INTO f FROM platform_quotas p WHERE p.meter = 'api:*';
        SELECT p.limits, p.counts, p.at INTO g FROM platform_quotas p WHERE p.meter = r.meter;${judge('f', { scope: 'g', meter: '*', name: `'api:*'` })}${judge('g', { scope: 'g', meter: 's', name: 'r.meter' })}
      END IF;`,
].join('');

/** The counts of a quota after a charge: what a window held that is over goes. */
const charged = (quota: string): string =>
  `counts = ARRAY[${WINDOWS.map((_window, i) => {
    const n = String(i + 1);
    return i === 0
      ? `${quota}.counts[1] + excluded.counts[1]`
      : `CASE WHEN ${quota}.at >= starts[${n}] THEN ${quota}.counts[${n}] ELSE 0 END + excluded.counts[1]`;
  }).join(', ')}], at = greatest(${quota}.at, excluded.at)`;

/**
 * Judges and charges a batch of calls, in order of arrival. One element of the arrays is a run: `count` equal requests
 * one after the other, of which the first `granted` are granted. All limits that bear on a request are judged
 * together; granted whole or refused whole. `limits` names each that was judged with what was used of it before the
 * run, as `<scope><window><meter><amount>:<used>;`: scope u(ser) p(lan) k(ey) g(lobal: the platform), window m(inute)
 * h(our) d(ay) M(onth) l(ifetime), meter s(lug) or * (all APIs).
 */
const SPEND_CALLS = `
  CREATE FUNCTION spend_calls(hashes bytea[], slugs text[], costs bigint[], run_counts integer[], dry boolean[])
  RETURNS TABLE (
    place integer, verdict text, owner_id uuid, key_id uuid, granted integer, limits text, answer text, upstream text,
    moment float8
  ) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
  #variable_conflict use_column
  DECLARE
    r record;
    f record;
    g record;
    locked integer;
    platform integer;
    several boolean;
    now timestamptz;
    starts timestamptz[];
    current_owner uuid;
    -- What earlier runs of the batch were granted: by quota, of the current owner; and by meter, of the platform.
    names text[];
    extras bigint[];
    platform_names text[] := '{}';
    platform_extras bigint[] := '{}';
    name text;
    slot integer;
    extra bigint;
    amount bigint;
    spent bigint;
    counted bigint[];
    room bigint;
    kept text;
    owners uuid[] := '{}';
    keys uuid[] := '{}';
    meters text[] := '{}';
    units bigint[] := '{}';
    denials bigint[] := '{}';
    above text[] := '{}';
    unkept boolean := false;
    turned boolean := false;
  BEGIN
    -- The owner's quota of all APIs is the lock of all quotas that its calls change: who holds it may change them.
    PERFORM FROM quotas q
    WHERE q.key_id = ${NO_KEY} AND q.meter = 'api:*'
      AND q.owner_id IN (SELECT s.owner_id FROM unnest(hashes) AS a (hash) JOIN api_key_secrets s ON s.hash = a.hash)
    ORDER BY q.owner_id FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    PERFORM FROM platform_quotas p
    WHERE p.meter = 'api:*' OR p.meter IN (SELECT 'api:' || a.slug FROM unnest(slugs) AS a (slug))
    ORDER BY p.meter FOR UPDATE;
    GET DIAGNOSTICS platform = ROW_COUNT;
    -- From here on every statement sees what was committed before the locks were had, and so does the clock.
    several := platform > 0 OR locked < cardinality(hashes);
    now := clock_timestamp();
    starts := ARRAY[${WINDOWS.map((window) => `window_start('${window}', now)`).join(', ')}];
    moment := extract(epoch FROM now) * 1000;
    FOR r IN
      SELECT a.place::integer AS place, a.meter, a.cost, a.count, a.dry, s.key_id, s.owner_id, i.answer, i.upstream,
        CASE
          WHEN d.owner_id IS NULL OR s.disabled OR s.expires_at <= now OR s.retires_at <= now THEN 'invalid_api_key'
          WHEN u.status <> 'active' THEN 'account_disabled'
          WHEN i.slug IS NULL THEN 'not_found'
          WHEN NOT ('*' = ANY(s.scopes) OR a.slug = ANY(s.scopes) OR EXISTS (
            SELECT FROM unnest(s.scopes) AS scope WHERE scope LIKE '%*' AND starts_with(a.slug, left(scope, -1))
          )) THEN 'scope_denied'
          ELSE 'ok'
        END AS verdict,
        d.limits AS d_limits, d.counts AS d_counts, d.at AS d_at, pd.limits AS pd_limits,
        c.limits AS c_limits, c.counts AS c_counts, c.at AS c_at, pc.limits AS pc_limits,
        m.limits AS m_limits, m.counts AS m_counts, m.at AS m_at,
        b.limits AS b_limits, b.counts AS b_counts, b.at AS b_at
      FROM (
        SELECT a.*, 'api:' || a.slug AS meter
        FROM unnest(hashes, slugs, costs, run_counts, dry) WITH ORDINALITY AS a (hash, slug, cost, count, dry, place)
      ) a
      LEFT JOIN api_key_secrets s ON s.hash = a.hash
      LEFT JOIN users u ON u.id = s.owner_id
      LEFT JOIN apis i ON i.slug = a.slug
      LEFT JOIN quotas d ON d.owner_id = s.owner_id AND d.key_id = ${NO_KEY} AND d.meter = 'api:*'
      LEFT JOIN quotas c ON c.owner_id = s.owner_id AND c.key_id = ${NO_KEY} AND c.meter = a.meter
      LEFT JOIN quotas m ON m.owner_id = s.owner_id AND m.key_id = s.key_id AND m.meter = a.meter
      LEFT JOIN quotas b ON b.owner_id = s.owner_id AND b.key_id = s.key_id AND b.meter = 'api:*'
      LEFT JOIN plan_limits pd ON pd.plan = u.plan AND pd.meter = 'api:*'
      LEFT JOIN plan_limits pc ON pc.plan = u.plan AND pc.meter = a.meter
      ORDER BY s.owner_id, a.place
    LOOP
      place := r.place;
      verdict := r.verdict;
      owner_id := r.owner_id;
      key_id := r.key_id;
      granted := 0;
      limits := '';
      answer := r.answer;
      upstream := r.upstream;
      IF r.verdict <> 'ok' THEN
        RETURN NEXT;
        CONTINUE;
      END IF;
      room := (${MAX} - coalesce(r.m_counts[1], 0)) / r.cost;
      kept := '';
      IF several THEN
        IF current_owner IS DISTINCT FROM r.owner_id THEN
          current_owner := r.owner_id;
          names := '{}';
          extras := '{}';
        END IF;
        room := (${MAX} - coalesce(r.m_counts[1], 0) - coalesce(extras[array_position(names, r.key_id || r.meter)], 0)) / r.cost;
      END IF;${JUDGE}
      granted := least(r.count, room);
      RETURN NEXT;
      CONTINUE WHEN r.dry;
      IF several AND granted > 0 THEN
        FOREACH name IN ARRAY ARRAY['api:*', r.meter, r.key_id || 'api:*', r.key_id || r.meter] LOOP
          slot := coalesce(array_position(names, name), cardinality(names) + 1);
          names[slot] := name;
          extras[slot] := coalesce(extras[slot], 0) + granted * r.cost;
        END LOOP;
        FOREACH name IN ARRAY ARRAY['api:*', r.meter] LOOP
          slot := coalesce(array_position(platform_names, name), cardinality(platform_names) + 1);
          platform_names[slot] := name;
          platform_extras[slot] := coalesce(platform_extras[slot], 0) + granted * r.cost;
        END LOOP;
      END IF;
      owners := owners || r.owner_id;
      keys := keys || r.key_id;
      meters := meters || r.meter;
      units := units || granted * r.cost;
      denials := denials || (r.count - granted)::bigint;
      above := above || kept;
      turned := turned OR r.m_at < starts[3];
    END LOOP;
    IF cardinality(owners) = 0 THEN
      RETURN;
    END IF;
    IF turned THEN
      INSERT INTO usage_hours AS h (owner_id, key_id, meter, hour, granted, denied)
      SELECT q.owner_id, q.key_id, q.meter, window_start('hour', q.at), q.counts[3], q.hour_denied
      FROM (SELECT DISTINCT w.* FROM unnest(owners, keys, meters) AS w (owner_id, key_id, meter)) w
      JOIN quotas q ON q.owner_id = w.owner_id AND q.key_id = w.key_id AND q.meter = w.meter
      WHERE q.at < starts[3] AND (q.counts[3] > 0 OR q.hour_denied > 0)
      ON CONFLICT ON CONSTRAINT usage_hours_pkey DO UPDATE
        SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
    END IF;
    IF unkept THEN
      -- A limit bears on what did not count itself yet: it begins with what the keys' quotas say.
      INSERT INTO quotas AS q (owner_id, key_id, meter, counts, at)
      SELECT w.owner_id, w.key_id, w.meter, calls_used(w.owner_id, w.key_id, w.meter, w.at), w.at
      FROM (
        -- At the latest of what is summed: should the clock have gone back since, the later window stays.
        SELECT DISTINCT w.owner_id, n.key_id, n.meter, greatest(now, (
          SELECT max(q.at) FROM quotas q
          WHERE q.owner_id = w.owner_id AND q.key_id <> ${NO_KEY} AND (n.key_id = ${NO_KEY} OR q.key_id = n.key_id)
            AND q.meter LIKE 'api:%' AND q.meter <> 'api:*' AND (n.meter = 'api:*' OR q.meter = n.meter)
        )) AS at
        FROM unnest(owners, keys, meters, above) AS w (owner_id, key_id, meter, above)
        JOIN LATERAL (
          VALUES ('d', ${NO_KEY}, 'api:*'), ('c', ${NO_KEY}, w.meter), ('b', w.key_id, 'api:*')
        ) AS n (letter, key_id, meter) ON strpos(w.above, n.letter) > 0
      ) w
      ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET counts = excluded.counts, at = excluded.at
      WHERE q.at = '-infinity';
    END IF;
    INSERT INTO quotas AS q (owner_id, key_id, meter, counts, at, denied, hour_denied)
    SELECT w.owner_id, n.key_id, n.meter, array_fill(sum(w.units)::bigint, '{5}'), now, sum(w.denials), sum(w.denials)
    FROM unnest(owners, keys, meters, units, denials, above) AS w (owner_id, key_id, meter, units, denials, above)
    JOIN LATERAL (
      VALUES ('', w.key_id, w.meter), ('d', ${NO_KEY}, 'api:*'), ('c', ${NO_KEY}, w.meter), ('b', w.key_id, 'api:*')
    ) AS n (letter, key_id, meter) ON n.letter = '' OR strpos(w.above, n.letter) > 0
    GROUP BY w.owner_id, n.key_id, n.meter
    ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET
      ${charged('q')},
      denied = q.denied + excluded.denied,
      hour_denied = CASE WHEN q.at >= starts[3] THEN q.hour_denied ELSE 0 END + excluded.denied;
    IF platform > 0 THEN
      INSERT INTO platform_quotas AS q (meter, counts, at)
      SELECT p.meter, array_fill(sum(w.units)::bigint, '{5}'), now
      FROM unnest(meters, units) AS w (meter, units)
      JOIN platform_quotas p ON p.meter = 'api:*' OR p.meter = w.meter
      GROUP BY p.meter
      ON CONFLICT ON CONSTRAINT platform_quotas_pkey DO UPDATE SET ${charged('q')};
    END IF;
  END $$`;
