import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { Api, isMetered, listBodies, listOperations, sendExactly, type Account } from './support/api.js';
import { Fleet, expectDone } from './support/fleet.js';
import { load, write } from './support/load.js';
import { platformMetrics, staleReads } from './support/metrics.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { until } from './support/until.js';

interface Requests {
  total: number;
  errors: number;
}

/** Returns the request counts of a user, read by an administrator. */
async function of(admin: Api, user: string): Promise<Requests> {
  return expectDone(await admin.get(`/v1/metrics/users/${user}`)).body.requests;
}

/** Returns the counts of all requests, without those that read stale numbers. */
async function ofAll(admin: Api): Promise<Requests> {
  const { requests } = await platformMetrics(admin);
  return { ...requests, total: requests.total - staleReads() };
}

/** Returns the counts of a route: all requests, client errors, server errors. */
async function ofRoute(admin: Api, method: string, route: string): Promise<[number, number, number]> {
  const { data } = expectDone(await admin.get('/v1/metrics/routes')).body;
  const found = data.find((each: any) => each.method === method && each.route === route);
  return found === undefined ? [0, 0, 0] : [found.requests, found.clientErrors, found.serverErrors];
}

describe('a request', () => {
  let fleet: Fleet;
  let admin: Api;
  let user: Account;

  beforeAll(async () => {
    fleet = await Fleet.start(1);
    admin = fleet.admin();
  });

  beforeEach(async () => {
    user = await admin.createUser();
  });

  afterAll(async () => {
    await fleet.stop();
  });

  /** Returns by how much the counts of the user rise during `work`. */
  async function counted(work: () => Promise<unknown>): Promise<[total: number, errors: number]> {
    const before = await of(admin, user.id);
    await work();
    const after = await of(admin, user.id);
    return [after.total - before.total, after.errors - before.errors];
  }

  test('any route, any status: counted once for its caller', async () => {
    const mine = admin.as(user);
    const bodies = await listBodies(admin);
    const forCallers = (await listOperations(admin)).filter(
      ({ id, path, declared }) =>
        (declared.security?.length ?? 0) > 0 && !isMetered(path) && !/logout|sessions\/|password/.test(id),
    );
    const ids = forCallers.map(({ id }) => id);
    expect(ids).toEqual(
      expect.arrayContaining(['POST /v1/store/write', 'GET /v1/store/{key}', 'GET /v1/users', 'POST /v1/tasks']),
    );
    const wrong: unknown[] = [];
    for (const { id, method, path } of forCallers) {
      const sent = path.replaceAll('{user}', 'me').replaceAll(/\{\w+\}/g, '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c');
      let status = 0;
      const [total, errors] = await counted(async () => {
        // A body that no route accepts.
        ({ status } = await mine.send(method, sent, bodies.has(id) ? { of: 'no use' } : undefined));
      });
      if (total !== 1 || errors !== (status >= 400 ? 1 : 0)) wrong.push({ id, status, total, errors });
    }
    expect(wrong).toEqual([]);
    expect(forCallers.length).toBeGreaterThan(40);
  });

  test('rejected by a guard or a pipe: counted as an error for an authenticated caller', async () => {
    const mine = admin.as(user);
    expect(
      await counted(async () => {
        expect((await mine.get('/v1/users')).status).toBe(403);
        expect((await mine.get('/v1/users/admin')).status).toBe(403);
        expect((await mine.get('/v1/resources/019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c')).status).toBe(404);
        expect((await mine.get('/v1/resources?limit=0')).status).toBe(400);
        expect((await mine.post('/v1/resources', { value: 1 })).status).toBe(400);
        expect((await mine.get('/v1/resources')).status).toBe(200);
      }),
    ).toEqual([6, 5]);
    // Unauthenticated requests count only in the totals.
    const before = await ofAll(admin);
    const route = await ofRoute(admin, 'GET', '/v1/users/:user');
    expect((await new Api(admin.url).get('/v1/users/me')).status).toBe(401);
    expect((await new Api(admin.url, 'no.token.either').get('/v1/users/me')).status).toBe(401);
    // Malformed JSON is rejected before authentication.
    expect((await mine.post('/v1/resources', undefined, { raw: '{' })).status).toBe(400);
    const [total, errors] = await ofRoute(admin, 'GET', '/v1/users/:user');
    expect([total - route[0], errors - route[1]]).toEqual([2, 2]);
    // Includes the four requests that read the counts.
    const after = await ofAll(admin);
    expect([after.total - before.total, after.errors - before.errors]).toEqual([6, 3]);
  });

  test('with an API key: counted for the owner; with an invalid key: for no user', async () => {
    const key = await admin.as(user).createKey();
    const anybody = new Api(admin.url);
    await fleet.setQuota(user.id, 'api:api2', 0);
    const route = await ofRoute(admin, 'GET', '/call/:slug');
    expect(
      await counted(async () => {
        expect((await anybody.call('api1', key)).status).toBe(200);
        expect((await anybody.call('api2', key)).status).toBe(429);
        expect((await anybody.call('nothing', key)).status).toBe(404);
        const once = { headers: { 'idempotency-key': 'once' } };
        expect((await anybody.call('api1', key, once)).status).toBe(200);
        expect((await anybody.call('api1', key, once)).headers.get('idempotency-replayed')).toBe('true');
        expect((await anybody.call('api1', { key: 'qm_none' })).status).toBe(401);
        expect((await anybody.call('api1/below', key)).status).toBe(200);
      }),
    ).toEqual([6, 2]);
    const [total, errors] = await ofRoute(admin, 'GET', '/call/:slug');
    expect([total - route[0], errors - route[1]]).toEqual([6, 3]);
    expect((await ofRoute(admin, 'GET', '/call/:slug/*'))[0]).toBeGreaterThanOrEqual(1);
  });

  test('to the store: counted under its routes', async () => {
    const mine = admin.as(user);
    expect(
      await counted(async () => {
        expectDone(await mine.post('/v1/store/write', { entries: [{ key: 'a', value: 1 }] }));
        expectDone(await mine.get('/v1/store/a'));
        expect((await mine.get('/v1/store/b')).status).toBe(404);
        expect((await mine.put('/v1/store/a', undefined, { raw: 'no json' })).status).toBe(400);
      }),
    ).toEqual([4, 2]);
    const { data } = expectDone(await admin.get('/v1/metrics/routes')).body;
    const routes = data.map(({ method, route }: any) => `${method} ${route}`);
    expect(routes).toEqual(
      expect.arrayContaining(['POST /v1/store/write', 'PUT /v1/store/:key', 'GET /v1/store/:key']),
    );
  });

  test('to an unknown path, or with an unsupported method: counted as (unmatched)', async () => {
    const before = await ofRoute(admin, '*', '(unmatched)');
    const mine = admin.as(user);
    for (const path of ['/nowhere/', '/nowhere', `/nowhere/${user.id}`, '/v1', '/v2/users', '/livez/x', '/metrics/x']) {
      expect((await mine.get(path)).status).toBe(404);
    }
    expect((await mine.put('/v1/users')).status).toBe(405);
    expect((await mine.post('/livez')).status).toBe(405);
    const after = await ofRoute(admin, '*', '(unmatched)');
    expect(after.map((count, i) => count - before[i]!)).toEqual([9, 9, 0]);
    const { data } = expectDone(await admin.get('/v1/metrics/routes')).body;
    expect(data.filter(({ route }: any) => !/^\/(v1|call|\.well-known)\/|^\(unmatched\)$/.test(route))).toEqual([]);
  });

  test('health checks, metrics, docs and the console: not counted', async () => {
    const before = await ofAll(admin);
    const anybody = new Api(admin.url);
    for (const path of [
      '/',
      '/livez',
      '/readyz',
      '/metrics',
      '/openapi.json',
      '/docs',
      '/docs/none.js',
      '/console',
      '/console/x',
    ]) {
      for (const method of ['GET', 'HEAD']) await sendExactly(anybody, method, path);
    }
    // Includes the request that reads the counts.
    expect(await ofAll(admin)).toEqual({ total: before.total + 1, errors: before.errors });
  });

  test('of a user deleted before the flush: the flush succeeds, and the totals keep the request', async () => {
    const other = await admin.createUser();
    const before = await ofAll(admin);
    const mine = await of(admin, user.id);
    for (const each of [user, other, user, other, user]) expectDone(await admin.as(each).get('/v1/users/me'));
    // Deletes in SQL: a request to the API could flush the counts first.
    await fleet.query('DELETE FROM users WHERE id = $1', [other.id]);
    expect((await of(admin, user.id)).total).toBe(mine.total + 3);
    const after = await ofAll(admin);
    // Includes the three requests that read the counts.
    expect(after).toEqual({ total: before.total + 8, errors: before.errors });
    expectDone(await admin.delete(`/v1/users/${user.id}`));
    expect((await ofAll(admin)).total).toBe(after.total + 2);
  });

  test('totals, routes and users: the sums agree', async () => {
    await load(
      fleet.servers,
      8,
      (() => {
        let left = 200;
        const headers = { authorization: `Bearer ${user.accessToken}` };
        return () => {
          if (left-- <= 0) return undefined;
          const path = ['/v1/users/me', '/v1/users', '/v1/resources', '/nowhere'][left % 4]!;
          return { text: write('GET', path, headers), heard: () => true };
        };
      })(),
    );
    const { total, errors } = await of(admin, user.id);
    expect([total, errors]).toEqual([150, 50]);
    // The reading request is counted too, and may be flushed before the sums are read; then both are read again.
    await until(async () => {
      const all = await ofAll(admin);
      const [sums] = await fleet.query(`SELECT sum(requests)::int AS total,
        sum(requests) FILTER (WHERE status >= 4)::int AS errors,
        (SELECT sum(total)::int FROM request_counts) AS users FROM request_routes`);
      expect(sums.users).toBeLessThan(all.total);
      return sums.total === all.total && sums.errors === all.errors;
    });
  });

  // Last: the server may count an aborted request at any later time.
  test('aborted by its client: counted', async () => {
    const before = await of(admin, user.id);
    for (let i = 0; i < 5; i++) {
      const aborted = new AbortController();
      const sent = fetch(`${admin.url}/v1/users/me`, {
        headers: { authorization: `Bearer ${user.accessToken}` },
        signal: aborted.signal,
      });
      setImmediate(() => aborted.abort());
      await sent.then((answer) => answer.text()).catch(() => undefined);
    }
    expectDone(await admin.as(user).get('/v1/users/me'));
    const after = await of(admin, user.id);
    expect(after.errors).toBe(before.errors);
    expect(after.total - before.total).toBeGreaterThanOrEqual(1);
    expect(after.total - before.total).toBeLessThanOrEqual(6);
  });

  test('server logs contain no error after these tests', () => {
    for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
  });
});

