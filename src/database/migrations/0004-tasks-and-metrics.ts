import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Tasks and bonus credits, the platform's own settings and bound, and the sums that metrics are read from. How the sums
 * stay exact and cost nobody a wait is in docs/decisions/0013 and 0014.
 *
 * Ready for Citus: `tasks`, `credit_grants`, `credit_accounts`, `request_counts` and `request_hours` belong to an owner;
 * the others are the platform's.
 */
export class TasksAndMetrics1764200000004 implements MigrationInterface {
  readonly name = 'TasksAndMetrics1764200000004';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of [...TABLES, ...VIEWS, ADD_OBJECTS, COUNT_CALLS, RELEASE_GAUGE, ...BONUS, RANK_CALLS]) {
      await runner.query(statement);
    }
    for (const [name, changes] of CHANGES) await runner.query(amend(name, changes));
    for (const statement of [...CREDITS, ...USERS_COUNTED, RECOUNT_PLATFORM, RECORD_REQUESTS]) {
      await runner.query(statement);
    }
    for (const statement of FROM_WHAT_IS_THERE) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TRIGGER users_counted_up ON users;
      DROP TRIGGER users_counted_down ON users;
      DROP TRIGGER users_credits_insert ON users;
      DROP TRIGGER users_credits_update ON users;
      DROP TRIGGER quotas_credits_insert ON quotas;
      DROP TRIGGER quotas_credits_update ON quotas;
      DROP FUNCTION record_requests, recount_platform, count_users, plan_chosen, credits_changed, credits_left,
        sweep_grants, credits_granted, recount_credits CASCADE;`);
    for (const [name, changes] of [...CHANGES].reverse()) {
      await runner.query(
        amend(
          name,
          [...changes].reverse().map(([before, after]) => [after, before]),
        ),
      );
    }
    await runner.query(`
      UPDATE platform_quotas SET counts[1] = 0 WHERE meter = 'tasks';
      UPDATE quotas SET counts[1] = 0 WHERE meter = 'tasks';
      DELETE FROM platform_quotas WHERE meter = 'objects';
      DROP FUNCTION rank_calls, bonus_credits, release_gauge, count_calls, add_objects;
      DROP VIEW platform_usage;
      DROP TABLE tasks, credit_grants, credit_accounts, credit_totals, platform_settings, platform_totals, platform_calls,
        platform_hours, request_counts, request_hours, request_routes;
      DROP INDEX usage_hours_hour_idx, quotas_rank_idx;
      ALTER TABLE quotas DROP COLUMN rank`);
  }
}

/** What a double holds exactly: 2^53 − 1. */
const MAX = '9007199254740991';

/** Stands for "of no key": what an owner uses as a whole. */
const NO_KEY = `'00000000-0000-0000-0000-000000000000'::uuid`;

/** The gauges whose units are objects of the platform; bytes are none. */
const OBJECTS = `('resources', 'store.entries', 'tasks')`;

/**
 * Which of the rows of a sum a connection adds to. With a row for each of some connections nobody waits for another's
 * commit; read together they are the sum.
 */
const STRIPE = 'pg_backend_pid() % 64';

const TABLES = [
  `CREATE TABLE tasks (
    owner_id uuid NOT NULL,
    id uuid NOT NULL,
    title text,
    completed boolean NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT tasks_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT tasks_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX tasks_id_idx ON tasks (id)`,
  `CREATE INDEX tasks_owner_completed_idx ON tasks (owner_id, completed, id)`,
  `CREATE INDEX tasks_completed_idx ON tasks (completed, id)`,
  // Counted: it is in its owner's bonus. A grant that has expired is, until it is swept; it grants nothing more.
  `CREATE TABLE credit_grants (
    owner_id uuid NOT NULL,
    id uuid NOT NULL,
    amount bigint NOT NULL,
    reason text,
    expires_at timestamptz(3),
    counted boolean NOT NULL DEFAULT true,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    CONSTRAINT credit_grants_pkey PRIMARY KEY (owner_id, id),
    CONSTRAINT credit_grants_amount_check CHECK (amount BETWEEN 1 AND ${MAX}),
    CONSTRAINT credit_grants_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX credit_grants_owner_expires_idx ON credit_grants (owner_id, expires_at) WHERE counted`,
  `CREATE INDEX credit_grants_expires_idx ON credit_grants (expires_at) WHERE counted`,
  // What a user's credits are made of: on what basis (own; the plan's, as plan:<slug>; null is unlimited), and what of them
  // stands in credit_totals. Numeric: grants may add up to more than a bigint.
  `CREATE TABLE credit_accounts (
    owner_id uuid NOT NULL,
    basis text,
    own bigint NOT NULL DEFAULT 0,
    bonus numeric NOT NULL DEFAULT 0,
    CONSTRAINT credit_accounts_pkey PRIMARY KEY (owner_id),
    CONSTRAINT credit_accounts_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE TABLE credit_totals (
    basis text NOT NULL,
    stripe smallint NOT NULL,
    users bigint NOT NULL,
    own numeric NOT NULL,
    bonus numeric NOT NULL,
    CONSTRAINT credit_totals_pkey PRIMARY KEY (basis, stripe)
  )`,
  `CREATE TABLE platform_settings (
    id smallint NOT NULL DEFAULT 1,
    registration text,
    credit_overprovisioning boolean NOT NULL DEFAULT false,
    default_plan text,
    CONSTRAINT platform_settings_pkey PRIMARY KEY (id),
    CONSTRAINT platform_settings_id_check CHECK (id = 1),
    CONSTRAINT platform_settings_registration_check CHECK (registration IN ('open', 'closed')),
    CONSTRAINT platform_settings_default_plan_fkey FOREIGN KEY (default_plan) REFERENCES plans (slug)
      ON UPDATE CASCADE ON DELETE RESTRICT
  )`,
  `INSERT INTO platform_settings DEFAULT VALUES`,
  // Sums over everything there is, by stripes.
  `CREATE TABLE platform_totals (
    stripe smallint NOT NULL,
    users bigint NOT NULL DEFAULT 0,
    tasks bigint NOT NULL DEFAULT 0,
    resources bigint NOT NULL DEFAULT 0,
    store_entries bigint NOT NULL DEFAULT 0,
    requests bigint NOT NULL DEFAULT 0,
    errors bigint NOT NULL DEFAULT 0,
    CONSTRAINT platform_totals_pkey PRIMARY KEY (stripe)
  ) WITH (fillfactor = 50)`,
  // What all together were granted and refused of an API: ever, and in the hour that was last charged.
  `CREATE TABLE platform_calls (
    meter text COLLATE "C" NOT NULL,
    stripe smallint NOT NULL,
    granted bigint NOT NULL,
    denied bigint NOT NULL,
    hour timestamptz NOT NULL,
    hour_granted bigint NOT NULL,
    hour_denied bigint NOT NULL,
    CONSTRAINT platform_calls_pkey PRIMARY KEY (meter, stripe)
  ) WITH (fillfactor = 50)`,
  `CREATE TABLE platform_hours (
    meter text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    granted bigint NOT NULL,
    denied bigint NOT NULL,
    CONSTRAINT platform_hours_pkey PRIMARY KEY (meter, hour)
  )`,
  `CREATE INDEX platform_hours_hour_idx ON platform_hours (hour)`,
  // Requests of a user: ever, and in the hour of the last one; earlier hours are in request_hours.
  `CREATE TABLE request_counts (
    owner_id uuid NOT NULL,
    total bigint NOT NULL,
    errors bigint NOT NULL,
    hour timestamptz NOT NULL,
    hour_total bigint NOT NULL,
    hour_errors bigint NOT NULL,
    CONSTRAINT request_counts_pkey PRIMARY KEY (owner_id),
    CONSTRAINT request_counts_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX request_counts_total_idx ON request_counts (total DESC, owner_id)`,
  `CREATE TABLE request_hours (
    owner_id uuid NOT NULL,
    hour timestamptz NOT NULL,
    total bigint NOT NULL,
    errors bigint NOT NULL,
    CONSTRAINT request_hours_pkey PRIMARY KEY (owner_id, hour),
    CONSTRAINT request_hours_owner_fkey FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE
  )`,
  `CREATE INDEX request_hours_hour_idx ON request_hours (hour)`,
  `CREATE TABLE request_routes (
    hour timestamptz NOT NULL,
    method text NOT NULL,
    route text NOT NULL,
    status smallint NOT NULL,
    requests bigint NOT NULL,
    milliseconds double precision NOT NULL,
    CONSTRAINT request_routes_pkey PRIMARY KEY (hour, method, route, status)
  )`,
  // For what is asked of everyone by the hour, and for what is too old.
  `CREATE INDEX usage_hours_hour_idx ON usage_hours (hour, owner_id, key_id, meter)`,
  // What the first of a list are found by. An index on the counts themselves would make each call of an API write to
  // every index of the table: of those quotas this one stays as it is.
  `ALTER TABLE quotas ADD COLUMN rank bigint NOT NULL DEFAULT 0`,
  `CREATE INDEX quotas_rank_idx ON quotas (meter, rank DESC, owner_id) WHERE rank > 0`,
];

const VIEWS = [
  `CREATE VIEW platform_usage AS
    SELECT meter, hour, granted, denied FROM platform_hours
    UNION ALL
    SELECT meter, hour, hour_granted, hour_denied FROM platform_calls`,
];

/** Adds to the sum of objects of a kind; the last lock that whoever charges takes. */
const ADD_OBJECTS = `
  CREATE FUNCTION add_objects(kind text, units bigint) RETURNS void LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  BEGIN
    LOOP
      UPDATE platform_totals t SET
        users = t.users + CASE kind WHEN 'users' THEN units ELSE 0 END,
        tasks = t.tasks + CASE kind WHEN 'tasks' THEN units ELSE 0 END,
        resources = t.resources + CASE kind WHEN 'resources' THEN units ELSE 0 END,
        store_entries = t.store_entries + CASE kind WHEN 'store.entries' THEN units ELSE 0 END
      WHERE t.stripe = ${STRIPE};
      EXIT WHEN FOUND;
      INSERT INTO platform_totals (stripe) VALUES (${STRIPE}) ON CONFLICT ON CONSTRAINT platform_totals_pkey DO NOTHING;
    END LOOP;
  END $$`;

/** Adds to what all together were granted and refused of an API; a new hour first puts the one before away. */
const COUNT_CALLS = `
  CREATE FUNCTION count_calls(of_meter text, units bigint, denials bigint, this_hour timestamptz) RETURNS boolean
  LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
  BEGIN
    LOOP
      -- Should the clock go back, the later hour stays: it was charged.
      UPDATE platform_calls c SET
        granted = c.granted + units, denied = c.denied + denials,
        hour_granted = c.hour_granted + units, hour_denied = c.hour_denied + denials
      WHERE c.meter = of_meter AND c.stripe = ${STRIPE} AND c.hour >= this_hour;
      EXIT WHEN FOUND;
      PERFORM FROM platform_calls c WHERE c.meter = of_meter AND c.stripe = ${STRIPE} FOR UPDATE;
      INSERT INTO platform_hours AS h (meter, hour, granted, denied)
      SELECT c.meter, c.hour, c.hour_granted, c.hour_denied FROM platform_calls c
      WHERE c.meter = of_meter AND c.stripe = ${STRIPE} AND c.hour < this_hour
        AND (c.hour_granted > 0 OR c.hour_denied > 0)
      ON CONFLICT ON CONSTRAINT platform_hours_pkey DO UPDATE
        SET granted = h.granted + excluded.granted, denied = h.denied + excluded.denied;
      INSERT INTO platform_calls AS c (meter, stripe, granted, denied, hour, hour_granted, hour_denied)
      VALUES (of_meter, ${STRIPE}, 0, 0, this_hour, 0, 0)
      ON CONFLICT ON CONSTRAINT platform_calls_pkey DO UPDATE SET
        hour = excluded.hour, hour_granted = 0, hour_denied = 0
      WHERE c.hour < excluded.hour;
    END LOOP;
    RETURN true;
  END $$`;

/** Gives back units of a gauge that were charged with charge_gauge. The owner's quota is locked already. */
const RELEASE_GAUGE = `
  CREATE FUNCTION release_gauge(of_meter text, of_owner uuid, units bigint) RETURNS void LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  BEGIN
    UPDATE quotas q SET counts[1] = q.counts[1] - units, rank = q.counts[1] - units
    WHERE q.owner_id = of_owner AND q.key_id = ${NO_KEY} AND q.meter = of_meter;
    PERFORM FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE;
    IF FOUND THEN
      UPDATE platform_quotas p SET counts[1] = p.counts[1] - units WHERE p.meter IN ('objects', of_meter);
    END IF;
    PERFORM add_objects(of_meter, -units);
  END $$`;

const BONUS = [
  // What grants add to a user's credits at a moment.
  `CREATE FUNCTION bonus_credits(of_owner uuid, moment timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT a.bonus - CASE WHEN a.bonus = 0 THEN 0 ELSE coalesce((
        SELECT sum(g.amount) FROM credit_grants g WHERE g.owner_id = of_owner AND g.counted AND g.expires_at <= moment
      ), 0) END
    FROM credit_accounts a WHERE a.owner_id = of_owner
  $$`,
];

/** Brings what owners are listed by up to what they were granted of all APIs. */
const RANK_CALLS = `
  CREATE FUNCTION rank_calls(owners uuid[]) RETURNS void LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  BEGIN
    -- In the order in which spends lock; what is summed is read after.
    PERFORM FROM quotas q WHERE q.owner_id = ANY(owners) AND q.key_id = ${NO_KEY} AND q.meter = 'api:*'
    ORDER BY q.owner_id FOR UPDATE;
    UPDATE quotas q SET rank = s.granted
    FROM (SELECT DISTINCT o AS owner_id FROM unnest(owners) AS o) w
    CROSS JOIN LATERAL (
      SELECT coalesce(sum(k.counts[1]), 0)::bigint AS granted FROM quotas k
      WHERE k.owner_id = w.owner_id AND k.key_id <> ${NO_KEY} AND k.meter LIKE 'api:%' AND k.meter <> 'api:*'
    ) s
    WHERE q.owner_id = w.owner_id AND q.key_id = ${NO_KEY} AND q.meter = 'api:*' AND q.rank <> s.granted;
  END $$`;

type Changes = readonly (readonly [before: string, after: string])[];

/** Changes a function that an earlier migration made: each text must stand in it exactly once. */
function amend(name: string, changes: Changes): string {
  const steps = changes.map(
    ([before, after]) => `
      IF array_length(string_to_array(definition, $before$${before}$before$), 1) <> 2 THEN
        RAISE EXCEPTION '${name} is not as it was made: %', $before$${before}$before$;
      END IF;
      definition := replace(definition, $before$${before}$before$, $after$${after}$after$);`,
  );
  return `
    DO $do$
    DECLARE
      definition text := pg_get_functiondef('${name}'::regproc);
    BEGIN${steps.join('')}
      EXECUTE definition;
    END $do$`;
}

/** Besides its meter's the platform may have a bound on all objects; and gauges are ranked and summed. */
const CHANGED_GAUGE: Changes = [
  [
    `    platform_limit bigint;
`,
    `    platform_limit bigint;
    objects_used bigint;
    objects_limit bigint;
    now timestamptz;
`,
  ],
  [
    `    SELECT p.counts[1], nullif(p.limits[1], -1) INTO platform_used, platform_limit
    FROM platform_quotas p WHERE p.meter = of_meter FOR UPDATE;
    -- From here on every statement sees what was committed before the locks were had.
`,
    `    FOR r IN
      SELECT p.meter, p.counts[1] AS used, nullif(p.limits[1], -1) AS amount
      FROM platform_quotas p WHERE p.meter IN ('objects', of_meter) ORDER BY p.meter FOR UPDATE
    LOOP
      IF r.meter = 'objects' THEN
        objects_used := r.used;
        objects_limit := r.amount;
      ELSE
        platform_used := r.used;
        platform_limit := r.amount;
      END IF;
    END LOOP;
    -- From here on every statement sees what was committed before the locks were had, and so does the clock.
    now := clock_timestamp();
    IF objects_used + (SELECT sum(c) FROM unnest(costs) AS c) > objects_limit THEN
      objects_used := objects_used - (expired_entries(now))[1];
    END IF;
`,
  ],
  [
    `        nullif(coalesce(q.limits[1], p.limits[1]), -1) AS amount,
`,
    `        CASE WHEN coalesce(q.limits[1], p.limits[1]) >= 0 THEN least(${MAX}, coalesce(q.limits[1], p.limits[1])
          + CASE of_meter WHEN 'tasks' THEN coalesce(bonus_credits(a.owner_id, now), 0) ELSE 0 END)::bigint END AS amount,
`,
  ],
  [
    `        AND (platform_used IS NULL OR platform_used + platform_extra + r.cost <= coalesce(platform_limit, ${MAX}));
`,
    `        AND (platform_used IS NULL OR platform_used + platform_extra + r.cost <= coalesce(platform_limit, ${MAX}))
        AND (objects_used IS NULL OR objects_used + platform_extra + r.cost <= coalesce(objects_limit, ${MAX}));
`,
  ],
  [
    `        'gls' || platform_limit || ':' || (platform_used + platform_extra));
`,
    `        'gls' || platform_limit || ':' || (platform_used + platform_extra),
        'glo' || objects_limit || ':' || (objects_used + platform_extra));
`,
  ],
  [
    `    UPDATE quotas q SET counts[1] = q.counts[1] + w.units
`,
    `    UPDATE quotas q SET counts[1] = q.counts[1] + w.units, rank = q.counts[1] + w.units
`,
  ],
  [
    `    IF platform_used IS NOT NULL AND platform_extra > 0 THEN
      UPDATE platform_quotas p SET counts[1] = p.counts[1] + platform_extra WHERE p.meter = of_meter;
    END IF;
`,
    `    IF platform_extra > 0 THEN
      IF platform_used IS NOT NULL OR objects_used IS NOT NULL THEN
        UPDATE platform_quotas p SET counts[1] = p.counts[1] + platform_extra WHERE p.meter IN ('objects', of_meter);
      END IF;
      PERFORM add_objects(of_meter, platform_extra);
    END IF;
`,
  ],
];

const METERS = `('store.bytes', 'store.entries')`;
const WITH_OBJECTS = `('objects', 'store.bytes', 'store.entries')`;

const PLATFORM_LOCKED = (meters: string): string =>
  `    PERFORM FROM platform_quotas p WHERE p.meter IN ${meters} ORDER BY p.meter FOR UPDATE;
`;

const CHANGED_WRITE: Changes = [
  [PLATFORM_LOCKED(METERS), PLATFORM_LOCKED(WITH_OBJECTS)],
  [
    `    fits boolean;
`,
    `    platform_objects bigint;
    new_entries bigint := 0;
    fits boolean;
`,
  ],
  [
    `      max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.bytes') AS byte_limit
    INTO platform FROM platform_quotas p WHERE p.meter IN ${METERS};
`,
    `      max(nullif(p.limits[1], -1)) FILTER (WHERE p.meter = 'store.bytes') AS byte_limit,
      max(p.counts[1]) FILTER (WHERE p.meter = 'objects') AS objects,
      max(p.limits[1]) FILTER (WHERE p.meter = 'objects') AS object_limit
    INTO platform FROM platform_quotas p WHERE p.meter IN ${WITH_OBJECTS};
`,
  ],
  [
    `          OR platform.bytes + o.all_bytes > platform.byte_limit
`,
    `          OR platform.bytes + o.all_bytes > platform.byte_limit
          OR platform.objects + cardinality(keys) > platform.object_limit
`,
  ],
  [
    `    IF cardinality(tight) > 0 AND (platform.entry_limit IS NOT NULL OR platform.byte_limit IS NOT NULL) THEN
`,
    `    IF cardinality(tight) > 0
      AND (platform.entry_limit IS NOT NULL OR platform.byte_limit IS NOT NULL OR platform.object_limit IS NOT NULL) THEN
`,
  ],
  [
    `      SELECT platform.entries - x.expired[1], platform.bytes - x.expired[2] INTO platform_entries, platform_bytes
`,
    `      SELECT platform.entries - x.expired[1], platform.bytes - x.expired[2], platform.objects - x.expired[1]
      INTO platform_entries, platform_bytes, platform_objects
`,
  ],
  [
    `                AND coalesce(platform_entries, 0) + r.cost <= coalesce(platform.entry_limit, ${MAX})))
`,
    `                AND coalesce(platform_entries, 0) + r.cost <= coalesce(platform.entry_limit, ${MAX})
                AND coalesce(platform_objects, 0) + r.cost <= coalesce(platform.object_limit, ${MAX})))
