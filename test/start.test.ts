import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { UnusableDatabase } from '../src/common/database-error.js';
import { EMBEDDED, explainStart } from '../src/process/start-error.js';
import { Api, expectProblem, sharedApi, uniqueName, type Answer } from './support/api.js';
import { ADMIN_PASSWORD, TestServer, createDatabase, inherited, postgresUrl, query } from './support/server.js';
import { until } from './support/until.js';

const MAIN = fileURLToPath(new URL('../dist/src/main.js', import.meta.url));
const SECRET_KEY = 'a secret of thirty-two characters, only for tests';

type Database = Awaited<ReturnType<typeof createDatabase>>;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-start-'));
  // When started by root, PostgreSQL runs as another user, who needs access to this folder.
  await chmod(folder, 0o755);
});

afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the program until it exits. Captures stdout and stderr separately. */
async function run(env: Record<string, string>): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN], {
    env: { ...inherited(), PORT: '0', LOG_LEVEL: 'warn', ADMIN_PASSWORD, SECRET_KEY, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = { code: null as number | null, stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    ended.stdout += chunk.toString();
    // Stops a program that starts although it should fail.
    if (ended.stdout.includes('listens on')) child.kill('SIGTERM');
  });
  child.stderr.on('data', (chunk: Buffer) => (ended.stderr += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { ...ended, code };
}

/** Matches a stack trace or a path of the code. */
const STACK = /\s+at |node_modules|dist\/|\.js:\d/;

/** Checks that the program exits with 1 and prints one line to stderr. Returns the line. */
async function printedRefusal(env: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await run(env);
  expect({ code, stdout, lines: stderr.split('\n').length - 1, stderr }).toEqual({
    code: 1,
    stdout: '',
    lines: 1,
    stderr: expect.stringMatching(/^Quartermaster did not start\. .+\n$/),
  });
  expect(stderr).not.toMatch(STACK);
  return stderr;
}

/** Checks that a start in a shared process fails with a reason of one line. Returns the line. */
async function refusal(env: Record<string, string>): Promise<string> {
  const line = await TestServer.refusal({ LOG_LEVEL: 'warn', ...env });
  expect(line).toMatch(/^.+$/);
  expect(line).not.toMatch(STACK);
  return line;
}

describe('start with a new DATA_DIR', () => {
  /** As with `npm start`: only the port is set. */
  const UNSET = { ADMIN_PASSWORD: '', SECRET_KEY: '' };

  test('creates the administrator once, and keeps all data after SIGTERM and after SIGKILL', async () => {
    const dataDir = join(folder, 'fresh');
    const env = { ...UNSET, DATA_DIR: dataDir };
    let server: TestServer = await TestServer.spawn(env);
    try {
      const passwords = [...server.output.matchAll(/"username":"admin","password":"([^"]+)"/g)];
      expect(passwords).toHaveLength(1);
      const password = passwords[0]?.[1] ?? '';
      expect(password.length).toBeGreaterThanOrEqual(20);
      // Where standard output is not a terminal, the start is told in JSON lines, like those of the log.
      const told = server.output.split('\n').find((line) => line.includes('listens on')) ?? '';
      expect(JSON.parse(told)).toMatchObject({ level: 30, docs: `${server.url}/docs` });
      expect((await stat(join(dataDir, 'secret-key'))).mode & 0o777).toBe(0o600);
      const secretKey = await readFile(join(dataDir, 'secret-key'), 'utf8');
      expect(secretKey.trim().length).toBeGreaterThanOrEqual(32);

      let api = new Api(server.url);
      const admin = await api.signIn('admin', password);
      const username = uniqueName();
      const made = await api.as(admin).post('/v1/users', { username, password: 'Unguessable-7' });
      expect(made.status).toBe(201);
      const user = await api.signIn(username, 'Unguessable-7');
      const first = (await api.as(user).post('/v1/resources', { value: 'first' })).body;
      await api.as(admin).put(`/v1/users/${username}/quotas/resources`, { limit: 2 });

      const inUse = await refusal(env);
      expect(inUse).toContain(`DATA_DIR ${dataDir} is in use by another Quartermaster`);
      expect((await api.get('/readyz')).status).toBe(200);

      expect(await server.stop()).toBe(0);
      const killed = await TestServer.spawn(env);
      server = killed;
      expect(server.output).not.toMatch(/password|Administrator created/i);
      api = new Api(server.url);
      const second = (await api.as(user).post('/v1/resources', { value: 'second' })).body;
      expect((await api.as(user).get('/v1/resources')).body.data).toEqual([second, first]);

      await killed.kill();
      server = await TestServer.start(env);
      expect(await readFile(join(dataDir, 'secret-key'), 'utf8')).toBe(secretKey);
      api = new Api(server.url);
      expect((await api.as(user).get('/v1/users/me')).body).toMatchObject({ id: made.body.id, username });
      expect((await api.as(user).get('/v1/resources')).body.data).toEqual([second, first]);
      expectProblem(await api.as(user).post('/v1/resources', { value: 'third' }), 403, 'quota_exceeded');
      expect((await api.post('/v1/auth/refresh', { refreshToken: user.refreshToken })).status).toBe(200);
      expect((await api.as(admin).get('/v1/users')).body.data).toHaveLength(2);
      await api.signIn('admin', password);
    } finally {
      await server.stop();
    }
  });
});

describe('failed start: exit code 1 and one line on stderr:', () => {
  const sharedDatabase = process.env.TEST_SERVER_DATABASE ?? '';
  const elsewhere = (change: (url: URL) => void): string => {
    const url = new URL(postgresUrl());
    change(url);
    return url.href;
  };

  // One example of each kind; src/config/env.spec.ts tests the values of variables.
  test.concurrent.each([
    ['DATABASE_URL', 'mysql://me:hunter2@localhost/x'],
    ['DATABASE_URL', 'postgresql://me:hunter2#x@localhost/x'],
    ['DATABASE_URL', 'postgresql://me:hunter2@one,two/x'],
    ['DATABASE_URL', 'postgresql://me:hunter2@127.0.0.1/x?sslmode=verify-full&sslrootcert=/nowhere'],
    ['TRUST_PROXY', '0.0.0.0/0'],
    ['ADMIN_PASSWORD_FILE', '/nowhere/hunter3'],
  ])('%s=%s', async (name, value) => {
    const line = await refusal({ DATABASE_URL: sharedDatabase, [name]: value });
    expect(line).toContain(name);
    expect(line).not.toContain('hunter2');
  });

  test.concurrent('weak ADMIN_PASSWORD, or invalid ADMIN_EMAIL', async () => {
    const database = await createDatabase();
    const env = { DATABASE_URL: database.url };
    const lines = await Promise.all([
      refusal({ ...env, ADMIN_PASSWORD: 'hunter2' }),
      refusal({ ...env, ADMIN_PASSWORD: 'Password1!' }),
      refusal({ ...env, ADMIN_EMAIL: 'nobody' }),
    ]);
    expect(lines).toEqual([
      // One line reports all violations.
      expect.stringMatching(/ADMIN_PASSWORD must .*8 to 64 .*upper-case.*special/),
      expect.stringContaining('ADMIN_PASSWORD must '),
      expect.stringContaining('ADMIN_EMAIL is "nobody", which is not an e-mail address.'),
    ]);
    expect(lines.join('')).not.toMatch(/hunter2|Password1/);
    expect(await query(database.url, 'SELECT FROM users')).toEqual([]);
    await database.drop();
  });

  test.concurrent(
    'weak ADMIN_PASSWORD, or invalid ADMIN_EMAIL, for a new embedded database: nothing is created',
    async () => {
      const dataDir = join(folder, 'bad-admin');
      for (const bad of [{ ADMIN_PASSWORD: 'hunter2' }, { ADMIN_EMAIL: 'nobody' }]) {
        expect(await printedRefusal({ DATA_DIR: dataDir, ...bad })).toContain(Object.keys(bad)[0]);
      }
      await expect(stat(dataDir)).rejects.toThrow('ENOENT');
    },
  );

  test.concurrent('port in use', async () => {
    const { port } = new URL(sharedApi().url);
    const line = await refusal({ DATABASE_URL: sharedDatabase, PORT: port });
    expect(line).toContain(`PORT is taken`);
    expect(line).toContain(port);
  });

  test('port in use: nothing is created', async () => {
    const { port } = new URL(sharedApi().url);
    const database = await createDatabase({ isEmpty: true });
    const dataDir = join(folder, 'port-taken');
    const env = { PORT: port, ADMIN_PASSWORD: '', SECRET_KEY: '', DATA_DIR: dataDir };
    await printedRefusal({ ...env, DATABASE_URL: database.url });
    await printedRefusal(env);
    expect(await query(database.url, `SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace`)).toEqual([]);
    await expect(stat(dataDir)).rejects.toThrow('ENOENT');
    await database.drop();
  });

  test.concurrent('HOST is not an address of this machine', async () => {
    for (const HOST of ['192.0.2.1', 'nowhere.invalid']) {
      const line = await refusal({ DATABASE_URL: sharedDatabase, HOST });
      expect(line).toMatch(/^Cannot listen on HOST: .+; allowed: .* 127\.0\.0\.1, ::1 or 0\.0\.0\.0\.$/);
      expect(line).toContain(HOST);
    }
  });

  test.concurrent('no database server at the address', async () => {
    const line = await refusal({ DATABASE_URL: 'postgresql://me:hunter2@127.0.0.1:1/x' });
    expect(line).toMatch(/DATABASE_URL cannot be reached.*ECONNREFUSED/);
    expect(line).not.toContain('hunter2');
  });

  test.concurrent('unknown host of the database', async () => {
    const line = await refusal({ DATABASE_URL: 'postgresql://me:hunter2@nowhere.invalid/x' });
    expect(line).toContain('DATABASE_URL cannot be reached');
    expect(line).not.toContain('hunter2');
  });

  test.concurrent('wrong database password', async () => {
    const line = await printedRefusal({ DATABASE_URL: elsewhere((url) => (url.password = 'hunter2')) });
    expect(line).toContain('DATABASE_URL');
    expect(line).not.toContain('hunter2');
  });

  // In a process of its own: `pg` leaves the connection open until the process ends or PostgreSQL gives up after a minute,
  // and CREATE and DROP DATABASE of other tests would wait for that.
  test.concurrent('no database password, but the server wants one', async () => {
    expect(await printedRefusal({ DATABASE_URL: elsewhere((url) => (url.password = '')) })).toBe(
      'Quartermaster did not start. DATABASE_URL has no password, and the database asks for one.\n',
    );
  });

  test.each([
    ['28000', 'no pg_hba.conf entry for host "::1", user "qm", database "qm", no encryption', /add \?sslmode=require/],
    ['28P01', 'empty password returned by client', /^DATABASE_URL has no password/],
    [
      'ERR_TLS_CERT_ALTNAME_INVALID',
      "Hostname/IP does not match certificate's altnames: IP: 127.0.0.1 is not in the cert's list: ",
      /cert's list: use a host name that the certificate has/,
    ],
    ['ERR_OSSL_PEM_NO_START_LINE', 'error:0480006C:PEM routines::no start line', /sslrootcert, .* must be PEM files/],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed certificate', /certificate: set sslmode to require/],
  ])('the database refuses a connection with %s', (code, message, hint) => {
    expect(explainStart(Object.assign(new Error(message), { code }))).toMatch(hint);
  });

  test.each([
    [{ DATABASE_URL: 'postgresql://me@x/y' }, 'The database of DATABASE_URL'],
    [{ DATABASE_URL_FILE: '/run/secrets/url' }, 'The database of DATABASE_URL'],
    [{ DATABASE_URL: '' }, 'The embedded database'],
    [{ DATABASE_URL: 'postgresql://me@x/y', [EMBEDDED]: 'yes' }, 'The embedded database'],
  ])('with %j, errors of the database name it', (variables, name) => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', syscall: 'connect' });
    expect(explainStart(refused, variables)).toBe(`${name} cannot be reached: connect ECONNREFUSED.`);
    expect(explainStart(new UnusableDatabase('it is read-only'), variables)).toBe(
      `${name} cannot be used: it is read-only.`,
    );
    const missing = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT', syscall: 'open', path: 'a' });
    expect(explainStart(missing, variables)).toMatch(/^ENOENT: no such file \(/);
  });

  test.concurrent('unknown database', async () => {
    const line = await refusal({ DATABASE_URL: elsewhere((url) => (url.pathname = '/no_such_database')) });
    expect(line).toContain('DATABASE_URL');
    expect(line).toContain('no_such_database');
    expect(line).not.toContain(decodeURIComponent(new URL(postgresUrl()).password));
  });

  describe('unsuitable database:', () => {
    let database: Database;

    beforeEach(async () => (database = await createDatabase({ isEmpty: true })));
    afterEach(() => database.drop());

    test('role without the right to create tables', async () => {
      const role = uniqueName();
      await query(postgresUrl(), `CREATE ROLE ${role} LOGIN PASSWORD 'hunter2'`);
      const url = new URL(database.url);
      Object.assign(url, { username: role, password: 'hunter2' });
      const grant = `run as a superuser in "${database.name}": GRANT ALL ON SCHEMA public TO "${role}"`;
      expect(await refusal({ DATABASE_URL: url.href })).toContain(grant);
      const create = `run as a superuser in "${database.name}": CREATE SCHEMA qm AUTHORIZATION "${role}"`;
      expect(await refusal({ DATABASE_URL: url.href, DATABASE_SCHEMA: 'qm' })).toContain(create);
      // The privileges that the message names are sufficient.
      await query(database.url, `GRANT ALL ON SCHEMA public TO "${role}"; CREATE SCHEMA qm AUTHORIZATION "${role}"`);
      for (const schema of ['public', 'qm']) {
        const server = await TestServer.start({ DATABASE_URL: url.href, DATABASE_SCHEMA: schema });
        expect((await new Api(server.url).get('/readyz')).status).toBe(200);
        expect(await server.stop()).toBe(0);
      }
      const counts = await query(
        database.url,
        `SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'users' ORDER BY 1`,
      );
      expect(counts).toEqual([{ nspname: 'public' }, { nspname: 'qm' }]);
      await query(database.url, `DROP OWNED BY "${role}"; DROP ROLE "${role}"`);
    });

    test.each([
      ['a table', 'CREATE TABLE users (id integer)'],
      ['the table of migrations', 'CREATE TABLE migrations (version text)'],
      ['a view', 'CREATE VIEW plans AS SELECT 1 AS id'],
      ['a type', 'CREATE TYPE resources AS ENUM ()'],
      ['a sequence', 'CREATE SEQUENCE tasks'],
      ['a function', 'CREATE FUNCTION x() RETURNS integer LANGUAGE sql RETURN 1'],
      ['an index', 'CREATE TABLE x (id integer); CREATE INDEX users_pkey ON x (id)'],
    ])('contains %s of another program', async (_what, sql) => {
      await query(database.url, sql);
      const objects = `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname`;
      const before = await query(database.url, objects);
      const line = await refusal({ DATABASE_URL: database.url });
      expect(line).toMatch(/schema public holds another program's objects \(.+\); .*set DATABASE_SCHEMA/);
      expect(await query(database.url, objects)).toEqual(before);
    });

    test('encoding that cannot store every text', async () => {
      const name = uniqueName();
      for (const encoding of ['SQL_ASCII', 'LATIN1']) {
        await query(
          postgresUrl(),
          `CREATE DATABASE ${name} ENCODING '${encoding}' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0`,
        );
        const line = await refusal({ DATABASE_URL: elsewhere((url) => (url.pathname = `/${name}`)) });
        expect(line).toContain(`database "${name}" has the encoding ${encoding}`);
        await query(postgresUrl(), `DROP DATABASE ${name}`);
      }
    });

    test('triggers disabled', async () => {
      await query(postgresUrl(), `ALTER DATABASE ${database.name} SET session_replication_role = 'replica'`);
      expect(await refusal({ DATABASE_URL: database.url })).toContain('session_replication_role is replica');
    });

    test('TLS required, but the server has none', async () => {
      for (const mode of ['require', 'verify-full', 'no-verify']) {
        expect(await refusal({ DATABASE_URL: `${withoutTls(database.url)}&sslmode=${mode}` })).toMatch(
          /SSL.*set sslmode/,
        );
      }
    });

    test('failed migration: the stack is printed only with LOG_LEVEL=debug', async () => {
      await query(database.url, 'CREATE TABLE migrations (id serial, "timestamp" bigint, name varchar)');
      await query(
        database.url,
        `CREATE SCHEMA other; CREATE FUNCTION other.stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no more tables'; END $$`,
      );
      await query(database.url, 'CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION other.stop()');
      expect(await refusal({ DATABASE_URL: database.url })).toContain(
        'no more tables (Set LOG_LEVEL=debug to see the stack.)',
      );
      const { code, stderr } = await run({ DATABASE_URL: database.url, LOG_LEVEL: 'debug' });
      expect(code).toBe(1);
      expect(stderr).toMatch(/no more tables\n +at /);
    });
  });

  test.concurrent('SECRET_KEY differs from that of the database', async () => {
    const line = await refusal({ DATABASE_URL: sharedDatabase, SECRET_KEY: 'hunter2 and some more letters of no use' });
    expect(line).toContain('SECRET_KEY is not the one');
    expect(line).not.toContain('hunter2');
  });

  test.concurrent('no SECRET_KEY for a database that has one: creates no secret key', async () => {
    const dataDir = join(folder, 'second-node');
    const env = { DATABASE_URL: sharedDatabase, SECRET_KEY: '', DATA_DIR: dataDir };
    for (const WORKERS of ['1', '2']) {
      expect(await printedRefusal({ ...env, WORKERS })).toContain(`there is no secret key in DATA_DIR ${dataDir}`);
    }
    await expect(stat(dataDir)).rejects.toThrow('ENOENT');
  });

  test.concurrent('DATA_DIR is a file, is below a file, or cannot be created', async () => {
    const file = join(folder, 'file');
    await writeFile(file, 'mine');
    const dataDirs = [file, join(file, 'data'), '/proc/quartermaster'];
    const lines = await Promise.all(dataDirs.map((dataDir) => refusal({ DATA_DIR: dataDir })));
    for (const [i, dataDir] of dataDirs.entries()) expect(lines[i]).toContain(dataDir);
    expect(await readFile(file, 'utf8')).toBe('mine');
  });

  test.concurrent('DATA_DIR cannot store the secret key, or contains a damaged one', async () => {
    const file = join(folder, 'file-for-the-key');
    await writeFile(file, 'mine');
    const env = { DATABASE_URL: sharedDatabase, SECRET_KEY: '' };
    expect(await refusal({ ...env, DATA_DIR: file })).toContain(file);
    const damaged = join(folder, 'damaged');
    await mkdir(damaged);
    await writeFile(join(damaged, 'secret-key'), 'hunter2');
    const line = await refusal({ ...env, DATA_DIR: damaged });
    expect(line).toContain(`${damaged}/secret-key is damaged`);
    expect(line).not.toContain('hunter2');
  });

  test.concurrent('port in use with WORKERS=2: one worker reports it once, and no process remains', async () => {
    const { port } = new URL(sharedApi().url);
    const { code, stdout, stderr } = await run({ DATABASE_URL: sharedDatabase, PORT: port, WORKERS: '2' });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr.match(/PORT is taken/g)).toHaveLength(1);
    expect(stderr).not.toMatch(/\s+at |node_modules|dist\//);
  });
});

/** Returns an address with parameters, but without `sslmode`. */
function withoutTls(address: string): string {
  const url = new URL(address);
  url.searchParams.delete('sslmode');
  if (url.search === '') url.searchParams.set('keepalives', '1');
  return url.href;
}

test('unknown variable similar to a known one: prints a warning and starts', async () => {
  const { stdout, stderr } = await run({ DATABASE_URL: process.env.TEST_SERVER_DATABASE!, WORKER: '2', PROT: '1' });
  expect(stdout).toContain('listens on');
  expect(stderr).toBe('Warning: WORKER is set but not known; WORKERS is similar and not set.\n');
});

test('unsafe settings of PostgreSQL: prints a warning and starts', async () => {
  const postgres = await EmbeddedPostgres.start({ dataDir: join(folder, 'unsafe') });
  // `local` does not wait for a standby, and there is none.
  await query(postgres.url, `ALTER DATABASE quartermaster SET synchronous_commit = local`);
  await query(postgres.url, `ALTER SYSTEM SET synchronous_standby_names = 'one'`);
  await query(postgres.url, 'SELECT pg_reload_conf()');
  await until(
    async () => (await query(postgres.url, 'SHOW synchronous_standby_names'))[0]!.synchronous_standby_names === 'one',
  );
  const { code, stdout, stderr } = await run({ DATABASE_URL: postgres.url });
  await postgres.stop();
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr:
      'Warning: PostgreSQL runs with synchronous_commit = local: a failover can lose acknowledged writes. Set synchronous_commit = on.\n',
  });
  expect(stdout).toContain('listens on');
});

test('variables with _FILE: read from files, also by workers', async () => {
  const database = await createDatabase();
  const files: Record<string, string> = {};
  for (const [name, value] of Object.entries({
    DATABASE_URL: database.url,
    SECRET_KEY,
    ADMIN_PASSWORD: 'In-A-File-17',
  })) {
    files[`${name}_FILE`] = join(folder, name);
    await writeFile(join(folder, name), `${value}\r\n`);
  }
  const server = await TestServer.spawn({ ...files, SECRET_KEY: '', ADMIN_PASSWORD: '', WORKERS: '2' });
  await new Api(server.url).signIn('admin', 'In-A-File-17');
  expect(await server.stop()).toBe(0);
  await database.drop();
});

describe('configuration', () => {
  let database: Database;
  let server: TestServer;
  let api: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.start({
      DATABASE_URL: database.url,
      REGISTRATION: 'closed',
      PASSWORD_POLICY: 'length',
      CORS_ORIGINS: 'https://one.example, https://two.example',
      TRUST_PROXY: '1',
      ADMIN_EMAIL: 'Root@Example.com',
      BODY_LIMIT: '2048',
      ISSUER: 'https://id.example',
    });
    api = new Api(server.url);
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  test('REGISTRATION=closed: 403 on registration; administrators can create users', async () => {
    const body = { username: uniqueName(), password: 'seven purple anchors' };
    expectProblem(await api.post('/v1/auth/register', body), 403, 'forbidden');
    expect((await (await api.admin()).post('/v1/users', body)).status).toBe(201);
    await api.signIn(body.username, body.password);
  });

  test('PASSWORD_POLICY=length: accepts 15 to 256 characters of any kind, except common passwords', async () => {
    const admin = await api.admin();
    const make = (password: string): Promise<Answer> => admin.post('/v1/users', { username: uniqueName(), password });
    for (const good of ['fifteen letters', 'x y'.repeat(85), 'пятнадцать букв']) {
      expect((await make(good)).status).toBe(201);
    }
    for (const bad of ['Unguessable-7', 'fourteen chars', 'x y'.repeat(86), 'Password!!!!!!!!']) {
      const answer = await make(bad);
      expectProblem(answer, 400, 'validation_failed');
      expect(answer.body.errors).toEqual([{ pointer: '/password', detail: expect.any(String) }]);
    }
  });

  test('CORS_ORIGINS: allows only the listed origins', async () => {
    const preflight = (origin: string): Promise<Answer> =>
      api.send('OPTIONS', '/v1/resources', undefined, {
        headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
      });
    for (const origin of ['https://one.example', 'https://two.example']) {
      const answer = await preflight(origin);
      expect(answer.status).toBe(204);
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
      expect(answer.headers.get('access-control-allow-methods')).toContain('DELETE');
      const refused = await api.get('/v1/users/me', { headers: { origin } });
      expectProblem(refused, 401, 'unauthenticated');
      expect(refused.headers.get('access-control-allow-origin')).toBe(origin);
    }
    for (const origin of ['https://evil.example', 'https://one.example.evil.example', 'null', 'http://one.example']) {
      expect((await preflight(origin)).headers.get('access-control-allow-origin')).toBeNull();
      expect((await api.get('/livez', { headers: { origin } })).headers.get('access-control-allow-origin')).toBeNull();
    }
  });

  test('CORS_ORIGINS unset: CORS is off', async () => {
    const headers = { origin: 'https://one.example' };
    expect((await sharedApi().get('/livez', { headers })).headers.get('access-control-allow-origin')).toBeNull();
  });

  /** Returns the address that a session records after a sign-in with this X-Forwarded-For. */
  async function noted(at: Api, forwarded: string): Promise<string | null> {
    const login = { login: 'admin', password: ADMIN_PASSWORD };
    const { body } = await at.post('/v1/auth/login', login, { headers: { 'x-forwarded-for': forwarded } });
    return (await at.as(body).get('/v1/auth/sessions?limit=1')).body.data[0].ip;
  }

  test('TRUST_PROXY=1: uses only the last address of X-Forwarded-For', async () => {
    expect(await noted(api, '203.0.113.9')).toBe('203.0.113.9');
    expect(await noted(api, '198.51.100.1, 203.0.113.9')).toBe('203.0.113.9');
    expect(await noted(api, '2001:db8::7')).toBe('2001:db8::7');
  });

  test.each([
    ['203.0.113.7:51234', '203.0.113.7'],
    ['"[2001:db8::7]:4711"', '2001:db8::7'],
    ['[2001:DB8:0::7]', '2001:db8::7'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['unknown', null],
    ['_hidden', null],
    ['garbage', null],
    ['203.0.113.256', null],
    ['1', null],
    ['x'.repeat(2_000), null],
    ['198.51.100.1, <script>', null],
  ])('TRUST_PROXY=1, X-Forwarded-For: %s: session and audit entry record %s', async (sent, address) => {
    expect(await noted(api, sent)).toBe(address);
    const { data } = (await (await api.admin()).get('/v1/audit?action=session.create&limit=2')).body;
    expect(data[1].ip).toBe(address);
  });

  test('TRUST_PROXY unset: ignores X-Forwarded-For', async () => {
    const server = await TestServer.start({ DATABASE_URL: process.env.TEST_SERVER_DATABASE! });
    expect(await noted(new Api(server.url), '203.0.113.9')).toBe('127.0.0.1');
    expect(await server.stop()).toBe(0);
  });

  test('ADMIN_EMAIL, ISSUER and BODY_LIMIT take effect', async () => {
    const { accessToken } = await api.signIn('root@example.com', ADMIN_PASSWORD);
    const claims = JSON.parse(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString());
    expect(claims.iss).toBe('https://id.example');
    const answer = await api.as({ accessToken }).post('/v1/resources', { value: 'x'.repeat(2_048) });
    expectProblem(answer, 413, 'body_too_large');
  });
});

describe('log', () => {
  let database: Database;
  let server: TestServer;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'trace' });
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  /** Waits until the log contains the request of a response. */
  async function logged({ headers }: Answer): Promise<void> {
    await until(() => server.output.includes(headers.get('x-request-id') ?? 'none'));
  }

  /** Returns the secrets that the log contains, with the preceding text. */
  function leaks(secrets: Record<string, string>): string[] {
    const log = server.output;
    const found = Object.entries(secrets).filter(([, secret]) => secret !== '' && log.includes(secret));
    return found.map(([name, secret]) => {
      const at = log.indexOf(secret);
      return `${name}, after: ${log.slice(Math.max(0, at - 80), at)}`;
    });
  }

  test('LOG_LEVEL=trace: contains no secret from requests or responses', async () => {
    const api = new Api(server.url);
    const admin = await api.signIn('admin', ADMIN_PASSWORD);
    const username = uniqueName();
    const [password, typo, next] = ['Sesame-Open-77', 'Sesame-Opem-78', 'Sesame-Closed-79'];
    await api.post('/v1/auth/register', { username, password });
    const user = await api.signIn(username, password);
    const { accessToken, refreshToken } = user;

    await api.post('/v1/auth/login', { login: username, password: typo });
    await api.post('/v1/auth/login', undefined, { raw: `{"login":"${username}","password":"${password}"` });
    await api.post('/v1/auth/login', { login: username, password, [password]: 1 });
    await api.post('/v1/auth/login', undefined, { raw: password, headers: { 'content-type': 'text/plain' } });
    await api.as(user).get(`/v1/users/me?access_token=${accessToken}&password=${password}`);
    await api.get(`/v1/resources?cursor=${refreshToken}`);
    await api.as(user).get(`/v1/resources?cursor=${refreshToken}`);
    await api.get(`/nowhere?token=${accessToken}#${password}`);
    await api.get('/v1/users/me', { headers: { authorization: `Basic ${password}`, cookie: `token=${refreshToken}` } });
    await api.get('/v1/users/me', { headers: { authorization: `Bearer ${accessToken}x`, 'x-api-key': password } });
    const refreshed = (await api.post('/v1/auth/refresh', { refreshToken })).body;
    await api.as(user).post('/v1/auth/password', { currentPassword: password, newPassword: next });
    await logged(await api.as(admin).patch(`/v1/users/${username}`, { password }));

    expect(server.output.match(/"msg":"request"/g)?.length).toBeGreaterThan(12);
    expect(
      leaks({
        ...{ password, typo, next, adminPassword: ADMIN_PASSWORD, secretKey: SECRET_KEY },
        ...{ accessToken, refreshToken, adminToken: admin.accessToken },
        signature: accessToken.split('.')[2] ?? '',
        refreshedToken: refreshed.accessToken,
        anyRefreshToken: 'qmr_',
        databasePassword: new URL(database.url).password,
        anyPasswordHash: '$argon2',
      }),
    ).toEqual([]);
  });

  /** Returns the log line of a response. */
  async function lineOf(answer: Answer): Promise<any> {
    await logged(answer);
    const id = answer.headers.get('x-request-id') ?? 'none';
    const line = server.output.split('\n').find((each) => each.includes(`"${id}"`) && each.includes('"request"'));
    return JSON.parse(line ?? '{}');
  }

  test('rejected call: records the code, the key, its owner and the violated limit, but no secret', async () => {
    const api = new Api(server.url);
    const owner = await api.createUser();
    const other = await api.createApi();
    const key = await api.as(owner).createKey({ scopes: ['api1'], limits: [{ meter: 'api:api1', limit: 1 }] });
    const post = (headers: Record<string, string>): Promise<Answer> =>
      api.send('POST', '/call/api1', {}, { headers: { 'x-api-key': key.key, ...headers } });
    const who = { key: key.id, owner: owner.id };
    const violated = [
      { scope: 'key', meter: 'api:api1', window: 'lifetime', limit: 1, used: 1, remaining: 0, resetsAt: null },
    ];
    const granted = await lineOf(await api.call('api1', key));
    expect(granted).toMatchObject({ level: 20, status: 200, ...who });
    expect(granted).not.toHaveProperty('code');
    const verify = (body: object): Promise<Answer> => api.post('/v1/verify', { key: key.key, api: 'api1', ...body });
    for (const [answer, line] of [
      [await api.call('api1', key), { status: 429, code: 'quota_exceeded', ...who, violated }],
      [await post({ 'idempotency-key': 'a' }), { status: 429, code: 'quota_exceeded', ...who, violated }],
      [await api.call(other, key), { status: 403, code: 'scope_denied', ...who }],
      [await api.call('nosuchapi', key), { status: 404, code: 'not_found', ...who }],
      [await api.call('api1', { key: `${key.key}x` }), { status: 401, code: 'invalid_api_key' }],
      [await api.get('/call/api1'), { status: 401, code: 'unauthenticated' }],
      [await verify({}), { status: 200, code: 'quota_exceeded', ...who, violated }],
      [await verify({ api: other }), { status: 200, code: 'scope_denied', ...who }],
      [await verify({ key: 'qm_wrong' }), { status: 200, code: 'invalid_api_key' }],
      [await api.as(owner).get('/v1/users'), { status: 403, code: 'forbidden', user: owner.id }],
    ] as const) {
      expect(await lineOf(answer)).toMatchObject({ level: 30, ...line });
    }
    // A dry run is not logged as a rejection.
    expect(await lineOf(await verify({ dryRun: true }))).toMatchObject({ level: 20, status: 200, ...who });
    await api.as(await api.signIn('admin', ADMIN_PASSWORD)).put(`/v1/users/${owner.id}/quotas/resources`, { limit: 0 });
    const resource = await lineOf(await api.as(owner).post('/v1/resources', { value: 'x' }));
    expect(resource).toMatchObject({
      ...{ level: 30, status: 403, code: 'quota_exceeded', user: owner.id },
      violated: [{ scope: 'user', meter: 'resources', limit: 0, used: 0 }],
    });
    expect(leaks({ key: key.key, token: owner.accessToken })).toEqual([]);
  });

  test('X-Forwarded-For: records only valid addresses', async () => {
    const trusting = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'info', TRUST_PROXY: 'loopback' });
    const api = new Api(trusting.url);
    try {
      for (const [sent, address] of [
        ['203.0.113.7:51234', '203.0.113.7'],
        ['garbage', undefined],
        ['x'.repeat(2_000), undefined],
        ['203.0.113.7, 127.0.0.1:8080', '203.0.113.7'],
      ]) {
        const answer = await api.get('/v1/users/me', { headers: { 'x-forwarded-for': sent! } });
        const id = answer.headers.get('x-request-id') ?? 'none';
        await until(() => trusting.output.includes(`"${id}"`));
        const line = trusting.output.split('\n').find((each) => each.includes(`"${id}"`));
        expect([sent, JSON.parse(line ?? '{}').ip]).toEqual([sent, address]);
      }
    } finally {
      await trusting.stop();
    }
  });

  test('database error: contains no value of the failed statement', async () => {
    const api = new Api(server.url);
    const [username, password, next] = [uniqueName(), 'Sesame-Open-87', 'Sesame-Closed-89'];
    const admin = await api.signIn('admin', ADMIN_PASSWORD);
    await api.post('/v1/auth/register', { username, password });
    const user = await api.signIn(username, password);
    // From here on the tables reject every write.
    for (const table of ['users', 'sessions', 'resources']) {
      await query(database.url, `ALTER TABLE ${table} ADD CONSTRAINT broken CHECK (false) NOT VALID`);
    }
    const newcomer = { username: uniqueName(), email: 'private@example.com', password };
    const faults = [
      await api.post('/v1/auth/register', newcomer),
      await api.as(admin).patch(`/v1/users/${username}`, { password: next }),
      await api.as(user).patch('/v1/users/me', { firstName: 'Adelheid' }),
      await api.post('/v1/auth/refresh', { refreshToken: user.refreshToken }),
      await api.as(user).post('/v1/resources', { value: 'Sesame-value-80' }),
      await api.post('/v1/auth/login', { login: username, password }),
    ];
    for (const answer of faults) {
      expectProblem(answer, 500, 'internal_error');
      await logged(answer);
    }
    for (const { body } of faults) expect(server.output).toContain(`"reqId":"${body.requestId}","err"`);
    expect(
      leaks({
        ...{ password, next, accessToken: user.accessToken, refreshToken: user.refreshToken },
        anyRefreshToken: 'qmr_',
        anyPasswordHash: '$argon2',
        resource: 'Sesame-value-80',
        email: newcomer.email,
        name: 'Adelheid',
      }),
    ).toEqual([]);
  });
});
