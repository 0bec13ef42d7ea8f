import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hash } from '@node-rs/argon2';
import pg from 'pg';
import { uuidv7 } from 'uuidv7';
import { Api, sharedApi, uniqueName } from './support/api.js';
import { SECRET_KEY, TestServer, command, createDatabase, inherited, query } from './support/server.js';
import { until } from './support/until.js';

const BIN = fileURLToPath(new URL('../bin/quartermaster.js', import.meta.url));

let folder: string;

beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'quartermaster-import-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The database of the shared server. */
const env = (): Record<string, string> => ({ DATABASE_URL: process.env.TEST_SERVER_DATABASE! });

const api = (): Api => sharedApi();

async function file(name: string, ...lines: string[]): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, lines.map((line) => `${line}\n`).join(''));
  return path;
}

/** Runs a command with --json. */
async function json(args: string[], variables = env()): Promise<any> {
  const { code, stdout, stderr } = await command(variables, [...args, '--json']);
  return { code, stderr, ...(stdout.startsWith('{') ? JSON.parse(stdout) : {}) };
}

/** The report about a file, without its header. */
async function rejectedLines(path: string, kind = 'rejected'): Promise<string[]> {
  return (await readFile(`${path}.${kind}.csv`, 'utf8')).trim().split('\n').slice(1);
}