`,
  ],
  [
    `              platform_entries := platform_entries + r.cost;
`,
    `              platform_entries := platform_entries + r.cost;
              platform_objects := platform_objects + r.cost;
`,
  ],
  [
    `                'gls' || platform.entry_limit || ':' || platform_entries);
`,
    `                'gls' || platform.entry_limit || ':' || platform_entries,
                'glo' || platform.object_limit || ':' || platform_objects);
`,
  ],
  [
    `          counts[1] = q.counts[1] + CASE q.meter WHEN 'store.entries' THEN w.more ELSE w.growth END,
`,
    `          counts[1] = q.counts[1] + CASE q.meter WHEN 'store.entries' THEN w.more ELSE w.growth END,
          rank = CASE q.meter WHEN 'store.entries' THEN q.counts[1] + w.more ELSE 0 END,
`,
  ],
  [
    `      IF platform.entries IS NOT NULL OR platform.bytes IS NOT NULL THEN
        UPDATE platform_quotas p
        SET counts[1] = p.counts[1] + coalesce(CASE p.meter WHEN 'store.entries' THEN r.more ELSE r.growth END, 0)
        WHERE p.meter IN ${METERS};
      END IF;
`,
    `      IF platform.entries IS NOT NULL OR platform.bytes IS NOT NULL OR platform.objects IS NOT NULL THEN
        UPDATE platform_quotas p
        SET counts[1] = p.counts[1] + coalesce(CASE p.meter WHEN 'store.bytes' THEN r.growth ELSE r.more END, 0)
        WHERE p.meter IN ${WITH_OBJECTS};
      END IF;
      new_entries := new_entries + coalesce(r.more, 0);
