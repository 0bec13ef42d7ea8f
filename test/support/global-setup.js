import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
// The built code: what the tests start is what users start.
import { EmbeddedPostgres } from '../../dist/src/database/embedded-postgres.js';
import { TestServer, createDatabase } from './server.js';

/**
 * One PostgreSQL for the run (the one of TEST_DATABASE_URL, else an embedded one in a temporary folder), and one server
 * that most tests share.
 */
export default async function setup() {
  const folder = await mkdtemp(join(tmpdir(), 'quartermaster-test-'));
  // Started by root, PostgreSQL runs as another user, who must get through here.
  await chmod(folder, 0o755);
  const given = process.env.TEST_DATABASE_URL;
  const postgres =
    given === undefined
      ? await EmbeddedPostgres.start({ dataDir: join(folder, 'data'), maxConnections: 300 })
      : undefined;
  process.env.TEST_POSTGRES_URL = given ?? postgres?.url ?? '';
  const database = await createDatabase();
  const server = await TestServer.start({ DATABASE_URL: database.url });
  process.env.TEST_SERVER_URL = server.url;
  process.env.TEST_SERVER_DATABASE = database.url;
  globalThis.stopShared = async () => {
    await server.stop();
    await database.drop();
    await postgres?.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
