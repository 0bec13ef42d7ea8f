// What a request costs when the tables are large: `node bench/scale.js`. One server, measured before and after.
//   node bench/scale.js calls [millions]  calls with 256 keys, beside a million users with a key each, limits, and an hour of usage
//   node bench/scale.js metrics [millions] metrics, beside a million users, five objects and ten lines of the ledger each
//   node bench/scale.js store [millions]  the store of one owner, with 5,000 entries and then with 5 millions
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { PLATFORM, TOP } from '../dist/src/metrics/metrics.statements.js';
import { ADMIN_PASSWORD, call, callCases, get, post, put, seedKeys, signIn } from './cases.js';
import { Load, Server, flagsOfStart } from './processes.js';
import { median } from './report.js';

const ROUNDS = 7;
const CONNECTIONS = [1, 32, 256];

/** Rows as the API makes them, without its argon2. */
const FILL_USERS = [
  `INSERT INTO users (id, username, username_key, password_hash)
    SELECT gen_random_uuid(), 'scale' || n, 'scale' || n, 'none' FROM generate_series(1, $1::int) n`,
  `INSERT INTO api_keys (id, owner_id, name, hint, scopes)
    SELECT gen_random_uuid(), id, 'scale', 'qm_0000', '{*}' FROM users WHERE username_key LIKE 'scale%'`,
  `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled)
    SELECT sha256(id::text::bytea), id, owner_id, scopes, false FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO flows (owner_id, meter) SELECT owner_id, 'api:*' FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO flows (owner_id, meter, limits, counts, at)
    SELECT owner_id, 'api:api1', '{NULL,NULL,NULL,1000000,NULL}', '{5,1,1,5,5}', now() FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO flows (owner_id, key_id, meter, limits, counts, at)
    SELECT owner_id, id, 'api:api1', '{NULL,1000,NULL,NULL,NULL}', '{5,1,1,5,5}', now() FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied)
    SELECT owner_id, id, 'api:api1', date_trunc('hour', now(), 'UTC') - interval '1 hour', 4, 0
    FROM api_keys WHERE name = 'scale'`,
];

/** As many users as there are millions to be, about five objects and ten hours of usage of each. */
const FILL_METRICS = [
  `SET session_replication_role = replica`,
  `SET synchronous_commit = off`,
  `INSERT INTO users (id, username, username_key, password_hash)
    SELECT gen_random_uuid(), 'scale' || n, 'scale' || n, 'none' FROM generate_series(1, $1::int) n`,
  `CREATE TEMP TABLE scale AS
    SELECT id, gen_random_uuid() AS key_id, row_number() OVER () AS n FROM users WHERE username_key LIKE 'scale%'`,
  `INSERT INTO tasks (owner_id, id, completed)
    SELECT s.id, gen_random_uuid(), i % 2 = 0 FROM scale s, generate_series(1, s.n % 5) i`,
  `INSERT INTO resources (owner_id, id, value)
    SELECT s.id, gen_random_uuid(), 'a resource' FROM scale s, generate_series(1, s.n * 7 % 5) i`,
  `INSERT INTO store_entries (owner_id, key, value, version)
    SELECT s.id, 'key' || i, '{"total":1}', i FROM scale s, generate_series(1, s.n % 3) i`,
  `INSERT INTO gauges (owner_id, meter, amount, used)
    SELECT s.id, m.meter, CASE WHEN m.meter = 'tasks' AND s.n % 2 = 0 THEN 10 END, m.used
    FROM scale s CROSS JOIN LATERAL (
      VALUES ('tasks', s.n % 5), ('resources', s.n * 7 % 5), ('store.entries', s.n % 3), ('store.bytes', s.n % 3 * 15)
    ) AS m (meter, used)`,
  `INSERT INTO flows (owner_id, meter) SELECT id, 'api:*' FROM scale`,
  `INSERT INTO flows (owner_id, key_id, meter, counts, at)
    SELECT id, key_id, 'api:api1', ARRAY[1000 + n % 1000, 1, 1, 5, 50], now() FROM scale`,
  `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied)
    SELECT s.id, s.key_id, 'api:api1', date_trunc('hour', now(), 'UTC') - make_interval(hours => ((s.n * 37 + i * 911) % 9000)::int), 100, 1
    FROM scale s, generate_series(1, 10) i`,
  `INSERT INTO request_counts (owner_id, total, errors, hour, hour_total, hour_errors)
    SELECT id, 100 + n % 5000, n % 10, date_trunc('hour', now(), 'UTC'), 1, 0 FROM scale`,
  `SET session_replication_role = origin`,
  // As the sweeper does.
  `UPDATE platform_settings SET usage_until = '-infinity'`,
  `SELECT sum_hours()`,
];