describe('counts in memory', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;

  beforeEach(async () => {
    database = await createDatabase();
  });

  afterEach(async () => {
    await database.drop();
  });

  const TOTALS = `
    SELECT (SELECT total::int FROM request_totals) AS total, (SELECT errors::int FROM request_totals) AS errors,
      (SELECT sum(requests)::int FROM request_routes) AS routes, (SELECT sum(total)::int FROM request_counts) AS users`;

  test.each([1, 2])('server stops: all counts are flushed (WORKERS=%d)', async (workers) => {
    const env = { DATABASE_URL: database.url };
    const start = (): Promise<TestServer> =>
      workers === 1 ? TestServer.start(env) : TestServer.spawn({ ...env, WORKERS: String(workers) });
    const server = await start();
    const { token } = await new Api(server.url).admin();
    const headers = { authorization: `Bearer ${String(token)}` };
    let left = 500;
    await load([server], 16, () => {
      if (left-- <= 0) return undefined;
      return { text: write('GET', left % 5 === 0 ? '/nowhere' : '/v1/users/me', headers), heard: () => true };
    });
    expect(await server.stop()).toBe(0);
    const [totals] = await query(database.url, TOTALS);
    // Includes the sign-in.
    expect(totals).toEqual({ total: 501, errors: 100, routes: 501, users: 400 });
    const next = await TestServer.start({ DATABASE_URL: database.url });
    try {
      const admin = new Api(next.url, token);
      expect(await of(admin, 'me')).toEqual({ total: 400, errors: 0 });
      expect((await ofAll(admin)).errors).toBe(100);
    } finally {
      await next.stop();
    }
  });

  test('REQUEST_STATISTICS=off: nothing is counted', async () => {
    const server = await TestServer.start({ DATABASE_URL: database.url, REQUEST_STATISTICS: 'off' });
    try {
      const admin = await new Api(server.url).admin();
      const key = await admin.createKey();
      for (let i = 0; i < 3; i++) expectDone(await new Api(server.url).call('api1', key));
      expect((await admin.get('/nowhere')).status).toBe(404);
      expect(await ofAll(admin)).toEqual({ total: 0, errors: 0 });
      expect(await of(admin, 'me')).toEqual({ total: 0, errors: 0 });
      expect((await admin.get('/v1/metrics/routes')).body.data).toEqual([]);
      expect((await admin.get('/v1/metrics/top?by=requests')).body.data).toEqual([]);
      // The ledger is kept regardless of the setting.
      expect((await platformMetrics(admin)).calls).toEqual({ granted: 3, denied: 0 });
      expect((await admin.get('/metrics')).text).not.toMatch(/^quartermaster_http_requests_total\{/m);
    } finally {
      expect(await server.stop()).toBe(0);
    }
    expect(await query(database.url, 'SELECT FROM request_routes')).toEqual([]);
  });
});