describe('quartermaster users import', () => {
  test('CSV with plain passwords, hashes, and without a password', async () => {
    const [plain, hashed, none] = [uniqueName(), uniqueName(), uniqueName()];
    const phc = await hash('Compiler-1952', { memoryCost: 2_048, timeCost: 1, parallelism: 1 });
    const path = await file(
      'users.csv',
      'username,email,password,passwordHash,firstName,lastName,role,status,credits,createdAt',
      `${plain},${plain}@example.com,"Analytical,""1843",,Ada,Lovelace,,,7,2020-01-01`,
      `${hashed},,,"${phc}",,,admin,,,`,
      '',
      `${none},,,,José Ángel,O’Brien-Díaz,,disabled,0,`,
    );
    expect(await json(['users', 'import', path])).toMatchObject({
      code: 0,
      stderr: '',
      created: 3,
      rejected: 0,
      report: null,
    });
    expect((await api().signIn(`${plain}@example.com`, 'Analytical,"1843')).user).toMatchObject({
      ...{ firstName: 'Ada', lastName: 'Lovelace', role: 'user', credits: 7 },
    });
    expect((await api().signIn(hashed, 'Compiler-1952')).user).toMatchObject({ role: 'admin', credits: null });
    const { body } = await (await api().admin()).get(`/v1/users/${none}`);
    expect(body).toMatchObject({ firstName: 'José Ángel', lastName: 'O’Brien-Díaz', status: 'disabled', credits: 0 });
    const entries = await (await api().admin()).get(`/v1/audit?target=${body.id}`);
    expect(entries.body.data).toMatchObject([
      {
        action: 'user.create',
        actor: null,
        requestId: 'command-line',
        changes: { status: { to: 'disabled' }, credits: { to: 0 } },
      },
    ]);
    // Interrupted imports have a journal; finished ones have not.
    await expect(stat(`${path}.progress`)).rejects.toThrow('ENOENT');
  });

  test('an account without a password: signs in after a reset link', async () => {
    const name = uniqueName();
    const path = await file('none.ndjson', JSON.stringify({ username: name }));
    expect(await json(['users', 'import', path])).toMatchObject({ code: 0, created: 1 });
    expect((await api().post('/v1/auth/login', { login: name, password: 'Analytical-1843' })).status).toBe(401);
    const { body } = await (await api().admin()).post(`/v1/users/${name}/reset-link`);

    expect(
      (await api().post('/v1/auth/recovery/confirm', { token: body.token, newPassword: 'Analytical-1843' })).status,
    ).toBe(204);
    await api().signIn(name, 'Analytical-1843');
  });

  test('rejected lines: the report has line and reason, the others are created, exit code 3', async () => {
    const [good, taken, last] = [uniqueName(), (await api().createUser()).username, uniqueName()];
    const lines = [
      JSON.stringify({ username: good }),
      JSON.stringify({ username: taken.toUpperCase() }),
      JSON.stringify({ username: good }),
      '[]',
      '{',
      JSON.stringify({ username: 'a b' }),
      JSON.stringify({ username: uniqueName(), password: 'weak' }),
      JSON.stringify({ username: uniqueName(), passwordHash: '$2b$10$abcdefghijklmnopqrstuv' }),
      JSON.stringify({ username: uniqueName(), password: 'Analytical-1843', passwordHash: 'x' }),
      JSON.stringify({ username: uniqueName(), plan: 'nothing' }),
      JSON.stringify({ username: uniqueName(), credits: '7.5' }),
      JSON.stringify({ username: uniqueName(), unknown: 1 }),
      JSON.stringify({ firstName: 'Ada' }),
      JSON.stringify({ username: last }),
    ];
    const path = await file('bad.ndjson', ...lines);
    expect(await json(['users', 'import', path, '--dry-run'])).toMatchObject({ code: 3, valid: 2, rejected: 12 });
    const checked = await rejectedLines(path, 'dry-run');
    expect(await json(['users', 'import', path])).toMatchObject({
      code: 3,
      created: 2,
      rejected: 12,
      report: `${path}.rejected.csv`,
    });
    const reasons = await rejectedLines(path);
    expect(checked).toEqual(reasons);
    expect(reasons.map((line) => Number(line.split(',')[0]))).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    expect(reasons).toEqual(
      expect.arrayContaining([
        ...['2,The username is taken.', '3,The username is taken.', '4,is not a JSON object', '5,is not a JSON object'],
        ...['9,has both password and passwordHash', '10,plan is not the slug of a plan.', '12,unknown is not allowed.'],
        '13,username is required if email is missing.',
      ]),
    );
    const found = await (await api().admin()).get(`/v1/users/${last}`);
    expect(found.status).toBe(200);
  });

  test('files that cannot be read: one line', async () => {
    const header = await file('header.csv', 'username,nickname', 'ada,a');
    const twice = await file('twice.csv', 'username,username');
    const quote = await file('quote.csv', 'username', '"ada', ...Array.from({ length: 9_000 }, () => 'grace,hopper'));
    const results = [
      await json(['users', 'import', join(folder, 'missing.csv')]),
      await json(['users', 'import', join(folder, 'users.xlsx')]),
      await json(['users', 'import', header]),
      await json(['users', 'import', twice]),
      await json(['users', 'import', quote]),
    ];
    expect(results.map(({ code }) => code)).toEqual([2, 2, 2, 2, 1]);
    expect(results.map(({ stderr }) => JSON.parse(stderr).error)).toEqual([
      expect.stringMatching(/^There is no .+missing\.csv\.$/),
      'The name of the file must end with .csv, .ndjson or .jsonl.',
      expect.stringMatching(/^The first line names the columns; "nickname" is not one of username, /),
      'The first line names the column username twice.',
      expect.stringMatching(/^.+quote\.csv cannot be read from line \d+ on: a quote is missing/),
    ]);
  });

  test('killed during a batch, and continued: every account exists once', async () => {
    const database = await createDatabase();
    const path = await file('killed.csv', 'username', ...Array.from({ length: 600 }, (_, i) => `killed${i}`), 'a b');
    const blocker = new pg.Client({ connectionString: database.url });
    await blocker.connect();
    // The second batch waits for this account, which is not committed.
    await blocker.query('BEGIN');
    await blocker.query(
      `INSERT INTO users (id, username, username_key, password_hash) VALUES (gen_random_uuid(), 'killed550', 'killed550', 'x')`,
    );
    const child = spawn(process.execPath, [BIN, 'users', 'import', path], {
      env: { ...inherited(), SECRET_KEY, DATABASE_URL: database.url },
      stdio: 'ignore',
    });
    await until(async () => (await readFile(`${path}.progress`, 'utf8').catch(() => '')).includes('"records":500'));
    child.kill('SIGKILL');
    await once(child, 'close');
    await blocker.query('ROLLBACK');
    await blocker.end();
    const again = await json(['users', 'import', path], { DATABASE_URL: database.url });
    expect(again).toMatchObject({ code: 3, created: 600, rejected: 1 });
    expect(again.stderr).toBe('Continuing an interrupted import after 500 records.\n');
    const [counts] = await query(
      database.url,
      'SELECT count(*)::int AS rows, count(DISTINCT username)::int AS names FROM users',
    );
    expect(counts).toEqual({ rows: 600, names: 600 });
    await database.drop();
  });

  test('killed after the commit of a batch: the journal tells which accounts were created', async () => {
    const names = [uniqueName(), uniqueName(), uniqueName()];
    const path = await file('committed.ndjson', ...names.map((username) => JSON.stringify({ username })));
    const { size, mtimeMs } = await stat(path);
    const ids = names.map(() => uuidv7());
    const journal = JSON.stringify({
      ...{ file: { size, modified: Math.trunc(mtimeMs) }, target: 'database' },
      ...{ records: 0, created: 0, rejected: 0, reportBytes: 0, ids },
    });
    // The first import creates the accounts, the second one finds them.
    for (let i = 0; i < 2; i++) {
      await writeFile(`${path}.progress`, journal);
      expect(await json(['users', 'import', path])).toMatchObject({ code: 0, created: 3, rejected: 0 });
    }
    const { body } = await (await api().admin()).get(`/v1/users/${names[2]}`);
    expect(body.id).toBe(ids[2]);

    await writeFile(`${path}.progress`, journal);
    await writeFile(path, '{}\n');
    expect(await json(['users', 'import', path])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('The file has changed since its import was interrupted.'),
    });
  });

  test('limits of the platform: creates as many as fit, in the order of the file', async () => {
    const database = await createDatabase();
    const server = await TestServer.start({ DATABASE_URL: database.url });
    const variables = { DATABASE_URL: database.url };
    const path = await file('many.csv', 'username,credits', ...Array.from({ length: 20 }, (_, i) => `many${i},2`));
    const platform = new Api(server.url);
    // The administrator is an object, too.
    await (await platform.admin()).patch('/v1/platform', { totalObjects: 11 });
    expect(await json(['users', 'import', path], variables)).toMatchObject({ code: 3, created: 5, rejected: 15 });
    expect((await rejectedLines(path))[0]).toMatch(/^7,"All users together would have 12 credits/);
    await (await platform.admin()).patch('/v1/platform', { creditOverprovisioning: true });
    expect(await json(['users', 'import', path], variables)).toMatchObject({ code: 3, created: 5, rejected: 15 });
    const reasons = await rejectedLines(path);
    expect(reasons.slice(0, 5).every((line) => line.includes('taken'))).toBe(true);
    expect(reasons.at(-1)).toBe('21,11 of 11 objects are in use.');
    await server.stop();
    await database.drop();
  });
});

