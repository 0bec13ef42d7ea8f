import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Api, expectProblem } from './support/api.js';
import {
  ADMIN_PASSWORD,
  SECRET_KEY,
  TestServer,
  command,
  createDatabase,
  inherited,
  type Ended,
} from './support/server.js';
import { isAlive } from './support/processes.js';
import { enableTotp } from './support/totp.js';
import { until } from './support/until.js';

const MAIN = fileURLToPath(new URL('../dist/src/cli/main.js', import.meta.url));

type Database = Awaited<ReturnType<typeof createDatabase>>;

/** Runs `quartermaster admin` in its own process. @param piped text for its standard input */
async function adminProgram(env: Record<string, string>, args: string[], piped: string): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, 'admin', ...args], {
    env: { ...inherited(), SECRET_KEY, ARGON2_MEMORY: '1024', ARGON2_PASSES: '1', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.end(piped);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: code as number | null, stdout, stderr };
}

function printedPassword({ stdout }: Ended): string {
  return /^ {2}password {2}(\S+)$/m.exec(stdout)?.[1] ?? '';
}

describe('Admin commands on an external database', () => {
  let database: Database;
  let server: TestServer;
  let api: Api;
  const env = (): Record<string, string> => ({ DATABASE_URL: database.url });

  beforeEach(async () => {
    database = await createDatabase();
    server = await TestServer.start(env());
    api = new Api(server.url);
  });

  afterEach(async () => {
    await server.stop();
    await database.drop();
  });

  test('reset-password without a user: sets a random password for the only administrator and ends its sessions', async () => {
    const session = await api.signIn('admin', ADMIN_PASSWORD);
    const ended = await command(env(), ['admin', 'reset-password']);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    const password = printedPassword(ended);
    expect(password.length).toBeGreaterThanOrEqual(20);
    expect(ended.stdout).toContain('The password of admin is set; sessions ended: 1.');
    expectProblem(await api.as(session).get('/v1/users/me'), 401, 'invalid_token');
    expectProblem(
      await api.post('/v1/auth/login', { login: 'admin', password: ADMIN_PASSWORD }),
      401,
      'invalid_credentials',
    );

    const me = api.as(await api.signIn('admin', password));
    const { body } = await me.get('/v1/audit?action=password.reset');
    expect(body.data).toMatchObject([
      {
        ...{ actor: null, requestId: null, ip: null, target: (await me.get('/v1/users/me')).body.id },
        changes: { password: {}, endedSessions: { to: 1 }, with: { to: 'command line' } },
      },
    ]);
    expect(JSON.stringify(body)).not.toContain(password);
    expect((await me.get('/v1/audit/verify')).body.ok).toBe(true);
  });

  test('reset-password with a user and a piped password: sets that password', async () => {
    const user = await api.createUser();
    const args = ['reset-password', user.username.toUpperCase()];
    expect(await adminProgram(env(), args, 'Piped-In-17\r\n')).toEqual({
      ...{ code: 0, stderr: '', stdout: `The password of ${user.username} is set; sessions ended: 1.\n` },
    });
    await api.signIn(user.username, 'Piped-In-17');
  });

  test('reset-password while standard input stays open: says that it reads the password there', async () => {
    const child = spawn(process.execPath, [MAIN, 'admin', 'reset-password'], {
      env: { ...inherited(), SECRET_KEY, ARGON2_MEMORY: '1024', ARGON2_PASSES: '1', ...env() },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const [notice] = (await once(child.stderr, 'data')) as [Buffer];
    expect(notice.toString()).toBe('Reading the new password from standard input.\n');
    child.stdin.end('Quarter-Master-4\n');
    expect(await text(child.stdout)).toContain('The password of admin is set');
    await api.signIn('admin', 'Quarter-Master-4');
  });

  test('disable-totp: turns two-factor sign-in off; exit code 1 when it is already off', async () => {
    const session = await api.signIn('admin', ADMIN_PASSWORD);
    await enableTotp(api, { ...session, id: session.user.id, username: 'admin', password: ADMIN_PASSWORD });
    expectProblem(await api.post('/v1/auth/login', { login: 'admin', password: ADMIN_PASSWORD }), 401, 'totp_required');
    expect(await command(env(), ['admin', 'disable-totp'])).toEqual({
      ...{ code: 0, stdout: 'Two-factor sign-in of admin is off.\n', stderr: '' },
    });
    const me = api.as(await api.signIn('admin', ADMIN_PASSWORD));
    expect((await me.get('/v1/audit?action=totp.disable')).body.data).toMatchObject([
      { actor: null, changes: { with: { to: 'command line' } } },
    ]);
    expect(await command(env(), ['admin', 'disable-totp'])).toEqual({
      ...{ code: 1, stdout: '', stderr: 'admin has no two-factor sign-in.\n' },
    });
  });

  test('bad arguments, passwords, keys or databases: exit code 1 or 2 with one line on stderr, and no change', async () => {
    const second = await api.createUser({ role: 'admin' });
    const lines = [
      await command(env(), ['admin']),
      await command(env(), ['admin', 'reset-pasword']),
      await command(env(), ['admin', 'reset-password', 'admin', 'and-more']),
      await command(env(), ['admin', 'reset-password', 'nobody']),
      await command(env(), ['admin', 'reset-password']),
      await command(env(), ['admin', 'reset-password', 'admin'], 'weak'),
      await command(env(), ['admin', 'reset-password', 'admin'], 'Quarter-Master-3\nsecond'),
      await command({ ...env(), SECRET_KEY: SECRET_KEY.toUpperCase() }, ['admin', 'reset-password', 'admin']),
      await command({ DATABASE_URL: 'postgresql://me@127.0.0.1:1/x' }, ['admin', 'reset-password']),
    ];
    expect(lines.map(({ stdout }) => stdout)).toEqual(lines.map(() => ''));
    expect(lines.map(({ code }) => code)).toEqual([2, 2, 2, 1, 1, 1, 2, 1, 1]);
    expect(lines.map(({ stderr }) => stderr)).toEqual([
      'A command is missing. See quartermaster --help.\n',
      "Unknown command 'reset-pasword' (Did you mean reset-password?) See quartermaster --help.\n",
      expect.stringMatching(/^Too many arguments for 'reset-password'. .+\n$/),
      'There is no user "nobody".\n',
      `There are several administrators: name one (admin, ${second.username}).\n`,
      expect.stringMatching(/^The password must have 8 to 64 characters, .+ digit.+\n$/),
      'The password must be one line of valid UTF-8, without control characters.\n',
      'SECRET_KEY is not the one this database was set up with.\n',
      expect.stringMatching(/^The database of DATABASE_URL cannot be reached: .+\n$/),
    ]);
    await api.signIn('admin', ADMIN_PASSWORD);
  });

  test('reset-password on a database without tables: one line that asks to start the server first', async () => {
    const empty = await createDatabase({ isEmpty: true });
    expect((await command({ DATABASE_URL: empty.url }, ['admin', 'reset-password'])).stderr).toBe(
      'The database has no tables of this version. Start the server of this version first.\n',
    );
    await empty.drop();
  });
});

test('reset-password on the embedded database: works while the server runs and while it is stopped', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'quartermaster-admin-'));
  // When root starts PostgreSQL, it runs as another user, who needs access to this folder.
  await chmod(folder, 0o755);
  const env = { DATA_DIR: folder, SECRET_KEY: '' };
  try {
    expect((await command(env, ['admin', 'reset-password'])).stderr).toMatch(/^.+ there is no .+ in .+\n$/);
    expect(await readdir(folder)).toEqual([]);

    let server = await TestServer.start(env);
    const running = await command(env, ['admin', 'reset-password']);
    expect(running).toMatchObject({ code: 0, stderr: '' });
    await new Api(server.url).signIn('admin', printedPassword(running));
    expect(await server.stop()).toBe(0);

    expect(await command(env, ['admin', 'reset-password'], 'While-Stopped-17')).toMatchObject({ code: 0 });
    server = await TestServer.start(env);
    await new Api(server.url).signIn('admin', 'While-Stopped-17');
    expect(await server.stop()).toBe(0);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s during a command: stops the PostgreSQL that it started',
  async (signal) => {
    const folder = await mkdtemp(join(tmpdir(), 'quartermaster-signal-'));
    // When root starts PostgreSQL, it runs as another user, who needs access to this folder.
    await chmod(folder, 0o755);
    try {
      const env = { DATA_DIR: folder };
      expect(await command(env, ['migrate', 'up'])).toMatchObject({ code: 0 });
      const child = spawn(process.execPath, [MAIN, 'admin', 'reset-password'], {
        env: { ...inherited(), SECRET_KEY, ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      // The command has connected and waits for the password.
      await once(child.stderr, 'data');
      const pid = Number.parseInt(await readFile(join(folder, 'postgres', 'postmaster.pid'), 'utf8'), 10);
      child.kill(signal);
      expect(await once(child, 'close')).toEqual([128 + constants.signals[signal], null]);
      await until(() => !isAlive(pid));
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  },
);