const FILL_STORE = [
  `INSERT INTO store_entries (owner_id, key, value, version)
    SELECT id, 'key-' || lpad(n::text, 8, '0'), '{"items":["tea","sugar"],"total":' || n || '}', n
    FROM users, generate_series(1, $1::int) n WHERE username = 'admin' ON CONFLICT DO NOTHING`,
  `UPDATE gauges g SET revision = $1, used = CASE g.meter WHEN 'store.entries' THEN e.count ELSE e.bytes END
    FROM (SELECT owner_id, count(*), sum(octet_length(key) + octet_length(value)) AS bytes FROM store_entries GROUP BY 1) e
    WHERE g.owner_id = e.owner_id AND g.meter LIKE 'store.%' AND $1::int > 0`,
];

/**
 * @typedef {object} Scenario
 * @property {string} filled what the tables hold in the end
 * @property {(url: string) => Promise<(rows: number) => import('./cases.js').Case[]>} seed what is measured, by how much is there
 * @property {string[]} fill
 * @property {[before: number, after: number]} rows
 * @property {readonly number[]} [connections]
 * @property {number} [rounds]
 * @property {Record<string, { text: string, values: unknown[] }>} [explained] statements whose plans are shown in the end
 */

/** @type {Record<string, (millions: number | undefined) => Scenario>} */
const SCENARIOS = {
  calls: (millions = 1) => ({
    filled: `${millions} million users and keys`,
    seed: async (url) => {
      const cases = callCases(await seedKeys(url, { users: 256, keysEach: 1 })).slice(0, 2);
      return () => cases;
    },
    fill: FILL_USERS,
    rows: [0, millions * 1_000_000],
  }),
  metrics: (millions = 1) => ({
    filled: `${millions} million users`,
    seed: async (url) => {
      const token = await signIn(url, 'admin', ADMIN_PASSWORD);
      const paths = [
        '/v1/metrics',
        ...Object.keys(TOP).map((by) => `/v1/metrics/top?by=${by}&limit=10`),
        '/v1/metrics/users/me',
        '/v1/metrics/series?meter=api:api1&step=hour',
        '/v1/metrics/series?step=day&from=2026-01-01',
      ];
      const server = /** @type {const} */ ('quartermaster');
      return () => paths.map((path) => ({ name: `GET ${path}`, server, expect: 200, requests: [get(path, token)] }));
    },
    fill: FILL_METRICS,
    rows: [0, millions * 1_000_000],
    // They are read by a few, and there are many of them.
    connections: [1],
    rounds: 3,
    explained: {
      'GET /v1/metrics': { text: PLATFORM.text, values: [] },
      ...Object.fromEntries(
        Object.entries(TOP).map(([by, text]) => [`GET /v1/metrics/top?by=${by}`, { text, values: [10] }]),
      ),
    },
  }),
  store: (millions = 5) => ({
    filled: `${millions} million entries of the owner`,
    seed: async (url) => {
      const token = await signIn(url, 'admin', ADMIN_PASSWORD);
      await call(url, 'PUT', '/v1/store/first', {}, token);
      return (rows) => {
        const key = (/** @type {number} */ n) => `key-${String(n).padStart(8, '0')}`;
        const keys = Array.from({ length: 1_000 }, (_each, i) => key(1 + Math.floor((i * rows) / 1_000)));
        const some = keys.filter((_each, i) => i % 10 === 0);
        const server = /** @type {const} */ ('quartermaster');
        return [
          {
            name: 'GET /v1/store/{key}',
            server,
            expect: 200,
            requests: keys.map((each) => get(`/v1/store/${each}`, token)),
          },
          {
            ...{ name: 'PUT /v1/store/{key}', server, expect: 200 },
            requests: keys.map((each) => put(`/v1/store/${each}`, { items: ['tea', 'sugar'], total: 1 }, token)),
          },
          {
            ...{ name: 'GET /v1/store?prefix=&values=true', server, expect: 200 },
            requests: keys.map((each) => get(`/v1/store?prefix=${each.slice(0, -2)}&values=true`, token)),
          },
          {
            ...{ name: 'POST /v1/store/read of 100', server, expect: 200 },
            requests: [post('/v1/store/read', { keys: some }, token)],
          },
        ];
      };
    },
    fill: FILL_STORE,
    rows: [5_000, millions * 1_000_000],
  }),
};

