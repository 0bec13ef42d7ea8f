import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { migrations } from '../dist/src/database/migrations/index.js';
import { type Api, sharedApi } from './support/api.js';
import { ADMIN_PASSWORD, SECRET_KEY, command, createDatabase, inherited, query } from './support/server.js';
import { until } from './support/until.js';

const BIN = fileURLToPath(new URL('../bin/quartermaster.js', import.meta.url));

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-cli-'));
  // When root starts PostgreSQL, it runs as another user, who needs access to this folder.
  await chmod(folder, 0o755);
});

afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

/** The database of the shared server. */
const env = (): Record<string, string> => ({ DATABASE_URL: process.env.TEST_SERVER_DATABASE! });

const api = (): Api => sharedApi();

/** The variables for `--url`. Includes no database, which the command must not use. */
async function asAdmin(): Promise<Record<string, string>> {
  return { DATABASE_URL: 'unusable', QUARTERMASTER_TOKEN: (await api().signIn('admin', ADMIN_PASSWORD)).accessToken };
}

/** Runs a command with --json that must succeed. */
async function json(args: string[], variables = env(), piped?: string): Promise<any> {
  const { code, stdout, stderr } = await command(variables, [...args, '--json'], piped);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

/** Runs `bin/quartermaster.js` in its own process, in an empty folder. */
async function bin(
  args: string[],
  variables: Record<string, string> = {},
): Promise<{ stdout: string; stderr: string }> {
  return promisify(execFile)(process.execPath, [BIN, ...args], {
    cwd: folder,
    env: { ...inherited(), SECRET_KEY, ...variables },
  });
}

/** Waits for the end of a command. */
async function ended(child: ChildProcess): Promise<{ code: number; stderr: string }> {
  const [stderr, [code]] = await Promise.all([text(child.stderr!), once(child, 'close')]);
  return { code, stderr };
}

describe('the command line', () => {
  test('--help of every command: a description, an example and exit code 0', async () => {
    /** Returns the help texts of all commands below a command that have no commands themselves. */
    const helpBelow = async (path: string[]): Promise<string[]> => {
      const { stdout } = await command({}, [...path, '--help']);
      const list = /\nCommands:\n([^]*?)\n\n/.exec(`${stdout}\n`)?.[1] ?? '';
      const names = [...list.matchAll(/^ {2}(?!help)([a-z-]+)/gm)].map(([, name]) => name!);
      return names.length === 0
        ? [stdout]
        : (await Promise.all(names.map((name) => helpBelow([...path, name])))).flat();
    };
    const texts = await helpBelow([]);
    expect(texts.length).toBeGreaterThan(12);
    for (const text of texts)
      expect(text).toMatch(/^Usage: quartermaster [^]+\n\n[A-Z].+[^]+\nExample:\n {2}.*quartermaster /);
  });

  test('wrong command lines: exit code 2 with one line, as JSON with --json', async () => {
    expect(await command(env(), ['key', 'create'])).toEqual({
      code: 2,
      stdout: '',
      stderr: "Unknown command 'key' (Did you mean keys?) See quartermaster --help.\n",
    });
    expect(await command(env(), ['usage', 'export', '--format', 'xml', '--json'])).toEqual({
      code: 2,
      stdout: '',
      stderr: `{"error":"Option '--format <format>' argument 'xml' is invalid. Allowed choices are ndjson, csv. See quartermaster --help.","exitCode":2}\n`,
    });
    expect(await command({ QUARTERMASTER_TOKEN: 'x' }, ['audit', 'verify', '--url', 'example.com'])).toMatchObject({
      code: 2,
    });
    expect(await command({}, ['audit', 'verify', '--url', api().url])).toEqual({
      code: 2,
      stdout: '',
      stderr:
        '--url requires a credential of an administrator: set QUARTERMASTER_TOKEN, or QUARTERMASTER_SIGNING_KEY_ID and QUARTERMASTER_PRIVATE_KEY.\n',
    });
  });

  test('completion: bash completes commands and options', async () => {
    const { stdout } = await command({}, ['completion', 'bash']);
    const script = `${stdout}
      complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _quartermaster; echo "\${COMPREPLY[*]}"; }
      complete_words quartermaster ke; complete_words quartermaster keys ''; complete_words quartermaster keys create ada --na`;
    const completed = await promisify(execFile)('bash', ['-c', script]);
    expect(completed.stdout.split('\n').slice(0, 3)).toEqual(['keys', 'create revoke find --json --help', '--name']);
    expect((await command({}, ['completion', 'zsh'])).stdout).toContain('bashcompinit');
  });

  test('bin/quartermaster.js: reads .env in the current folder, and the environment overrides it', async () => {
    await writeFile(join(folder, '.env'), `DATABASE_URL=${env().DATABASE_URL}\nLOG_LEVEL=nonsense\n`);
    const { stdout } = await bin(['migrate', 'status', '--json'], { LOG_LEVEL: 'info' });
    expect(JSON.parse(stdout)).toMatchObject({ isCurrent: true });
    await expect(bin(['migrate', 'status'])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^LOG_LEVEL is "nonsense"; allowed: .+\n$/),
    });
    await rm(join(folder, '.env'));
  });
});