/** Connection attempts that include several of the flush: every loop of the server connects each second. */
const TRIES = 20;

/**
 * Replaces a stopped PostgreSQL: accepts connections and closes each at its first statement, by which a server reads
 * the connection settings. Resolves after `TRIES` attempts.
 */
async function failsToWrite(databaseUrl: string): Promise<void> {
  const { searchParams, port } = new URL(databaseUrl);
  let tries = 0;
  const away = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      // AuthenticationOk and ReadyForQuery.
      socket.write(Buffer.from('5200000008000000005a0000000549', 'hex'));
      socket.once('data', () => {
        tries++;
        socket.destroy();
      });
    });
  });
  away.listen(join(searchParams.get('host') ?? '', `.s.PGSQL.${port || '5432'}`));
  await once(away, 'listening');
  await until(() => tries >= TRIES);
  away.close();
  await once(away, 'close');
}

test('PostgreSQL unavailable: no count is lost, and none is flushed twice', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'quartermaster-statistics-'));
  await chmod(folder, 0o755);
  const dataDir = join(folder, 'data');
  let postgres = await EmbeddedPostgres.start({ dataDir });
  const server = await TestServer.start({ DATABASE_URL: postgres.url });
  try {
    const admin = await new Api(server.url).admin();
    const user = await admin.createUser();
    const [before, mine] = [await ofAll(admin), await of(admin, user.id)];
    const asked = { total: 0, errors: 0 };
    const ask = async (path: string, status: number): Promise<void> => {
      expect((await admin.as(user).get(path)).status).toBe(status);
      asked.total++;
      if (status >= 400) asked.errors++;
    };
    for (let i = 0; i < 5; i++) await ask('/v1/users/me', 200);
    await postgres.stop();
    for (let i = 0; i < 20; i++) await ask('/v1/users/me', 503);
    for (let i = 0; i < 20; i++) await ask('/nowhere', 404);
    await failsToWrite(postgres.url);
    for (let i = 0; i < 5; i++) await ask('/nowhere', 404);
    postgres = await EmbeddedPostgres.start({ dataDir });
    await until(async () => (await admin.get('/readyz')).status === 200);
    for (let i = 0; i < 5; i++) await ask('/v1/users/me', 200);
    const after = await ofAll(admin);
    // Includes the two requests that read the counts before.
    expect(after).toEqual({ total: before.total + asked.total + 2, errors: before.errors + asked.errors });
    // Without the database the caller is unknown, so these requests count only in the totals.
    expect(await of(admin, user.id)).toEqual({ total: mine.total + 10, errors: mine.errors });
    const { data } = (await admin.get('/v1/metrics/routes')).body;
    expect(data.find(({ route, method }: any) => route === '/v1/users/:user' && method === 'GET')).toMatchObject({
      serverErrors: 20,
    });
  } finally {
    await server.stop();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});
