import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
// Uses the built code, which is what users run.
import { Env } from '../../dist/src/config/env.js';
import { EmbeddedPostgres } from '../../dist/src/embedded-postgres/embedded-postgres.js';
import { distribute } from '../../dist/src/database/distribute.js';
import { migrate } from '../../dist/src/database/migrate.js';
import { nodesOf } from './citus.js';
import { TestServer, createDatabase, inherited } from './server.js';

/** Host processes: as many as the largest fleet, so that its servers run in different processes. */
const HOSTS = 3;

/**
 * Prepares a run: PostgreSQL (TEST_DATABASE_URL, or an embedded one in the run folder), a template database, host
 * processes for servers, and the server that most tests share. On a coordinator of Citus, databases are distributed.
 */
export default async function setup() {
  const folder = process.env.TEST_RUN_FOLDER;
  if (folder === undefined) throw new Error('Run the tests by `npm test`.');
  /** Cleanup steps, run in reverse order, also when the setup fails. */
  const undo = /** @type {(() => Promise<unknown>)[]} */ ([]);
  globalThis.stopShared = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const hosts = Array.from({ length: HOSTS }, (_, place) =>
      startHost(join(folder, 'logs', `host-${place}.log`), undo),
    );
    process.env.TEST_POSTGRES_URL = process.env.TEST_DATABASE_URL ?? (await startPostgres(join(folder, 'data'), undo));
    const nodes = await nodesOf(process.env.TEST_POSTGRES_URL);
    process.env.TEST_POSTGRES_NODES = nodes.join(' ');
    const template = await createDatabase({ isEmpty: true });
    undo.push(template.drop);
    const env = new Env({ DATABASE_URL: template.url });
    await migrate(env, template.url);
    if (nodes.length > 1) await distribute(env, template.url, { isDryRun: false });
    process.env.TEST_POSTGRES_TEMPLATE = template.name;
    const database = await createDatabase();
    undo.push(database.drop);
    process.env.TEST_HOSTS = (await Promise.all(hosts)).join(' ');
    const server = await TestServer.start({ DATABASE_URL: database.url, TRUST_PROXY: '127.0.0.1' });
    undo.push(() => server.stop());
    process.env.TEST_SERVER_URL = server.url;
    process.env.TEST_SERVER_LOG = server.log;
    process.env.TEST_SERVER_DATABASE = database.url;
  } catch (error) {
    await globalThis.stopShared();
    throw error;
  }
}

/**
 * @param {string} dataDir
 * @param {(() => Promise<unknown>)[]} undo
 */
async function startPostgres(dataDir, undo) {
  const postgres = await EmbeddedPostgres.start({ dataDir, maxConnections: 300 });
  undo.push(() => postgres.stop());
  return postgres.url;
}

/**
 * @param {string} log
 * @param {(() => Promise<unknown>)[]} undo
 * @returns {Promise<string>} its address
 */
async function startHost(log, undo) {
  const file = openSync(log, 'a');
  const host = fork(fileURLToPath(new URL('./host.js', import.meta.url)), {
    env: inherited(),
    execArgv: ['--max-semi-space-size=32', '--no-allocation-site-pretenuring'],
    stdio: ['ignore', file, file, 'ipc'],
  });
  closeSync(file);
  const exited = once(host, 'exit');
  undo.push(async () => {
    host.disconnect();
    await exited;
  });
  const [port] = await Promise.race([
    once(host, 'message'),
    exited.then(() => {
      throw new Error(`A host of servers did not start: see ${log}`);
    }),
  ]);
  return `http://127.0.0.1:${String(port)}`;
}