describe('quartermaster users export', () => {
  test('an export as CSV or NDJSON can be imported elsewhere', async () => {
    const database = await createDatabase();
    const [source, target] = [env(), { DATABASE_URL: database.url }];
    const user = await api().createUser({ firstName: 'Ada', credits: 3 });
    const paths = [join(folder, 'export.csv'), join(folder, 'export.ndjson')];
    for (const [i, format] of ['csv', 'ndjson'].entries()) {
      const exported = await json(['users', 'export', paths[i]!, '--format', format], source);
      expect(exported).toMatchObject({ code: 0, file: paths[i] });
    }
    const text = await readFile(paths[1]!, 'utf8');
    const line = text.split('\n').find((each) => each.includes(`"${user.username}"`))!;
    const read = await (await api().admin()).get(`/v1/users/${user.id}`);
    expect(JSON.parse(line)).toEqual(read.body);
    expect(text).not.toContain('argon2');

    await writeFile(join(folder, 'one.ndjson'), line);
    expect(await json(['users', 'import', join(folder, 'one.ndjson')], target)).toMatchObject({
      stderr: '',
      code: 0,
      created: 1,
    });
    await database.drop();
  });
});

describe('quartermaster store', () => {
  const VALUES = ['3.14159265358979323846', '1e400', '{"b":1,"a":[2.0,"\\u0000é🚀"]}', 'null', '"a\\nb"'];

  test('export and import: values keep every digit, and entries their time to live', async () => {
    const [from, to] = [await api().createUser(), await api().createUser()];
    const entries = VALUES.map(
      (value, i) => `{"key":"k/${i} ü","value":${value}${i === 1 ? ',"ttlSeconds":3600' : ''}}`,
    );
    await api()
      .as(from)
      .post('/v1/store/write', undefined, { raw: `{"entries":[${entries.join(',')}]}` });
    const path = join(folder, 'store.ndjson');
    expect(await json(['store', 'export', from.username, path])).toMatchObject({ code: 0, lines: 5 });
    const lines = (await readFile(path, 'utf8')).trim().split('\n');
    expect(lines.map((line) => /"value":(.*?)(,"ttlSeconds":\d+)?}$/.exec(line)?.[1])).toEqual(VALUES);

    expect(await json(['store', 'import', to.username, path])).toMatchObject({
      code: 0,
      written: 5,
      skipped: 0,
      rejected: 0,
    });
    expect(await json(['store', 'import', to.username, path])).toMatchObject({ code: 0, written: 0, skipped: 5 });
    const copied = await command(env(), ['store', 'export', to.username]);
    const withoutTtl = (text: string): string => text.replaceAll(/"ttlSeconds":\d+/g, '');
    expect(withoutTtl(copied.stdout)).toBe(withoutTtl(`${lines.join('\n')}\n`));
    expect(copied.stdout).toMatch(/"ttlSeconds":3[56]\d\d}/);
  });

  test('import: rejected lines, --replace, and a quota', async () => {
    const user = await api().createUser();
    const path = await file(
      'entries.ndjson',
      '{"key":"a","value":1}',
      'nonsense',
      '{"key":"","value":1}',
      '{"key":"b"}',
      '{"key":"c","value":2,"more":1}',
      '{"key":"d","value":3}',
    );
    expect(await json(['store', 'import', user.username, path])).toMatchObject({ code: 3, written: 2, rejected: 4 });
    expect(await rejectedLines(path)).toEqual([
      '2,is not a JSON object',
      '3,key must have 1 to 512 bytes',
      '4,value is required',
      '5,more is not allowed',
    ]);
    const other = await file(
      'other.ndjson',
      '{"key":"a","value":10}',
      '{"key":"e","value":5}',
      '{"key":"f","value":6}',
    );
    await (await api().admin()).put(`/v1/users/${user.id}/quotas/store.entries`, { limit: 3 });
    const replaced = await json(['store', 'import', user.username, other, '--replace']);
    expect(replaced).toMatchObject({ code: 3, written: 2, rejected: 1 });
    expect(await rejectedLines(other)).toEqual(['3,The quota is used up.']);
    expect((await api().as(user).get('/v1/store/a')).body).toBe(10);
    expect(await json(['store', 'import', 'nobody', path])).toMatchObject({ code: 1 });
  });
});