describe('files of a command', () => {
  test('a file that cannot be written or read: exit code 2 and nothing is left', async () => {
    const file = join(folder, 'taken');
    await writeFile(file, '');
    await writeFile(join(folder, 'cut.partial'), '');
    const results = [
      await command(env(), ['backup', file]),
      await command(env(), ['backup', join(folder, 'cut')]),
      await command(env(), ['users', 'export', join(folder, 'missing', 'users')]),
      await command(env(), ['store', 'export', 'admin', join(file, 'store')]),
      await command(env(), ['users', 'import', join(file, 'users.csv')]),
      await command(env(), ['restore', folder]),
    ];
    expect(results.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
    expect(results.map(({ stderr }) => stderr.replaceAll(folder, ''))).toEqual([
      '/taken exists already.\n',
      '/cut.partial exists: another command is writing it, or was killed. In that case delete it.\n',
      'There is no folder /missing.\n',
      '/taken/store cannot be used: not a directory (ENOTDIR).\n',
      '/taken/users.csv cannot be used: not a directory (ENOTDIR).\n',
      ' is not a file.\n',
    ]);
    await rm(join(folder, 'cut.partial'));
    expect(await readdir(folder)).toEqual(['taken']);
  });

  test('a full disk: exit code 1, one line, and no file', async () => {
    // 1 block is 512 or 1,024 bytes. A backup has more.
    const limited = spawn(
      'sh',
      ['-c', 'ulimit -f 1; exec "$@"', 'sh', process.execPath, BIN, 'backup', 'full.backup'],
      {
        cwd: folder,
        env: { ...inherited(), SECRET_KEY, ...env() },
      },
    );
    expect(await ended(limited)).toEqual({
      code: 1,
      stderr: 'full.backup cannot be written: file too large (EFBIG).\n',
    });
    expect(await readdir(folder)).not.toContain('full.backup.partial');

    const full = openSync('/dev/full', 'w');
    const printing = spawn(process.execPath, [BIN, 'migrate', 'status'], {
      env: { ...inherited(), SECRET_KEY, ...env() },
      stdio: ['ignore', full, 'pipe'],
    });
    expect(await ended(printing)).toEqual({
      code: 1,
      stderr: 'Standard output cannot be written: no space left on device (ENOSPC).\n',
    });
    closeSync(full);
  });

  test('a reader that ends first, such as head: exit code 0', async () => {
    const { stdout } = await promisify(execFile)(
      'bash',
      ['-c', `set -o pipefail; "$@" | head -c 1`, 'bash', process.execPath, BIN, 'users', 'export'],
      { env: { ...inherited(), SECRET_KEY, ...env() } },
    );
    expect(stdout).toBe('{');
  });

  test('a signal during a backup: exit code 128 and its number, and no file', async () => {
    const database = await createDatabase();
    const blocker = new pg.Client({ connectionString: database.url });
    await blocker.connect();
    await blocker.query('BEGIN');
    // The backup waits for this table.
    await blocker.query('LOCK TABLE users');
    const backup = spawn(process.execPath, [BIN, 'backup', 'stopped.backup', '--json'], {
      cwd: folder,
      env: { ...inherited(), SECRET_KEY, DATABASE_URL: database.url },
    });
    await until(async () => (await readdir(folder)).includes('stopped.backup.partial'));
    backup.kill('SIGINT');
    expect(await ended(backup)).toEqual({ code: 130, stderr: '{"error":"Interrupted.","exitCode":130}\n' });
    expect((await readdir(folder)).filter((name) => name.startsWith('stopped'))).toEqual([]);
    await blocker.end();
    await database.drop();
  });
});

describe('quartermaster admin create', () => {
  test('creates an administrator with a random or a piped password, and an audit entry', async () => {
    const made = await json(['admin', 'create', `op${Date.now()}`]);
    const admin = api().as(await api().signIn(made.username, made.password));
    const { body } = await admin.get(`/v1/audit?target=${made.id}&action=user.create`);
    expect(body.data).toMatchObject([
      { actor: null, requestId: 'command-line', changes: { role: { to: 'admin' }, username: { to: made.username } } },
    ]);
    const name = `oq${Date.now()}`;
    await json(['admin', 'create', name, '--email', `${name}@example.com`], env(), 'Piped-In-1843');
    expect((await api().signIn(`${name}@example.com`, 'Piped-In-1843')).user).toMatchObject({ role: 'admin' });
  });

  test('a name that is taken, a bad name, a weak password: exit code 1 with the reason', async () => {
    const results = [
      await command(env(), ['admin', 'create', 'admin']),
      await command(env(), ['admin', 'create', 'a b']),
      await command(env(), ['admin', 'create', 'weakling'], 'weak'),
    ];
    expect(results.map(({ code }) => code)).toEqual([1, 1, 1]);
    expect(results.map(({ stderr }) => stderr)).toEqual([
      'The username is taken.\n',
      expect.stringMatching(/^username must .+\.\n$/),
      expect.stringMatching(/^password must have .+\.\n$/),
    ]);
  });
});

describe('quartermaster keys', () => {
  test.each(['on the database', 'over the API'])('create and revoke %s, and find', async (how) => {
    const user = await api().createUser();
    const isRemote = how === 'over the API';
    const [target, variables] = isRemote ? [['--url', `${api().url}/`], await asAdmin()] : [[], env()];
    const options = ['--name', 'my server', '--scope', 'api1', 'api2', '--expires', '2099-01-01T00:00:00Z'];
    const { id, key } = await json(['keys', 'create', user.username, ...options, ...target], variables);
    expect((await api().get('/call/api1', { headers: { 'x-api-key': key } })).status).toBe(200);

    const found = await json(['keys', 'find', ...target], variables, `${key}\n`);
    expect(found).toMatchObject({
      key: { id, name: 'my server', scopes: ['api1', 'api2'], state: 'valid', expiresAt: '2099-01-01T00:00:00.000Z' },
      owner: { id: user.id, username: user.username },
    });
    expect(await command(variables, ['keys', 'find', key, ...target])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`run the command: keys revoke ${id}`),
    });

    expect(await json(['keys', 'revoke', id, ...target], variables)).toEqual({ id });
    expect((await api().get('/call/api1', { headers: { 'x-api-key': key } })).status).toBe(401);
    expect(await command(variables, ['keys', 'find', key, '--json', ...target])).toEqual({
      ...{ code: 3, stderr: '' },
      stdout: '{"key":null}\n',
    });
    expect(await command(variables, ['keys', 'revoke', id, ...target])).toMatchObject({ code: 1, stdout: '' });
  });

  test('find: tells disabled, rotated and expired keys', async () => {
    const user = await api().createUser();
    const { id, key } = await json(['keys', 'create', user.username, '--name', 'k', '--scope', '*']);
    const owner = api().as(user);
    const stateOf = async (): Promise<string> => (await json(['keys', 'find', key])).key.state;
    await owner.patch(`/v1/keys/${id}`, { disabled: true });
    expect(await stateOf()).toBe('disabled');
    await owner.patch(`/v1/keys/${id}`, { disabled: false });
    await owner.post(`/v1/keys/${id}/rotate`, { graceSeconds: 3_600 });
    expect(await stateOf()).toMatch(/^rotated, valid until 20/);
    await owner.patch(`/v1/keys/${id}`, { expiresAt: new Date(Date.now() + 1_000).toISOString() });
    await until(async () => (await stateOf()) === 'expired');
  });

  test('unknown owner, bad scope, a text that is not a key: a reason in one line', async () => {
    const user = await api().createUser();
    const make = (owner: string, scope: string) =>
      command(env(), ['keys', 'create', owner, '--name', 'k', '--scope', scope]);
    expect(await make('nobody', 'api1')).toMatchObject({ code: 1, stderr: 'There is no user "nobody".\n' });
    expect(await make(user.username, '!')).toMatchObject({ code: 1, stderr: expect.stringMatching(/^scopes.+\n$/) });
    expect(await command(env(), ['keys', 'find'], 'qm_nothing')).toMatchObject({ code: 2 });
    expect(await command(env(), ['keys', 'find'])).toMatchObject({ code: 2 });
    expect(await command(env(), ['keys', 'revoke', 'x'])).toMatchObject({ code: 2 });
  });
});

