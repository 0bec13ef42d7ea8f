// `npm run bench`: see README.md.
//   --quick        a smoke run within a minute: fewer users, one round, short
//   --only=A,B     only the cases whose name contains one of these (and those that all are compared with)
//   --rounds=N --seconds=N --connections=1,32,256
//   --profile=DIR  writes a CPU profile of Quartermaster there (.cpuprofile; slows it down a little)
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { verificationsPerSecond } from './argon2.js';
import {
  ADMIN_PASSWORD,
  BASELINE,
  HELLO,
  allCases,
  betterAuthCases,
  callCases,
  limitedKeys,
  parseServerCases,
  seedBare,
  seedKeys,
  seedStore,
  storeCases,
  seedParseServer,
  seedQuartermaster,
} from './cases.js';
import { admitted, startBetterAuth, startParseServer } from './peers/peer.js';
import { Load, Server, cpuSeconds, flagsOfStart } from './processes.js';
import { count, table } from './report.js';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    connections: { type: 'string' },
    profile: { type: 'string' },
  },
});
const { quick } = options;
const wanted = (options.only ?? '').split(',');
const rounds = Number(options.rounds ?? (quick ? 1 : 3));
const seconds = Number(options.seconds ?? (quick ? 1 : 5));
const warmUp = quick ? 0.5 : 2;
const usual = (options.connections ?? (quick ? '32' : '1,32,256')).split(',').map(Number);
const size = quick
  ? { owners: 16, items: 64, users: 16, keysEach: 2 }
  : { owners: 256, items: 1_000, users: 1_000, keysEach: 10 };
/** What a key is good for, and how it is tried: how many are admitted? */
const GRANTED = 100;
const DAY_MS = 86_400_000;
const RUSH = { connections: 32, requests: 3_000 };

/** Cores that other processes may take of the machine; beyond it a measurement is repeated, so often in all. */
const DISTURBED = 0.15;
const ATTEMPTS = 3;

/** What is to be ended, last first. @type {(() => Promise<unknown>)[]} */
const cleanUp = [];
let stopped = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stopped = true;
  });
}

