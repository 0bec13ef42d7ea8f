import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { Api, expectProblem, uniqueName, type Answer } from './support/api.js';
import { isAlive } from './support/processes.js';
import { TestServer, query } from './support/server.js';
import { until } from './support/until.js';

describe('PostgreSQL unavailable', () => {
  let folder: string;
  /** Started servers, the last one first. */
  let running: { stop(): Promise<unknown> }[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quartermaster-away-'));
    await chmod(folder, 0o755);
  });

  afterEach(async () => {
    for (const each of running) await each.stop();
    running = [];
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  async function start<T extends { stop(): Promise<unknown> }>(starting: Promise<T>): Promise<T> {
    const started = await starting;
    running.unshift(started);
    return started;
  }

  const postmaster = async (dataDir: string): Promise<number> =>
    Number.parseInt(await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8'), 10);

  function expectAway(answer: Answer): void {
    expectProblem(answer, 503, 'database_unavailable');
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  }

  test('running and new requests get 503, the process stays up, and recovers when PostgreSQL returns', async () => {
    const dataDir = join(folder, 'data');
    const postgres = await start(EmbeddedPostgres.start({ dataDir }));
    const server = await start(TestServer.start({ DATABASE_URL: postgres.url }));
    const api = new Api(server.url);
    const user = await api.createUser();
    const kept = (await api.as(user).post('/v1/resources', { value: 'kept' })).body;

    // A transaction of this test locks the counter, so that the request is running when its connection is terminated.
    // It is terminated by application name: stopping PostgreSQL could end this transaction first, and the request would
    // succeed.
    const holder = new pg.Client({ connectionString: postgres.url });
    holder.on('error', () => undefined);
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM gauges FOR UPDATE');
    const underWay = api.as(user).post('/v1/resources', { value: 'lost' });
    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE wait_event_type = 'Lock' AND application_name = 'quartermaster'`;
    const url = postgres.url;
    await until(async () => (await query(url, cut)).length > 0);
    expectAway(await underWay);
    await postgres.stop();
    await holder.end().catch(() => undefined);

    for (const path of ['/readyz', '/v1/users/me', `/v1/resources/${kept.id}`, '/v1/resources']) {
      expectAway(await api.as(user).get(path));
    }
    expectAway(await api.as(user).post('/v1/resources', { value: 'x' }));
    expectAway(await api.as(user).delete(`/v1/resources/${kept.id}`));
    expectAway(await api.post('/v1/auth/login', { login: user.username, password: user.password }));
    expectAway(await api.post('/v1/auth/refresh', { refreshToken: user.refreshToken }));
    expectAway(await api.post('/v1/auth/register', { username: uniqueName(), password: user.password }));
    expect((await api.get('/livez')).status).toBe(200);
    expect((await api.get('/.well-known/jwks.json')).status).toBe(200);

    const again = await EmbeddedPostgres.start({ dataDir });
    // Stopped after the server.
    running.push(again);
    expect(again.url).toBe(url);
    expect((await api.get('/readyz')).status).toBe(200);
    expect((await api.as(user).get('/v1/resources')).body.data).toEqual([kept]);
    expect((await api.as(user).post('/v1/resources', { value: 'new' })).status).toBe(201);
    await api.signIn(user.username, user.password);
    expect(await server.stop()).toBe(0);
  });

  test('embedded PostgreSQL killed: the server restarts it and loses no acknowledged write', async () => {
    const dataDir = join(folder, 'data');
    const server = await start(TestServer.spawn({ DATA_DIR: dataDir }));
    const api = new Api(server.url);
    const user = await api.createUser();
    const created: string[] = [];
    const answers: Answer[] = [];
    const lives: number[] = [];
    const state = { loading: true };
    const failures: unknown[] = [];
    const client = async (): Promise<void> => {
      while (state.loading) {
        const answer = await api.as(user).post('/v1/resources', { value: 'x' });
        answers.push(answer);
        if (answer.status === 201) created.push(answer.body.id);
        else await sleep(50);
        lives.push((await api.get('/livez')).status);
      }
    };
    const load = Array.from({ length: 16 }, () =>
      client().catch((error: unknown) => {
        failures.push(error);
        state.loading = false;
      }),
    );
    await until(() => created.length > 100);
    const killed = await postmaster(dataDir);
    process.kill(killed, 'SIGKILL');
    await until(() => !state.loading || answers.some((answer) => answer.status === 503));
    const before = created.length;
    await until(() => !state.loading || created.length > before + 100);
    state.loading = false;
    await Promise.all(load);

    expect({ failures, exitCode: server.child.exitCode }).toEqual({ failures: [], exitCode: null });
    expect(new Set(answers.map(({ status, body }) => (status === 201 ? 201 : body.code)))).toEqual(
      new Set([201, 'database_unavailable']),
    );
    expect(answers.filter(({ status, headers }) => status === 503 && !headers.has('retry-after'))).toEqual([]);
    expect(new Set(lives)).toEqual(new Set([200]));
    expect((await api.get('/readyz')).status).toBe(200);
    expect(server.output).toMatch(/PostgreSQL stopped unexpectedly: restarting it\n[^]*PostgreSQL is back/);

    const ids = new Set<string>();
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await api.as(user).get(`/v1/resources?limit=100${cursor && `&cursor=${cursor}`}`);
      for (const { id } of body.data) ids.add(id);
      cursor = body.nextCursor;
    }
    expect(created.filter((id) => !ids.has(id))).toEqual([]);
    const { body } = await api.as(user).get('/v1/users/me/quotas');
    expect(body.data[0]).toMatchObject({ meter: 'resources', used: ids.size });

    const adopted = await postmaster(dataDir);
    expect(adopted).not.toBe(killed);
    expect(await server.stop()).toBe(0);
    // The process exists until the system has collected its exit status.
    await until(() => !isAlive(adopted));
  });
});