describe('quartermaster audit verify and usage export', () => {
  test('audit verify: ok on the database and over the API; exit code 3 for an altered entry', async () => {
    const database = await createDatabase();
    const variables = { DATABASE_URL: database.url };
    await json(['admin', 'create', 'first'], variables);
    await until(async () => (await json(['audit', 'verify'], variables)).sealed > 0);
    const { head } = await json(['audit', 'verify'], variables);
    expect(await json(['audit', 'verify', '--head', head], variables)).toMatchObject({ ok: true });
    await query(database.url, `UPDATE audit_entries SET action = 'user.update'`);
    expect(await command(variables, ['audit', 'verify'])).toMatchObject({
      ...{ code: 3, stderr: '' },
      stdout: expect.stringMatching(/^Entry \S+ at position 1 of the audit log was altered\.\n$/),
    });
    await database.drop();
    expect(await json(['audit', 'verify', '--url', api().url], await asAdmin())).toMatchObject({ ok: true });
  });

  test.each(['on the database', 'over the API'])(
    'usage export %s: to a new file, and to standard output',
    async (how) => {
      const isRemote = how === 'over the API';
      const [target, variables] = isRemote ? [['--url', api().url], await asAdmin()] : [[], env()];
      const user = await api().createUser();
      const { key } = await json(['keys', 'create', user.username, '--name', 'k', '--scope', '*']);
      await api().get('/call/api2', { headers: { 'x-api-key': key } });
      const rows = await command(variables, ['usage', 'export', ...target]);
      expect(rows).toMatchObject({ code: 0, stderr: expect.stringMatching(/^\d+ lines are exported\.\n$/) });
      const lines = rows.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(lines).toContainEqual(expect.objectContaining({ owner: user.id, meter: 'api:api2', granted: 1 }));

      const file = join(folder, `usage ${how}.csv`);
      await json(['usage', 'export', file, '--format', 'csv', ...target], variables);
      expect(await readFile(file, 'utf8')).toMatch(/^hour,owner,ownerName,key,keyName,meter,granted,denied\n/);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      expect(await command(variables, ['usage', 'export', file, ...target])).toMatchObject({
        ...{ code: 2, stdout: '', stderr: `${file} exists already.\n` },
      });
      expect(await command(variables, ['usage', 'export', '--from', 'yesterday', ...target])).toMatchObject({
        code: 1,
      });
    },
  );
});

