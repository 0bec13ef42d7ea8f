// What a call costs when the tables are large: `node bench/scale.js [millions]`. One server, one set of keys, measured
// before and after a million users with a key each, limits, and an hour of usage stand beside them.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/database/embedded-postgres.js';
import { ADMIN_PASSWORD, callCases, seedKeys } from './cases.js';
import { Load, Server } from './processes.js';
import { median } from './report.js';

const rows = Math.round(Number(process.argv[2] ?? 1) * 1_000_000);
const ROUNDS = 7;
const CONNECTIONS = [1, 32, 256];

/** Rows as the API makes them, without its argon2. */
const FILL = [
  `INSERT INTO users (id, username, username_key, password_hash)
    SELECT gen_random_uuid(), 'scale' || n, 'scale' || n, 'none' FROM generate_series(1, $1::int) n`,
  `INSERT INTO api_keys (id, owner_id, name, hint, scopes)
    SELECT gen_random_uuid(), id, 'scale', 'qm_0000', '{*}' FROM users WHERE username_key LIKE 'scale%'`,
  `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled)
    SELECT sha256(id::text::bytea), id, owner_id, scopes, false FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO quotas (owner_id, meter) SELECT owner_id, 'api:*' FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO quotas (owner_id, meter, limits, counts, at)
    SELECT owner_id, 'api:api1', '{NULL,NULL,NULL,1000000,NULL}', '{5,1,1,5,5}', now() FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO quotas (owner_id, key_id, meter, limits, counts, at)
    SELECT owner_id, id, 'api:api1', '{NULL,1000,NULL,NULL,NULL}', '{5,1,1,5,5}', now() FROM api_keys WHERE name = 'scale'`,
  `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied)
    SELECT owner_id, id, 'api:api1', date_trunc('hour', now(), 'UTC') - interval '1 hour', 4, 0
    FROM api_keys WHERE name = 'scale'`,
  'VACUUM ANALYZE',
  'CHECKPOINT',
];

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
    args: ['--max-semi-space-size=32', fileURLToPath(new URL('../dist/src/main.js', import.meta.url))],
    env: { DATABASE_URL: postgres.url, PORT: '0', ADMIN_PASSWORD, SECRET_KEY: randomBytes(32).toString('hex') },
    folder,
  });
  cleanUp.push(() => server.stop());
  const load = new Load();
  cleanUp.push(() => load.stop());
  const cases = callCases(await seedKeys(server.url, { users: 256, keysEach: 1 })).slice(0, 2);

  /** @returns {Promise<Map<string, { p50: number, rate: number }>>} medians by case and connections */
  const measure = async () => {
    const outcomes = new Map();
    for (const { name, requests } of cases) {
      for (const connections of CONNECTIONS) {
        const job = { url: server.url, connections, requests };
        await load.run({ ...job, seconds: 2 });
        const rounds = [];
        for (let round = 0; round < ROUNDS; round++) rounds.push(await load.run({ ...job, seconds: 2 }));
        outcomes.set(`${name}, ${connections} connections`, {
          p50: median(rounds.map((one) => one.p50)),
          rate: median(rounds.map((one) => one.rate)),
        });
      }
    }
    return outcomes;
  };

  const before = await measure();
  for (const statement of FILL) await database.query(statement, statement.includes('$1') ? [rows] : []);
  const after = await measure();
  console.log(
    `| case | p50 ms, empty | with ${rows.toLocaleString('en')} users and keys | ratio | answers/s, empty | full |`,
  );
  console.log('|---|--:|--:|--:|--:|--:|');
  for (const [name, { p50, rate }] of before) {
    const full = after.get(name);
    if (!full) continue;
    const ratio = (full.p50 / p50).toFixed(2);
    console.log(
      `| ${name} | ${p50.toFixed(2)} | ${full.p50.toFixed(2)} | ${ratio} | ${rate.toFixed(0)} | ${full.rate.toFixed(0)} |`,
    );
  }
} finally {
  for (const step of cleanUp.reverse()) await step();
}
