// `node bench/new-entries.js`: new entries a second by `POST /v1/store/write` of 50, beside a bare `INSERT … SELECT unnest` of 50
// rows over as many connections, into a table with the same columns, indexes and foreign key, and into one without the foreign
// key. --rounds=N (5) --seconds=N (3) --connections=16,64. Ends what it starts and leaves no file.
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { ADMIN_PASSWORD, call, seedQuartermaster, seedStore } from './cases.js';
import { Server, flagsOfStart } from './processes.js';
import { median } from './report.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '16,64' },
  },
});
const numbersOfConnections = values.connections.split(',').map(Number);
const most = Math.max(...numbersOfConnections);

const BATCH = 50;
const OWNERS = 64;
/** 97 bytes of JSON. */
const VALUE = JSON.stringify({
  text: 'a text of some fifty characters, as people write it',
  count: 42,
  tags: ['bench'],
});
const numbers = Array.from({ length: BATCH }, (_each, i) => i);

/** The tables of the bare statement. `LIKE` leaves foreign keys out. */
const TABLES = `
  CREATE TABLE bare_owned (LIKE store_entries INCLUDING ALL) WITH (fillfactor = 90);
  ALTER TABLE bare_owned ADD FOREIGN KEY (owner_id) REFERENCES users (id) ON DELETE CASCADE;
  CREATE TABLE bare_free (LIKE store_entries INCLUDING ALL) WITH (fillfactor = 90)`;

/** @typedef {(connection: number, batch: number) => Promise<unknown>} Write writes the batch with this number */

const folder = await mkdtemp(join(tmpdir(), 'quartermaster-new-entries-'));
/** @type {(() => Promise<unknown>)[]} */
const ends = [() => rm(folder, { recursive: true, force: true })];
try {
  const postgres = await EmbeddedPostgres.start({ dataDir: join(folder, 'data'), maxConnections: most + 50 });
  ends.push(() => postgres.stop());
  const main = fileURLToPath(new URL('../dist/src/main.js', import.meta.url));
  const env = {
    DATABASE_URL: postgres.url,
    PORT: '0',
    ADMIN_PASSWORD,
    SECRET_KEY: 'only for this run, which ends soon',
  };
  const server = await Server.start({ name: 'server', args: [...flagsOfStart(), main], env, folder });
  ends.push(() => server.stop());
  const { tokens } = await seedQuartermaster(server.url, { owners: OWNERS, items: 0 });
  await seedStore(server.url, tokens);
  const clients = await Promise.all(Array.from({ length: most }, () => connected(postgres.url)));
  ends.push(() => Promise.all(clients.map((client) => client.end())));
  await clients[0]?.query(TABLES);
  const owners = await Promise.all(
    tokens.map(async (token) => String((await call(server.url, 'GET', '/v1/users/me', undefined, token)).id)),
  );
  await compare([
    ['bare INSERT, with the foreign key', insertInto('bare_owned', clients, owners)],
    ['bare INSERT, without it', insertInto('bare_free', clients, owners)],
    ['`POST /v1/store/write` of 50', writeTo(server.url, tokens)],
  ]);
} finally {
  for (const end of ends.reverse()) await end();
}

/** @param {string} url */
async function connected(url) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/**
 * @param {string} table
 * @param {pg.Client[]} clients
 * @param {string[]} owners
 * @returns {Write}
 */
function insertInto(table, clients, owners) {
  const text = `
    INSERT INTO ${table} (owner_id, key, value, version)
    SELECT $1, n.key, n.value, n.version FROM unnest($2::text[], $3::text[], $4::bigint[]) AS n (key, value, version)`;
  return async (connection, batch) => {
    const rows = [numbers.map((i) => `n${batch}-${i}`), numbers.map(() => VALUE), numbers];
    await clients[connection]?.query({ name: table, text, values: [owners[batch % OWNERS], ...rows] });
  };
}

/**
 * @param {string} url
 * @param {string[]} tokens
 * @returns {Write}
 */
function writeTo(url, tokens) {
  const agent = new Agent({ keepAlive: true });
  return (_connection, batch) => {
    const entries = numbers.map((i) => `{"key":"n${batch}-${i}","value":${VALUE}}`);
    const headers = { authorization: `Bearer ${tokens[batch % OWNERS]}`, 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const sent = request(`${url}/v1/store/write`, { method: 'POST', agent, headers }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (part) => (body += part));
        response.on('end', () => {
          if (body.startsWith(`{"written":${BATCH},`)) resolve(undefined);
          else reject(new Error(`${response.statusCode} ${body}`));
        });
      });
      sent.on('error', reject).end(`{"entries":[${entries.join(',')}]}`);
    });
  };
}

/**
 * Runs the subjects in turn and prints medians. A ratio is taken within a round.
 * @param {[name: string, write: Write][]} subjects
 */
async function compare(subjects) {
  let batch = 0;
  /** @param {Write} write */
  const rateOf = async (write, /** @type {number} */ connections) => {
    const begun = performance.now();
    const first = batch;
    const lanes = Array.from({ length: connections }, async (_each, lane) => {
      while (performance.now() - begun < Number(values.seconds) * 1_000) await write(lane, batch++);
    });
    await Promise.all(lanes);
    return ((batch - first) * BATCH) / ((performance.now() - begun) / 1_000);
  };
  for (const [, write] of subjects) await rateOf(write, most);
  console.log('| connections | | rows/s | × with the foreign key | × without |\n| --: | --- | --: | --: | --: |');
  for (const connections of numbersOfConnections) {
    /** @type {number[][]} */
    const rounds = [];
    while (rounds.length < Number(values.rounds)) {
      /** @type {number[]} */
      const rates = [];
      for (const [, write] of subjects) rates.push(await rateOf(write, connections));
      rounds.push(rates);
    }
    subjects.forEach(([name], i) => {
      const ratio = (/** @type {number} */ to) => median(rounds.map((rates) => (rates[i] ?? NaN) / (rates[to] ?? NaN)));
      const rate = median(rounds.map((rates) => rates[i] ?? NaN)).toFixed(0);
      console.log(`| ${connections} | ${name} | ${rate} | ${ratio(0).toFixed(2)} | ${ratio(1).toFixed(2)} |`);
    });
  }
}