describe('quartermaster migrate and doctor', () => {
  test('migrate up, status and down on an empty database', async () => {
    const database = await createDatabase({ isEmpty: true });
    const variables = { DATABASE_URL: database.url };
    const names = migrations.map((migration) => new migration().name);
    const last = names.at(-1) ?? '';
    expect(await command(variables, ['migrate', 'status'])).toMatchObject({
      ...{ code: 3, stdout: names.map((name) => `pending  ${name}\n`).join('') },
    });
    expect(await json(['migrate', 'up'], variables)).toEqual({ done: names, outdatedFunctions: [] });
    expect(await command(variables, ['migrate', 'up'])).toMatchObject({ code: 0, stdout: 'There is nothing to do.\n' });
    await query(database.url, `COMMENT ON FUNCTION count_objects IS 'another'`);
    expect(await command(variables, ['migrate', 'status'])).toMatchObject({
      ...{ code: 3, stdout: expect.stringMatching(/\noutdated functions: count_objects\n$/) },
    });
    expect((await json(['migrate', 'up'], variables)).outdatedFunctions).toEqual(['count_objects']);
    expect(await command(variables, ['migrate', 'down', 'Baseline1'])).toMatchObject({
      ...{ code: 1, stderr: `The last migration is ${last}, not Baseline1.\n` },
    });
    expect(await json(['migrate', 'down', last], variables)).toEqual({ undone: last });
    expect((await json(['migrate', 'up'], variables)).done).toEqual([last]);
    await database.drop();
  });

  test('doctor on a good platform: exit code 0 and one line for each check', async () => {
    const { findings } = await json(['doctor'], { ...env(), PORT: new URL(api().url).port });
    expect(findings.map(({ what }: any) => what)).toEqual([
      ...['configuration', 'secret key', 'port', 'PostgreSQL', 'encoding', 'role', 'fsync', 'full_page_writes'],
      ...['synchronous_commit', 'data_checksums', 'connections', 'clock', 'tables', 'services'],
    ]);
    expect(findings.find(({ what }: any) => what === 'port').detail).toMatch(/^Quartermaster answers at/);
  });

  test('doctor on a new folder creates nothing', async () => {
    const dataDir = join(folder, 'nothing');
    expect(await json(['doctor'], { DATA_DIR: dataDir, PORT: '0' })).toMatchObject({ isOk: true });
    await expect(stat(dataDir)).rejects.toThrow('ENOENT');
  });

  test('DATA_DIR is a file: doctor and commands say so', async () => {
    const dataDir = join(folder, 'file');
    await writeFile(dataDir, '');
    expect(await command({ DATA_DIR: dataDir, PORT: '0' }, ['doctor'])).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^PROBLEM {2}data folder .+ is not a folder\n +→ run this command as the user/m),
    });
    expect(await command({ DATA_DIR: dataDir }, ['users', 'export'])).toMatchObject({
      code: 1,
      stderr: `DATA_DIR ${dataDir} cannot be used: not a directory (ENOTDIR). Run this command as the user of the server.\n`,
    });
  });

  test('doctor finds what is wrong and says what to do: exit code 3', async () => {
    const database = await createDatabase();
    await query(database.url, `DELETE FROM migrations`);
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const port = String((other.address() as AddressInfo).port);
    const { code, stdout } = await command(
      { DATABASE_URL: database.url, PORT: port, DATABASE_POOL: '1000', WORKER: '2' },
      ['doctor', '--json'],
    );
    other.close();
    expect(code).toBe(3);
    const wrong = JSON.parse(stdout).findings.filter(({ isOk }: any) => !isOk);
    expect(wrong.map(({ what }: any) => what)).toEqual(['configuration', 'port', 'connections', 'tables']);
    expect(wrong.map(({ remedy }: any) => remedy).join()).toContain('quartermaster migrate up');
    const stranger = await command({ ...env(), SECRET_KEY: SECRET_KEY.toUpperCase(), PORT: '0' }, ['doctor']);
    expect(stranger).toMatchObject({
      ...{ code: 3, stdout: expect.stringMatching(/^PROBLEM {2}services .+\n +→ set the SECRET_KEY of the server$/m) },
    });
    expect(await command({ PORT: 'x' }, ['doctor'])).toMatchObject({
      code: 3,
      stdout: expect.stringContaining('PORT'),
    });
    expect(await command({ DATABASE_URL: 'postgresql://me@127.0.0.1:1/x' }, ['doctor'])).toMatchObject({
      ...{ code: 3, stdout: expect.stringMatching(/^PROBLEM {2}database .+ cannot be reached/m) },
    });
    await database.drop();
  });
});
