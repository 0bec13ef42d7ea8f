import { spawn } from 'node:child_process';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { Api, sendExactly, sharedApi } from './support/api.js';
import { exchange, keptConnections } from './support/exchange.js';
import { SECRET_KEY, TestServer, createDatabase, query } from './support/server.js';
import { until } from './support/until.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Regression tests for attacks that succeeded against an earlier version. */
describe('Known attacks', () => {
  const api = sharedApi();

  test.each([
    ['of many unknown members', Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`m${i}`, 1]))],
    [
      'of many members in one',
      { login: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [i, 1])), password: 'x' },
    ],
  ])('POST /v1/auth/login with a body %s: 400 with one error, before members are validated', async (_name, body) => {
    const answer = await api.post('/v1/auth/login', body);
    expect(answer.status).toBe(400);
    expect(answer.body.errors).toEqual([{ pointer: '', detail: expect.stringContaining('members') }]);
  });

  test('POST /v1/auth/login with 1,500 unknown members: 400 with 100 errors', async () => {
    const body = Object.fromEntries(Array.from({ length: 1_500 }, (_, i) => [`m${i}`, 1]));
    expect((await api.post('/v1/auth/login', body)).body.errors).toHaveLength(100);
  });

  test('GET /v1/users/me with a suffix after the token, or spare bits in its signature: 401', async () => {
    const user = await api.createUser();
    const { accessToken } = user;
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = letters.indexOf(accessToken.slice(-1));
    const spare = accessToken.slice(0, -1) + letters.charAt(last ^ 1);
    for (const token of [`${accessToken} junk`, `${accessToken}\tjunk`, `${accessToken}=`, spare]) {
      const answer = await new Api(api.url, token).get('/v1/users/me');
      expect({ token, status: answer.status }).toEqual({ token, status: 401 });
    }
    expect((await api.as(user).get('/v1/users/me')).status).toBe(200);
  });

  test('a request target in absolute form: the problem does not contain its host', async () => {
    const { port } = new URL(api.url);
    const socket = net.connect(Number(port), '127.0.0.1');
    socket.end('GET http://evil.example/nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toContain('"instance":"/nope"');
    expect(text).not.toContain('evil');
  });

  test('POST /v1/auth/register: email_taken for another form of the same e-mail, validation_failed for unsafe characters', async () => {
    const name = `x${Date.now().toString(36)}`;
    const register = (email: string) => api.post('/v1/auth/register', { email, password: 'Unguessable-7' });
    expect((await register(`${name}é@exämple.org`.normalize('NFC'))).status).toBe(201);
    expect((await register(`${name}é@exämple.org`.normalize('NFD'))).body.code).toBe('email_taken');
    expect((await register(`${name}É@xn--exmple-cua.org`)).body.code).toBe('email_taken');
    for (const email of [`${name}\u200b@example.org`, `"${name}\r\nb"@example.org`, `"${name},b"@example.org`]) {
      expect((await register(email)).body.code).toBe('validation_failed');
    }
    expect((await api.signIn(`${name}É@EXÄMPLE.org`, 'Unguessable-7')).user.id).toEqual(expect.any(String));
  });
});

describe('On a separate server', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(async () => {
    await database.drop();
  });

  test('POST /v1/resources while all database connections are terminated: 201 or database_unavailable', async () => {
    const server = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'silent' });
    const api = new Api(server.url);
    const user = api.as(await api.createUser());
    const state = { loading: true };
    const codes = new Set<string>();
    const load = Array.from({ length: 32 }, async () => {
      while (state.loading) {
        const { status, body } = await user.post('/v1/resources', { value: 'x' });
        codes.add(status === 201 ? 'created' : body.code);
      }
    });
    for (let i = 0; i < 6; i++) {
      await sleep(100);
      await query(
        database.url,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'quartermaster' AND datname = current_database()`,
      );
    }
    state.loading = false;
    await Promise.all(load);
    expect([...codes].filter((code) => code !== 'created' && code !== 'database_unavailable')).toEqual([]);
    expect((await user.get('/v1/users/me')).status).toBe(200);
    expect(await server.stop()).toBe(0);
  });

  test('POST /v1/resources: 503 overloaded after the statement timeout, without effect on other users', async () => {
    const server = await TestServer.start({
      DATABASE_URL: database.url,
      LOG_LEVEL: 'silent',
      // Also the limit of an idle transaction, which a server on a loaded machine can exceed if this is short.
      DATABASE_STATEMENT_TIMEOUT: '3000',
    });
    const api = new Api(server.url);
    const [blocked, free] = [await api.createUser(), await api.createUser()];
    for (const user of [blocked, free]) await api.as(user).post('/v1/resources', { value: 'x' });
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM gauges WHERE owner_id = $1 FOR UPDATE', [blocked.id]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => api.as(blocked).post('/v1/resources', { value: 'x' })),
    );
    expect(new Set(answers.map(({ status, body }) => `${status} ${String(body.code)}`))).toEqual(
      new Set(['503 overloaded']),
    );
    expect(answers[0]?.headers.get('retry-after')).toBe('1');
    expect((await api.as(free).get('/v1/users/me')).status).toBe(200);
    await holder.end();
    expect((await api.as(blocked).post('/v1/resources', { value: 'x' })).status).toBe(201);
    expect(await server.stop()).toBe(0);
  });

  test('SIGTERM to npm, the shell and the server: accepted requests get their response', async () => {
    const npm = spawn('npm', ['start'], {
      cwd: ROOT,
      detached: true,
      env: {
        ...process.env,
        PORT: '0',
        DATABASE_URL: database.url,
        LOG_LEVEL: 'silent',
        SECRET_KEY,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    const url = await new Promise<string>((resolve) => {
      npm.stdout.on('data', (chunk: Buffer) => {
        output += String(chunk);
        const match = /listens on (http:[^\s"]+)/.exec(output);
        if (match?.[1]) resolve(match[1]);
      });
    });
    const api = new Api(url);
    const user = await api.post('/v1/auth/register', {
      username: `g${Date.now().toString(36)}`,
      password: 'Unguessable-7',
    });
    const agent = keptConnections(40);
    const login = {
      ...{ method: 'POST', path: '/v1/auth/login', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify({ login: user.body.username, password: 'Unguessable-7' }),
    };
    let answered = 0;
    const logins = Array.from({ length: 40 }, async () => {
      const { status } = await exchange(url, login, agent);
      answered++;
      return status;
    });
    // Waits until all requests are sent, because the server may close a connection without a request. Connections are
    // accepted in order, so all are accepted once a later one gets its response.
    await until(() => {
      const sockets = Object.values(agent.sockets).flatMap((some) => some ?? []);
      return answered + sockets.filter(({ bytesWritten }) => bytesWritten > 0).length >= 40;
    });
    expect((await sendExactly(api, 'GET', '/livez')).status).toBe(200);
    process.kill(-npm.pid!, 'SIGTERM');
    expect(new Set(await Promise.all(logins))).toEqual(new Set([200]));
    await new Promise((resolve) => npm.stdout.once('close', resolve));
    agent.destroy();
  });
});
