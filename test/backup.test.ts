import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { Api } from './support/api.js';
import { contentsOf } from './support/contents.js';
import { load, write } from './support/load.js';
import { faultsIn } from './support/platform.js';
import { ADMIN_PASSWORD, SECRET_KEY, TestServer, command, createDatabase, query } from './support/server.js';
import { enableTotp } from './support/totp.js';
import { until } from './support/until.js';

type Database = Awaited<ReturnType<typeof createDatabase>>;

let folder: string;
let source: Database;
let target: Database;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-backup-'));
  // When root starts PostgreSQL, it runs as another user, who needs access to this folder.
  await chmod(folder, 0o755);
  source = await createDatabase();
  target = await createDatabase({ isEmpty: true });
});

afterEach(async () => {
  await source.drop();
  await target.drop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function json(env: Record<string, string>, args: string[]): Promise<any> {
  const { code, stdout, stderr } = await command(env, [...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

async function contents(url: string): Promise<Record<string, string>> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const found = await contentsOf(client);
  await client.end();
  return { ...found, migrations: '' };
}

test('backup under write load, and restore elsewhere: used equals rows, and tokens and keys work', async () => {
  const server = await TestServer.start({ DATABASE_URL: source.url });
  const api = new Api(server.url);
  const admin = await api.admin();
  await admin.patch('/v1/platform', { totalObjects: 100_000 });
  const users = await Promise.all(Array.from({ length: 6 }, () => api.createUser({ credits: 1_000 })));
  const keys = await Promise.all(
    users.map(async (user) => (await api.as(user).post('/v1/keys', { name: 'k', scopes: ['*'] })).body.key as string),
  );
  let [sent, isBackedUp] = [0, false];
  const loading = load([server], 8, () => {
    if (isBackedUp) return undefined;
    const i = sent++;
    const user = users[i % users.length]!;
    const headers = { authorization: `Bearer ${user.accessToken}` };
    const text = [
      write('POST', '/v1/resources', headers, { value: `tab\t, line\n, backslash \\. and ü ${i}` }),
      write('POST', '/v1/tasks', headers, { title: '\\N' }),
      write('PUT', `/v1/store/k${i % 50}`, headers, { text: `\\.${i}`, more: [i] }),
      write('GET', '/call/api1', { 'x-api-key': keys[i % keys.length]! }),
    ][i % 4]!;
    return { text, heard: ({ status }) => expect(status).toBeLessThan(300) };
  });
  await until(() => sent > 200);
  const file = join(folder, 'all.backup');
  const saved = await json({ DATABASE_URL: source.url }, ['backup', file]);
  const before = sent;
  await until(() => sent > before + 50);
  isBackedUp = true;
  await loading;
  await server.stop();

  const restored = await json({ DATABASE_URL: target.url }, ['restore', file]);
  expect(restored).toMatchObject({ tables: saved.tables, rows: saved.rows, counts: saved.counts });
  expect(saved.counts).toMatchObject({ users: 7, api_keys: 6 });
  expect(saved.counts.resources).toBeGreaterThan(10);
  expect(await faultsIn({ query: (sql) => query(target.url, sql) })).toEqual([]);

  const elsewhere = await TestServer.start({ DATABASE_URL: target.url });
  const there = new Api(elsewhere.url);
  for (const [i, user] of users.entries()) {
    expect((await there.as(user).get('/v1/users/me')).status).toBe(200);
    expect((await there.get('/call/api1', { headers: { 'x-api-key': keys[i]! } })).status).toBe(200);
    expect((await there.as(user).post('/v1/resources', { value: 'one more' })).status).toBe(201);
  }
  await there.signIn(users[0]!.username, users[0]!.password);
  expect((await (await there.admin()).get('/v1/audit/verify')).body.ok).toBe(true);
  expect(await faultsIn({ query: (sql) => query(target.url, sql) })).toEqual([]);
  await elsewhere.stop();
});

test('a database at rest: every row is the same, and what SECRET_KEY encrypts can be read', async () => {
  const server = await TestServer.start({ DATABASE_URL: source.url });
  const api = new Api(server.url);
  const session = await api.signIn('admin', ADMIN_PASSWORD);
  await enableTotp(api, { ...session, id: session.user.id, username: 'admin', password: ADMIN_PASSWORD });
  await server.stop();
  const [first, second] = [join(folder, 'first'), join(folder, 'second')];
  await json({ DATABASE_URL: source.url }, ['backup', first]);
  await json({ DATABASE_URL: target.url }, ['restore', first]);
  expect(await contents(target.url)).toEqual(await contents(source.url));
  await json({ DATABASE_URL: target.url }, ['backup', second]);
  const rowsIn = async (path: string): Promise<string[]> =>
    gunzipSync(await readFile(path)).toString().split('\n').slice(1).sort(); // prettier-ignore
  expect(await rowsIn(second)).toEqual(await rowsIn(first));
  expect(await readdir(folder)).toEqual(['first', 'second']);

  const elsewhere = await TestServer.start({ DATABASE_URL: target.url });
  const login = { login: 'admin', password: ADMIN_PASSWORD };
  expect((await new Api(elsewhere.url).post('/v1/auth/login', login)).body.code).toBe('totp_required');
  await elsewhere.stop();
});

test('embedded database, backed up while its server runs, restored into a new DATA_DIR', async () => {
  const [old, fresh] = [join(folder, 'old'), join(folder, 'fresh')];
  const file = join(folder, 'embedded.backup');
  const noKey = { SECRET_KEY: '' };
  const server = await TestServer.start({ ...noKey, DATA_DIR: old });
  const user = await new Api(server.url).createUser();
  await json({ ...noKey, DATA_DIR: old }, ['backup', file]);
  await server.stop();

  expect(await command({ ...noKey, DATA_DIR: fresh }, ['restore', file])).toMatchObject({
    ...{ code: 1, stderr: expect.stringContaining('there is no secret key in') },
  });
  await mkdir(fresh);
  await writeFile(join(fresh, 'secret-key'), await readFile(join(old, 'secret-key')), { mode: 0o600 });
  await json({ ...noKey, DATA_DIR: fresh }, ['restore', file]);
  const restored = await TestServer.start({ ...noKey, DATA_DIR: fresh });
  expect((await new Api(restored.url).as(user).get('/v1/users/me')).body.id).toBe(user.id);
  await restored.stop();
  const postgres = await EmbeddedPostgres.attachOrStart({ dataDir: fresh });
  expect(await query(postgres.url, 'SELECT count(*)::int AS count FROM users')).toEqual([{ count: 2 }]);
  await postgres.stop();
});

test('restore refuses other keys, used databases and damaged files, and changes nothing', async () => {
  const server = await TestServer.start({ DATABASE_URL: source.url });
  await new Api(server.url).createUser();
  await server.stop();
  const file = join(folder, 'good.backup');
  await json({ DATABASE_URL: source.url }, ['backup', file]);
  const packed = await readFile(file);
  const text = gunzipSync(packed).toString();
  const damage = async (name: string, bytes: Buffer): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  };
  const refused = async (env: Record<string, string>, path: string): Promise<string> => {
    const { code, stdout, stderr } = await command({ DATABASE_URL: target.url, ...env }, ['restore', path]);
    expect({ code, stdout, lines: stderr.split('\n').length }).toEqual({ code: 1, stdout: '', lines: 2 });
    return stderr;
  };
  expect([
    await refused({ SECRET_KEY: SECRET_KEY.toUpperCase() }, file),
    await refused({ DATABASE_URL: source.url }, file),
    await refused({}, await damage('other', gzipSync('{}\n'))),
    await refused({}, await damage('not packed', Buffer.from(text))),
    await refused({}, await damage('cut', packed.subarray(0, packed.length - 20))),
    await refused({}, await damage('half', gzipSync(text.slice(0, text.length / 2)))),
    await refused({}, await damage('end', gzipSync(text.slice(0, text.lastIndexOf('{'))))),
    await refused({}, await damage('changed', gzipSync(text.replace('\tadmin\t', '\tAdmin\t')))),
    await refused(
      {},
      await damage('newer', gzipSync(text.replace(/("migrations":\[.*?)\]/, '$1,"Later1999999999999"]'))),
    ),
  ]).toEqual([
    'The backup was made with another secret key. Set SECRET_KEY to that one.\n',
    'The database has tables already. Restore into an empty database, or an empty DATA_DIR.\n',
    'The file is not a backup of Quartermaster.\n',
    'The file is not a backup of Quartermaster.\n',
    expect.stringMatching(/^The backup is damaged: /),
    expect.stringMatching(/^The backup is damaged: /),
    'The backup is damaged: its end is missing.\n',
    'The backup is damaged: the rows of table users in the file are not those that were backed up.\n',
    expect.stringMatching(
      /^The backup was made by version .+, which has the migration Later1999999999999: use that version\.\n$/,
    ),
  ]);
  expect(await query(target.url, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`)).toEqual(
    [],
  );
  await json({ DATABASE_URL: target.url }, ['restore', file]);
  expect(await command({ DATABASE_URL: source.url }, ['backup', file])).toMatchObject({ code: 2 });
});