`,
  ],
  [
    `      RETURN NEXT;
    END LOOP;
  END `,
    `      RETURN NEXT;
    END LOOP;
    IF new_entries <> 0 THEN
      PERFORM add_objects('store.entries', new_entries);
    END IF;
  END `,
  ],
];

/** Where entries are deleted. */
const CHANGED_FREED: Changes = [
  [PLATFORM_LOCKED(METERS), PLATFORM_LOCKED(WITH_OBJECTS)],
  [
    `        UPDATE quotas q SET counts[1] = q.counts[1] - CASE q.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END
`,
    `        UPDATE quotas q SET counts[1] = q.counts[1] - CASE q.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END,
          rank = CASE q.meter WHEN 'store.entries' THEN q.counts[1] - f.entries ELSE 0 END
`,
  ],
  [
    `        UPDATE platform_quotas p SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.entries' THEN f.entries ELSE f.bytes END
        FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM gone HAVING count(*) > 0) f
        WHERE p.meter IN ${METERS}
      )`,
    `        UPDATE platform_quotas p SET counts[1] = p.counts[1] - CASE p.meter WHEN 'store.bytes' THEN f.bytes ELSE f.entries END
        FROM (SELECT count(*) AS entries, sum(size)::bigint AS bytes FROM gone HAVING count(*) > 0) f
        WHERE p.meter IN ${WITH_OBJECTS}
      )`,
  ],
];

const CHANGED_DELETE: Changes = [
  ...CHANGED_FREED,
  [
    `    now timestamptz;
  BEGIN`,
    `    now timestamptz;
    entries bigint;
  BEGIN`,
  ],
  [
    `    RETURN QUERY
    WITH d AS MATERIALIZED (`,
    `    FOR place, verdicts, entries IN
    WITH d AS MATERIALIZED (`,
  ],
  [
    `    SELECT d.request, string_agg(d.verdict, '' ORDER BY d.ord) FROM d GROUP BY d.request;
`,
    `    SELECT d.request, string_agg(d.verdict, '' ORDER BY d.ord), (SELECT count(*) FROM gone) FROM d GROUP BY d.request
    LOOP
      RETURN NEXT;
    END LOOP;
    IF entries > 0 THEN
      PERFORM add_objects('store.entries', -entries);
    END IF;
`,
  ],
];

const CHANGED_SWEEP: Changes = [
  ...CHANGED_FREED,
  [
    `    SELECT count(*) INTO swept FROM gone;
`,
    `    SELECT count(*) INTO swept FROM gone;
    IF swept > 0 THEN
      PERFORM add_objects('store.entries', -swept);
    END IF;
`,
  ],
];

const CHANGED_KEEP_USAGE: Changes = [
  [
    `        UPDATE platform_quotas SET counts[1] = counts[1] - OLD.counts[1] WHERE meter = OLD.meter;
`,
    `        UPDATE platform_quotas SET counts[1] = counts[1] - OLD.counts[1]
        WHERE meter = OLD.meter OR (meter = 'objects' AND OLD.meter IN ${OBJECTS});
        IF OLD.counts[1] > 0 AND OLD.meter IN ${OBJECTS} THEN
          PERFORM add_objects(OLD.meter, -OLD.counts[1]);
        END IF;
`,
  ],
];

/** What all together use of each API is summed up as well, in the same transaction. */
const CHANGED_SPEND: Changes = [
  [
    `    IF platform > 0 THEN
      INSERT INTO platform_quotas`,
    `    IF cardinality(meters) = 1 THEN
      PERFORM count_calls(meters[1], units[1], denials[1], starts[3]);
    ELSE
      FOR r IN
        SELECT w.meter, sum(w.units)::bigint AS units, sum(w.denials)::bigint AS denials
        FROM unnest(meters, units, denials) AS w (meter, units, denials) GROUP BY w.meter ORDER BY w.meter
      LOOP
        PERFORM count_calls(r.meter, r.units, r.denials, starts[3]);
      END LOOP;
    END IF;
    IF platform > 0 THEN
      INSERT INTO platform_quotas`,
  ],
];

const CHANGES: readonly (readonly [name: string, changes: Changes])[] = [
  ['charge_gauge', CHANGED_GAUGE],
  ['write_entries', CHANGED_WRITE],
  ['delete_entries', CHANGED_DELETE],
  ['sweep_entries', CHANGED_SWEEP],
  ['keep_usage', CHANGED_KEEP_USAGE],
  ['spend_calls', CHANGED_SPEND],
];

/** What a user's credits rest on, of u(sers) and its quota q. */
const BASIS = `
        CASE WHEN q.limits[1] >= 0 THEN 'own' WHEN q.limits[1] IS NULL THEN 'plan:' || u.plan END AS basis,
        greatest(coalesce(q.limits[1], 0), 0) AS own,
        coalesce((SELECT sum(g.amount) FROM credit_grants g WHERE g.owner_id = u.id AND g.counted), 0) AS bonus`;

const CREDITS_ADDED = 'users = t.users + excluded.users, own = t.own + excluded.own, bonus = t.bonus + excluded.bonus';

/** Whoever adds to the same stripe waits here, holding none of its rows yet. */
const LOCK_STRIPE = `pg_advisory_xact_lock(hashtext('credits.totals'), ${STRIPE})`;

const CREDITS = [
  // Brings accounts up to what limits, plans and grants say, and the totals with them.
  `CREATE FUNCTION recount_credits(owners uuid[]) RETURNS void LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  BEGIN
    INSERT INTO credit_accounts (owner_id)
    SELECT u.id FROM users u WHERE u.id = ANY(owners) ORDER BY u.id
    ON CONFLICT ON CONSTRAINT credit_accounts_pkey DO NOTHING;
    -- Whoever changes one of the three comes by here after it did: the last one sees what all did.
    PERFORM FROM credit_accounts a WHERE a.owner_id = ANY(owners) ORDER BY a.owner_id FOR UPDATE;
    -- A transaction may come by twice, and want the rows of two sums in either order.
    PERFORM ${LOCK_STRIPE};
    WITH said AS MATERIALIZED (
      SELECT s.*, a.basis AS old_basis, a.own AS old_own, a.bonus AS old_bonus
      FROM credit_accounts a
      JOIN LATERAL (
        SELECT u.id AS owner_id,${BASIS}
        FROM users u LEFT JOIN quotas q ON q.owner_id = u.id AND q.key_id = ${NO_KEY} AND q.meter = 'tasks'
        WHERE u.id = a.owner_id
      ) s ON true
      WHERE a.owner_id = ANY(owners)
        AND (a.basis, a.own, a.bonus) IS DISTINCT FROM (s.basis, s.own, s.bonus)
    ), changed AS (
      UPDATE credit_accounts a SET basis = s.basis, own = s.own, bonus = s.bonus
      FROM said s WHERE a.owner_id = s.owner_id
    )
    INSERT INTO credit_totals AS t (basis, stripe, users, own, bonus)
    SELECT m.basis, ${STRIPE}, sum(m.users), sum(m.own), sum(m.bonus)
    FROM said s CROSS JOIN LATERAL (
      VALUES (s.old_basis, -1, -s.old_own, -s.old_bonus), (s.basis, 1, s.own, s.bonus)
    ) AS m (basis, users, own, bonus)
    WHERE m.basis IS NOT NULL
    GROUP BY m.basis ORDER BY m.basis
    ON CONFLICT ON CONSTRAINT credit_totals_pkey DO UPDATE SET ${CREDITS_ADDED};
  END $$`,
  `CREATE FUNCTION credits_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM recount_credits(ARRAY[NEW.owner_id]);
      RETURN NULL;
    END $$`,
  `CREATE TRIGGER quotas_credits_insert AFTER INSERT ON quotas FOR EACH ROW
    WHEN (NEW.meter = 'tasks' AND NEW.limits IS NOT NULL) EXECUTE FUNCTION credits_changed()`,
  `CREATE TRIGGER quotas_credits_update AFTER UPDATE OF limits ON quotas FOR EACH ROW
    WHEN (NEW.meter = 'tasks' AND OLD.limits IS DISTINCT FROM NEW.limits) EXECUTE FUNCTION credits_changed()`,
  `CREATE TRIGGER credit_grants_insert AFTER INSERT ON credit_grants FOR EACH ROW EXECUTE FUNCTION credits_changed()`,
  // Set by set: a plan that is renamed takes all its users along.
  `CREATE FUNCTION plan_chosen() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      owners uuid[];
    BEGIN
      IF TG_OP = 'INSERT' THEN
        SELECT array_agg(a.id) INTO owners FROM after_it a WHERE a.plan IS NOT NULL;
      ELSE
        -- Not a join: its plan is kept from when there was one row, and goes over one table for each row of the other.
        SELECT array_agg(c.id) INTO owners
        FROM (SELECT a.id, a.plan FROM after_it a EXCEPT SELECT b.id, b.plan FROM before_it b) c;
      END IF;
      IF owners IS NOT NULL THEN
        PERFORM recount_credits(owners);
      END IF;
      RETURN NULL;
    END $$`,
  `CREATE TRIGGER users_credits_insert AFTER INSERT ON users REFERENCING NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION plan_chosen()`,
  `CREATE TRIGGER users_credits_update AFTER UPDATE ON users REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION plan_chosen()`,
  `CREATE FUNCTION credits_left() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM ${LOCK_STRIPE};
      INSERT INTO credit_totals AS t (basis, stripe, users, own, bonus)
      SELECT b.basis, ${STRIPE}, -count(*), -sum(b.own), -sum(b.bonus)
      FROM before_it b WHERE b.basis IS NOT NULL
      GROUP BY b.basis ORDER BY b.basis
      ON CONFLICT ON CONSTRAINT credit_totals_pkey DO UPDATE SET ${CREDITS_ADDED};
      RETURN NULL;
    END $$`,
  `CREATE TRIGGER credit_accounts_left AFTER DELETE ON credit_accounts REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION credits_left()`,
  // The sum of all finite credits at a moment.
  `CREATE FUNCTION credits_granted(moment timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce((
      SELECT sum(CASE WHEN t.basis = 'own' THEN t.own + t.bonus WHEN p.limits[1] >= 0 THEN t.users * p.limits[1] + t.bonus END)
      FROM (
        SELECT t.basis, sum(t.users) AS users, sum(t.own) AS own, sum(t.bonus) AS bonus FROM credit_totals t GROUP BY t.basis
      ) t
      LEFT JOIN plan_limits p ON p.plan = substr(t.basis, 6) AND p.meter = 'tasks' AND t.basis <> 'own'
    ), 0) - coalesce((
      SELECT sum(g.amount)
      FROM credit_grants g
      JOIN credit_accounts a ON a.owner_id = g.owner_id
      LEFT JOIN plan_limits p ON p.plan = substr(a.basis, 6) AND p.meter = 'tasks' AND a.basis <> 'own'
      WHERE g.counted AND g.expires_at <= moment AND (a.basis = 'own' OR p.limits[1] >= 0)
    ), 0)
  $$`,
  // Takes some of the grants that have expired out of the bonuses they are in; on one node at a time. Returns how many.
  `CREATE FUNCTION sweep_grants(most integer) RETURNS integer LANGUAGE plpgsql
  SET plan_cache_mode = force_generic_plan AS $$
  DECLARE
    now timestamptz := clock_timestamp();
    owners uuid[];
    swept integer;
  BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('credits.sweep'), 0) THEN
      RETURN 0;
    END IF;
    SELECT array_agg(DISTINCT e.owner_id) INTO owners FROM (
      SELECT g.owner_id FROM credit_grants g WHERE g.counted AND g.expires_at <= now ORDER BY g.expires_at LIMIT most
    ) e;
    IF owners IS NULL THEN
      RETURN 0;
    END IF;
    UPDATE credit_grants g SET counted = false
    WHERE g.owner_id = ANY(owners) AND g.counted AND g.expires_at <= now;
    GET DIAGNOSTICS swept = ROW_COUNT;
    PERFORM recount_credits(owners);
    RETURN swept;
  END $$`,
];

/** Users are objects of the platform too; they have no gauge, and are counted where they come and go. */
const USERS_COUNTED = [
  `CREATE FUNCTION count_users() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      units bigint;
      bound record;
      room bigint;
    BEGIN
      IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO units FROM after_it;
      ELSE
        SELECT -count(*) INTO units FROM before_it;
      END IF;
      IF units = 0 THEN
        RETURN NULL;
      END IF;
      UPDATE platform_quotas p SET counts[1] = p.counts[1] + units WHERE p.meter = 'objects'
      RETURNING p.limits[1] AS amount, p.counts[1] - units AS used INTO bound;
      IF units > 0 AND bound.used + units > bound.amount THEN
        bound.used := bound.used - (expired_entries(clock_timestamp()))[1];
        IF bound.used + units > bound.amount THEN
          RAISE EXCEPTION 'no room for more objects' USING
            ERRCODE = 'QM001', CONSTRAINT = 'platform_objects', DETAIL = bound.amount || ':' || bound.used;
        END IF;
      END IF;
      PERFORM add_objects('users', units);
      RETURN NULL;
    END $$`,
  `CREATE TRIGGER users_counted_up AFTER INSERT ON users REFERENCING NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION count_users()`,
  `CREATE TRIGGER users_counted_down AFTER DELETE ON users REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION count_users()`,
];

/**
 * Makes the sums of objects and credits, and the ranks, anew from what they sum up: for whoever wrote rows past the API
 * (with the triggers off). Nobody can write meanwhile. Calls and requests are no rows that could be counted again.
 */
const RECOUNT_PLATFORM = `
  CREATE FUNCTION recount_platform() RETURNS void LANGUAGE plpgsql AS $$
  DECLARE
    sums record;
  BEGIN
    -- Users come and go, and credits change, under the lock on the settings (see PlatformRepository).
    PERFORM pg_advisory_xact_lock(1902997619);
    LOCK TABLE quotas IN EXCLUSIVE MODE;
    LOCK TABLE users IN EXCLUSIVE MODE;
    UPDATE quotas q SET rank = q.counts[1] WHERE q.meter IN ${OBJECTS} AND q.rank <> q.counts[1];
    UPDATE quotas q SET rank = s.granted
    FROM (
      SELECT k.owner_id, sum(k.counts[1])::bigint AS granted FROM quotas k
      WHERE k.key_id <> ${NO_KEY} AND k.meter LIKE 'api:%' AND k.meter <> 'api:*' GROUP BY k.owner_id
    ) s
    WHERE q.owner_id = s.owner_id AND q.key_id = ${NO_KEY} AND q.meter = 'api:*' AND q.rank <> s.granted;
    SELECT (SELECT count(*) FROM users) AS users,
      coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'tasks'), 0)::bigint AS tasks,
      coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'resources'), 0)::bigint AS resources,
      coalesce(sum(q.counts[1]) FILTER (WHERE q.meter = 'store.entries'), 0)::bigint AS entries
    INTO sums FROM quotas q WHERE q.key_id = ${NO_KEY} AND q.meter IN ${OBJECTS};
    UPDATE platform_totals SET users = 0, tasks = 0, resources = 0, store_entries = 0;
    INSERT INTO platform_totals AS t (stripe, users, tasks, resources, store_entries)
    VALUES (0, sums.users, sums.tasks, sums.resources, sums.entries)
    ON CONFLICT ON CONSTRAINT platform_totals_pkey DO UPDATE SET
      users = excluded.users, tasks = excluded.tasks, resources = excluded.resources, store_entries = excluded.store_entries;
    UPDATE platform_quotas SET counts[1] = sums.users + sums.tasks + sums.resources + sums.entries WHERE meter = 'objects';
    DELETE FROM credit_accounts;
    DELETE FROM credit_totals;
    INSERT INTO credit_accounts (owner_id, basis, own, bonus)
    SELECT * FROM (
      SELECT u.id,${BASIS}
      FROM users u LEFT JOIN quotas q ON q.owner_id = u.id AND q.key_id = ${NO_KEY} AND q.meter = 'tasks'
    ) a
    WHERE a.basis IS NOT NULL OR a.bonus > 0;
    INSERT INTO credit_totals (basis, stripe, users, own, bonus)
    SELECT basis, 0, count(*), sum(own), sum(bonus) FROM credit_accounts WHERE basis IS NOT NULL GROUP BY basis;
  END $$`;

/**
 * Writes what a process has counted of requests since it last did: by user, by route, and all together; each user and
 * each route with its class of status once. Durations in milliseconds. Of users that have gone only the sum stays.
 */
const RECORD_REQUESTS = `
  CREATE FUNCTION record_requests(
    owners uuid[], totals bigint[], faults bigint[],
    methods text[], routes text[], statuses smallint[], counts bigint[], durations double precision[]
  ) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
  DECLARE
    this_hour timestamptz := window_start('hour', clock_timestamp());
    everything bigint;
    errors bigint;
  BEGIN
    -- KEY SHARE as the foreign key's own check takes: an owner that is being deleted is waited for, and then is gone.
    INSERT INTO request_counts (owner_id, total, errors, hour, hour_total, hour_errors)
    SELECT u.id, 0, 0, this_hour, 0, 0 FROM users u
    WHERE u.id = ANY(owners) AND NOT EXISTS (SELECT FROM request_counts c WHERE c.owner_id = u.id)
    ORDER BY u.id FOR KEY SHARE
    ON CONFLICT ON CONSTRAINT request_counts_pkey DO NOTHING;
    -- Where an hour is put away, users come first, as whoever deletes one takes them.
    PERFORM FROM users u
    WHERE u.id = ANY(ARRAY(SELECT c.owner_id FROM request_counts c WHERE c.owner_id = ANY(owners) AND c.hour < this_hour))
    ORDER BY u.id FOR KEY SHARE;
    PERFORM FROM request_counts c WHERE c.owner_id = ANY(owners) ORDER BY c.owner_id FOR UPDATE;
    INSERT INTO request_hours AS h (owner_id, hour, total, errors)
    SELECT c.owner_id, c.hour, c.hour_total, c.hour_errors FROM request_counts c
    WHERE c.owner_id = ANY(owners) AND c.hour < this_hour AND c.hour_total > 0
    ORDER BY c.owner_id
    ON CONFLICT ON CONSTRAINT request_hours_pkey DO UPDATE
      SET total = h.total + excluded.total, errors = h.errors + excluded.errors;
    UPDATE request_counts c SET
      total = c.total + w.total,
      errors = c.errors + w.errors,
      hour = greatest(c.hour, this_hour),
      hour_total = CASE WHEN c.hour >= this_hour THEN c.hour_total ELSE 0 END + w.total,
      hour_errors = CASE WHEN c.hour >= this_hour THEN c.hour_errors ELSE 0 END + w.errors
    FROM unnest(owners, totals, faults) AS w (owner_id, total, errors)
    WHERE c.owner_id = w.owner_id;
    INSERT INTO request_routes AS r (hour, method, route, status, requests, milliseconds)
    SELECT this_hour, w.method, w.route, w.status, w.requests, w.milliseconds
    FROM unnest(methods, routes, statuses, counts, durations) AS w (method, route, status, requests, milliseconds)
    ORDER BY w.method, w.route, w.status
    ON CONFLICT ON CONSTRAINT request_routes_pkey DO UPDATE
      SET requests = r.requests + excluded.requests, milliseconds = r.milliseconds + excluded.milliseconds;
    SELECT coalesce(sum(w.requests), 0), coalesce(sum(w.requests) FILTER (WHERE w.status >= 4), 0)
    INTO everything, errors FROM unnest(statuses, counts) AS w (status, requests);
    INSERT INTO platform_totals AS t (stripe, requests, errors) VALUES (${STRIPE}, everything, errors)
    ON CONFLICT ON CONSTRAINT platform_totals_pkey DO UPDATE
      SET requests = t.requests + excluded.requests, errors = t.errors + excluded.errors;
  END $$`;

/** Sums and ranks begin with what is there. */
const FROM_WHAT_IS_THERE = [
  `SELECT recount_platform()`,
  `INSERT INTO platform_hours (meter, hour, granted, denied)
    SELECT meter, hour, sum(granted), sum(denied) FROM usage GROUP BY meter, hour`,
  `INSERT INTO platform_calls (meter, stripe, granted, denied, hour, hour_granted, hour_denied)
    SELECT meter, 0, sum(granted), sum(denied), '-infinity', 0, 0 FROM platform_hours GROUP BY meter`,
];