const [name = 'calls', millions] = process.argv.slice(2);
const scenario = SCENARIOS[name]?.(millions === undefined ? undefined : Number(millions));
if (!scenario) throw new Error(`There are ${Object.keys(SCENARIOS).join(', ')}`);

const folder = await mkdtemp(join(tmpdir(), 'quartermaster-scale-'));
/** @type {(() => Promise<unknown>)[]} */
const cleanUp = [() => rm(folder, { recursive: true, force: true })];
try {
  const postgres = await EmbeddedPostgres.start({ dataDir: join(folder, 'data') });
  cleanUp.push(() => postgres.stop());
  const database = new pg.Client({ connectionString: postgres.url });
  await database.connect();
  cleanUp.push(() => database.end());
  const server = await Server.start({
    name: 'quartermaster',
    args: [...flagsOfStart(), fileURLToPath(new URL('../dist/src/main.js', import.meta.url))],
    env: { DATABASE_URL: postgres.url, PORT: '0', ADMIN_PASSWORD, SECRET_KEY: randomBytes(32).toString('hex') },
    folder,
  });
  cleanUp.push(() => server.stop());
  const load = new Load();
  cleanUp.push(() => load.stop());
  const casesOf = await scenario.seed(server.url);

  /**
   * @param {number} rows
   * @returns {Promise<Map<string, { p50: number, rate: number }>>} medians by case and connections
   */
  const measure = async (rows) => {
    if (rows > 0)
      for (const statement of scenario.fill) await database.query(statement, statement.includes('$1') ? [rows] : []);
    for (const statement of ['VACUUM ANALYZE', 'CHECKPOINT']) await database.query(statement);
    const outcomes = new Map();
    for (const { name, requests, expect } of casesOf(rows)) {
      for (const connections of scenario.connections ?? CONNECTIONS) {
        const job = { url: server.url, connections, requests };
        await load.run({ ...job, seconds: 2 });
        const rounds = [];
        for (let round = 0; round < (scenario.rounds ?? ROUNDS); round++)
          rounds.push(await load.run({ ...job, seconds: 2 }));
        const wrong = rounds.flatMap((one) => Object.keys(one.statuses)).find((status) => Number(status) !== expect);
        if (wrong !== undefined) throw new Error(`${name} answered ${wrong}`);
        outcomes.set(`${name}, ${connections} connections`, {
          p50: median(rounds.map((one) => one.p50)),
          rate: median(rounds.map((one) => one.rate)),
        });
      }
    }
    return outcomes;
  };

  const [before, after] = [await measure(scenario.rows[0]), await measure(scenario.rows[1])];
  console.log(`| case | p50 ms, before | with ${scenario.filled} | ratio | answers/s, before | after |`);
  console.log('|---|--:|--:|--:|--:|--:|');
  for (const [name, { p50, rate }] of before) {
    const full = after.get(name);
    if (!full) continue;
    const ratio = (full.p50 / p50).toFixed(2);
    console.log(
      `| ${name} | ${p50.toFixed(2)} | ${full.p50.toFixed(2)} | ${ratio} | ${rate.toFixed(0)} | ${full.rate.toFixed(0)} |`,
    );
  }
  // As the server sets it.
  await database.query('SET jit = off');
  for (const [title, { text, values }] of Object.entries(scenario.explained ?? {})) {
    const { rows } = await database.query(`EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) ${text}`, values);
    console.log(`\n${title}\n${rows.map((row) => `  ${row['QUERY PLAN']}`).join('\n')}`);
  }
} finally {
  for (const step of cleanUp.reverse()) await step();
}
