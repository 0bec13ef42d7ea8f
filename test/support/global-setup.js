import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
// The built code: what the tests start is what users start.
import { Env } from '../../dist/src/config/env.js';
import { EmbeddedPostgres } from '../../dist/src/database/embedded-postgres.js';
import { migrate } from '../../dist/src/database/migrate.js';
import { TestServer, createDatabase } from './server.js';

/**
 * One PostgreSQL for the run (the one of TEST_DATABASE_URL, else an embedded one in a temporary folder), and one server
 * that most tests share.
 */
export default async function setup() {
  /** What is to be undone, the last first; also when the setup itself fails half-way. */
  const undo = /** @type {(() => Promise<unknown>)[]} */ ([]);
  globalThis.stopShared = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    const folder = await mkdtemp(join(tmpdir(), 'quartermaster-test-'));
    undo.push(() => rm(folder, { recursive: true, force: true }));
    // Started by root, PostgreSQL runs as another user, who must get through here.
    await chmod(folder, 0o755);
    process.env.TEST_POSTGRES_URL = process.env.TEST_DATABASE_URL ?? (await startPostgres(join(folder, 'data'), undo));
    const template = await createDatabase({ isEmpty: true });
    undo.push(template.drop);
    await migrate(new Env({ DATABASE_URL: template.url }), template.url);
    process.env.TEST_POSTGRES_TEMPLATE = template.name;
    const database = await createDatabase();
    undo.push(database.drop);
    const server = await TestServer.start({ DATABASE_URL: database.url, TRUST_PROXY: '127.0.0.1' });
    undo.push(() => server.stop());
    process.env.TEST_SERVER_URL = server.url;
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