try {
  await main();
} finally {
  for (const step of cleanUp.reverse()) await step();
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), 'quartermaster-bench-'));
  cleanUp.push(() => rm(folder, { recursive: true, force: true }));
  const postgres = await EmbeddedPostgres.start({ dataDir: join(folder, 'data') });
  cleanUp.push(() => postgres.stop());
  const database = new pg.Client({ connectionString: postgres.url });
  await database.connect();
  cleanUp.push(() => database.end());
  const makeDatabase = async (/** @type {string} */ name) => {
    await database.query(`CREATE DATABASE ${name}`);
    const url = new URL(postgres.url);
    url.pathname = `/${name}`;
    return url.href;
  };
  const [state] = (
    await database.query(`
      SELECT version() AS version, current_setting('fsync') AS fsync,
        current_setting('synchronous_commit') AS "synchronousCommit",
        split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int AS postmaster`)
  ).rows;
  console.log(
    `Node ${process.version}; ${/^\S+ \S+/.exec(state.version)?.[0]}, fsync ${state.fsync}, synchronous_commit ` +
      `${state.synchronousCommit}; ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
  );
  if (state.fsync !== 'on' || state.synchronousCommit !== 'on') throw new Error('Commits are not durable');

  const bareUrl = await makeDatabase('bare');
  const bareItems = await seedBare(bareUrl, size);
  const bare = fileURLToPath(new URL('bare.js', import.meta.url));
  const main = fileURLToPath(new URL('../dist/src/main.js', import.meta.url));
  const flags = flagsOfStart();
  const profile = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${resolve(options.profile)}`];
  // Everything else is as it is out of the box.
  const env = {
    ...{ DATABASE_URL: postgres.url, PORT: '0', ADMIN_PASSWORD },
    SECRET_KEY: randomBytes(32).toString('hex'),
  };
  const servers = {
    hello: await started({ name: 'hello', args: [bare, 'hello'], folder }),
    database: await started({ name: 'bare', args: [bare, 'database'], env: { DATABASE_URL: bareUrl }, folder }),
    quartermaster: await started({ name: 'quartermaster', args: [...flags, ...profile, main], env, folder }),
    // The same platform, served by a process that counts no requests.
    uncounted: await started({
      ...{ name: 'uncounted', args: [...flags, main], folder },
      env: { ...env, REQUEST_STATISTICS: 'off' },
    }),
    'better-auth': kept(await startBetterAuth({ databaseUrl: await makeDatabase('better_auth'), folder })),
    'parse-server': kept(await startParseServer({ databaseUrl: await makeDatabase('parse'), folder })),
  };
  const { 'better-auth': betterAuth, 'parse-server': parseServer } = servers;
  await sleep(quick ? 1_000 : 10_000);
  console.log(`Memory of Quartermaster, idle: ${servers.quartermaster.memory()} MB`);
  const seeded = await seedQuartermaster(servers.quartermaster.url, size);
  await seedStore(servers.quartermaster.url, seeded.tokens);
  const peerKeys = await betterAuth?.makeKeys({ remaining: 1_000_000_000, count: quick ? 16 : 1_000 });
  const cases = [
    ...allCases(bareItems, seeded),
    ...callCases(await seedKeys(servers.quartermaster.url, size)),
    ...storeCases(bareItems, seeded.tokens),
    ...(peerKeys ? betterAuthCases(peerKeys) : []),
    ...(parseServer ? parseServerCases(parseServer, await seedParseServer(parseServer, size.items)) : []),
  ].filter(({ name }) => name === HELLO || name === BASELINE || wanted.some((text) => name.includes(text)));
  const ours = await limitedKeys(servers.quartermaster.url, GRANTED, rounds);
  // Refilled daily, which is what a limit is here; one that is good for 100 in all better-auth deletes while others still
  // use it, and then admits fewer.
  const theirs = await betterAuth?.makeKeys({ remaining: GRANTED, refillInterval: DAY_MS, count: rounds });
  const rush = async (/** @type {string} */ url, /** @type {string[]} */ keys) => {
    const counts = [];
    for (const key of keys) counts.push((await admitted(url, key, RUSH)).admitted);
    return counts.join(', ');
  };
  console.log(
    `Admitted of ${GRANTED} allowed, ${RUSH.connections} connections: Quartermaster ` +
      (await rush(`${servers.quartermaster.url}/call/api1`, ours)) +
      (betterAuth && theirs ? `; better-auth ${await rush(`${betterAuth.url}/verify`, theirs)}` : ''),
  );
  if (cases.some(({ name }) => name.includes('login'))) {
    const alone = await verificationsPerSecond(quick ? 1 : 3);
    console.log(`argon2id alone, two at once: ${count(alone)} verifications a second, which bounds sign-in`);
  }

  const load = new Load();
  cleanUp.push(() => load.stop());
  /** @type {import('./report.js').Sample[]} */
  const samples = [];
  // All cases in turn, again and again: what drifts hits them all alike.
  const steps = usual.flatMap((_connections, step) =>
    Array.from({ length: rounds + 1 }, (_each, round) => cases.map((each) => ({ each, step, round }))).flat(),
  );
  for (const { each, step, round } of steps) {
    if (stopped) break;
    const connections = (each.connections ?? usual)[step];
    if (connections === undefined) continue;
    const server = servers[each.server];
    if (!server) continue;
    const pids = { server: server.pid, load: load.pid, postmaster: state.postmaster };
    const job = { url: server.url, connections, requests: each.requests };
    // Pools close what was idle for ten seconds: connections and prepared statements are made anew, unmeasured.
    await load.run({ ...job, seconds: round === 0 ? warmUp : warmUp / 4 });
    if (round > 0) {
      const measured = await leastDisturbed(() => measure(load, { ...job, seconds }, pids));
      samples.push(sampleOf(each, connections, round, measured));
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${samples.length} measured `);
    // What a case has written is not flushed at the cost of the next.
    if (each.writes) await database.query('CHECKPOINT');
  }
  console.log(`Memory of Quartermaster, after the load: ${servers.quartermaster.memory()} MB\n`);
  console.log(table(samples, [HELLO, BASELINE]));
  if (samples.some(({ unexpected }) => unexpected > 0)) process.exitCode = 1;
}

/**
 * What the load generator saw, and the cores that were busy meanwhile.
 * @param {Load} load
 * @param {import('./load.js').Job} job
 * @param {Parameters<typeof cpuSeconds>[0]} pids
 */
async function measure(load, job, pids) {
  const [before, start] = [cpuSeconds(pids), performance.now()];
  const outcome = await load.run(job);
  const [after, elapsed] = [cpuSeconds(pids), (performance.now() - start) / 1_000];
  const busy = (/** @type {keyof typeof after} */ who) => (after[who] - before[who]) / elapsed;
  const cores = { server: busy('server'), postgres: busy('postgres'), load: busy('load') };
  const others = Math.max(0, busy('machine') - cores.server - cores.postgres - cores.load);
  return { outcome, cores: { ...cores, others } };
}

/**
 * Measures again, twice at most, where other processes took more of the machine than they do at rest.
 * @template {{ cores: { others: number } }} T
 * @param {() => Promise<T>} attempt
 */
async function leastDisturbed(attempt) {
  let best = await attempt();
  for (let tries = 1; tries < ATTEMPTS && best.cores.others > DISTURBED && !quick && !stopped; tries++) {
    const next = await attempt();
    if (next.cores.others < best.cores.others) best = next;
  }
  return best;
}

/**
 * @param {import('./cases.js').Case} each
 * @param {number} connections
 * @param {number} round
 * @param {Awaited<ReturnType<typeof measure>>} measured
 * @returns {import('./report.js').Sample}
 */
function sampleOf({ name, expect }, connections, round, { outcome, cores }) {
  const { rate, p50, p99, statuses, errors } = outcome;
  const wrong = Object.entries(statuses).filter(([status]) => Number(status) !== expect);
  const unexpected = errors + wrong.reduce((sum, [, times]) => sum + times, 0);
  if (unexpected > 0) console.error(`${name}: unexpected answers`, statuses, { errors });
  return { name, connections, round, rate, p50, p99, unexpected, cores };
}

/** @param {Parameters<typeof Server.start>[0]} options */
async function started(options) {
  return kept(await Server.start(options));
}

/**
 * @template {{ stop: () => Promise<void> } | undefined} T
 * @param {T} server to be ended with the run, if there is one
 */
function kept(server) {
  if (server) cleanUp.push(() => server.stop());
  return server;
}
