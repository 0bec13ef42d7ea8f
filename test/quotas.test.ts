import { Api, expectProblem, inOne, inOneMinute, sharedApi, type Account, type Answer } from './support/api.js';
import { chargedEarlier } from './support/clock.js';
import { tally } from './support/fleet.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { until } from './support/until.js';

const api = sharedApi();

const WINDOWS = ['lifetime', 'minute', 'hour', 'day', 'month'];

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

const sql = (text: string, values: unknown[]): Promise<any[]> =>
  query(process.env.TEST_SERVER_DATABASE ?? '', text, values);

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

const put = (user: Account, meter: string, body: object): Promise<Answer> =>
  admin.put(`/v1/users/${user.id}/quotas/${meter}`, body);

const quotasOf = async (user: Account): Promise<any[]> => (await api.as(user).get('/v1/users/me/quotas')).body.data;

/** Returns the end of the current window. */
function endOf(window: string): string | null {
  const now = new Date();
  const [year, month, day, hour, minute] = [
    now.getUTCFullYear(),
    now.getUTCMonth(),
    now.getUTCDate(),
    now.getUTCHours(),
    now.getUTCMinutes(),
  ] as const;
  const ends: Record<string, number> = {
    minute: Date.UTC(year, month, day, hour, minute + 1),
    hour: Date.UTC(year, month, day, hour + 1),
    day: Date.UTC(year, month, day + 1),
    month: Date.UTC(year, month + 1),
  };
  return ends[window] === undefined ? null : new Date(ends[window]).toISOString();
}

describe('quotas of a user', () => {
  test('GET: lists every meter, with the usage even where no limit is set', async () => {
    const user = await api.createUser();
    const slug = await api.createApi();
    const key = await api.as(user).createKey();
    for (const each of [slug, slug, 'api1']) await api.call(each, key);
    await api.as(user).post('/v1/resources', { value: 'x' });
    const listed = await quotasOf(user);
    const unlimited = { window: 'lifetime', limit: null, remaining: null, resetsAt: null, scope: 'user' };
    for (const [meter, used] of [
      ['resources', 1],
      ['tasks', 0],
      ['api:*', 3],
      ['api:api1', 1],
      ['api:api2', 0],
      [`api:${slug}`, 2],
    ]) {
      expect(listed).toContainEqual({ ...unlimited, meter, used });
    }
    expect(listed.slice(0, 5).map(({ meter }) => meter)).toEqual([
      ...['resources', 'tasks', 'store.entries', 'store.bytes'],
      'api:*',
    ]);
    expect((await admin.get(`/v1/users/${user.id}/quotas`)).body.data).toEqual(
      expect.arrayContaining(listed.slice(0, 4)),
    );
  });

  test.each(WINDOWS)('PUT of a limit for a %s: includes the calls made before', (window) =>
    inOneMinute(async () => {
      const user = await api.createUser();
      const slug = await api.createApi();
      const keys = [await api.as(user).createKey(), await api.as(user).createKey()];
      for (const key of keys) expect((await api.call(slug, key)).status).toBe(200);
      await api.as(user).delete(`/v1/keys/${keys[0]!.id}`);
      const meter = `api:${slug}`;
      const set = await put(user, meter, { limit: 3, window });
      const quota = { meter, window, limit: 3, used: 2, remaining: 1, resetsAt: endOf(window), scope: 'user' };
      expect(set.body).toEqual(quota);
      expect(await quotasOf(user)).toContainEqual(quota);
      expect((await put(user, 'api:*', { limit: 4, window })).body).toMatchObject({ used: 2, remaining: 2 });
      expect((await api.call(slug, keys[1]!)).status).toBe(200);
      const refused = await api.call(slug, keys[1]!);
      expectProblem(refused, 429, 'quota_exceeded');
      expect(refused.body.violated).toEqual([{ ...quota, used: 3, remaining: 0 }]);
      expect((await api.call('api1', keys[1]!)).status).toBe(200);
      expect((await api.call('api2', keys[1]!)).body.violated).toMatchObject([{ meter: 'api:*', window, used: 4 }]);
      expect(await quotasOf(user)).toContainEqual(expect.objectContaining({ meter: 'api:*', window, used: 4 }));
    }),
  );

  test('window over: its count restarts, longer windows continue, and the ledger keeps every hour', async () => {
    const user = await api.createUser();
    const slug = await api.createApi();
    const meter = `api:${slug}`;
    const key = await api.as(user).createKey({ limits: [{ meter, limit: 1, window: 'minute' }] });
    await put(user, meter, { limit: 1, window: 'hour' });
    await put(user, 'api:*', { limit: 1, window: 'day' });
    await put(user, meter, { limit: 3 });
    const call = async (): Promise<number> => (await api.call(slug, key)).status;
    const pass = (time: string): Promise<any[]> =>
      sql(chargedEarlier('owner_id = $1', '$2::interval'), [user.id, time]);
    await inOneMinute(async () => {
      await pass('2 days');
      await sql(`UPDATE flows SET counts = '{0,0,0,0,0}', denied = 0, hour_denied = 0 WHERE owner_id = $1`, [user.id]);
      await sql('DELETE FROM usage_hours WHERE owner_id = $1', [user.id]);
      expect([await call(), await call()]).toEqual([200, 429]);
      // Moves the calls two days into the past.
      await pass('2 days');
      const windows = (await quotasOf(user)).filter((quota) => quota.meter === meter);
      expect(windows.map(({ window, used }) => [window, used])).toEqual([
        ['lifetime', 1],
        ['hour', 0],
      ]);
      expect([await call(), await call()]).toEqual([200, 429]);
      await pass('2 days');
      expect(await call()).toBe(200);
      await pass('2 days');
      const spent = await api.call(slug, key);
      expectProblem(spent, 429, 'quota_exceeded');
      expect(spent.body.violated).toMatchObject([{ window: 'lifetime', used: 3 }]);
      const hours = await sql(
        `SELECT sum(granted)::int AS granted, sum(denied)::int AS denied, count(*)::int AS hours FROM usage WHERE owner_id = $1`,
        [user.id],
      );
      expect(hours).toEqual([{ granted: 3, denied: 3, hours: 2 }]);
    });
  });

  test('PUT, DELETE: a limit that is raised, lowered or removed applies to the next call', () =>
    inOne('day', async () => {
      const user = await api.createUser();
      const slug = await api.createApi();
      const meter = `api:${slug}`;
      const key = await api.as(user).createKey();
      const call = async (): Promise<number> => (await api.call(slug, key)).status;
      await put(user, meter, { limit: 1, window: 'day' });
      expect([await call(), await call()]).toEqual([200, 429]);
      expect((await put(user, meter, { limit: 3, window: 'day' })).body).toMatchObject({ used: 1, remaining: 2 });
      expect([await call(), await call(), await call()]).toEqual([200, 200, 429]);
      expect((await put(user, meter, { limit: 2, window: 'day' })).body).toMatchObject({ used: 3, remaining: 0 });
      expect(await call()).toBe(429);
      expect((await put(user, meter, { limit: null, window: 'day' })).body).toMatchObject({
        limit: null,
        remaining: null,
      });
      expect(await call()).toBe(200);
      await put(user, meter, { limit: 0, window: 'day' });
      expect(await call()).toBe(429);
      expect((await admin.delete(`/v1/users/${user.id}/quotas/${meter}`)).status).toBe(204);
      expect(await call()).toBe(429);
      expect((await admin.delete(`/v1/users/${user.id}/quotas/${meter}?window=day`)).status).toBe(204);
      expect(await call()).toBe(200);
      expect((await quotasOf(user)).filter((quota) => quota.meter === meter)).toMatchObject([
        { window: 'lifetime', limit: null, used: 5 },
      ]);
    }));

  test('PUT: one meter may have a limit in each window', async () => {
    const user = await api.createUser();
    for (const [i, window] of WINDOWS.entries()) await put(user, 'api:api1', { limit: i * 10, window });
    const listed = (await quotasOf(user)).filter(({ meter }) => meter === 'api:api1');
    expect(listed.map(({ window, limit }) => [window, limit])).toEqual(WINDOWS.map((window, i) => [window, i * 10]));
  });

  test.each([
    ['resources', { limit: 1, window: 'day' }, '/window'],
    ['tasks', { limit: 1, window: 'month' }, '/window'],
    ['api:api1', { limit: 1, window: 'year' }, '/window'],
    ['api:api1', { limit: 1, window: 'Day' }, '/window'],
    ['api:api1', { limit: -1 }, '/limit'],
    ['api:api1', { limit: 2 ** 53 }, '/limit'],
    ['api:nosuchapi', { limit: 1 }, '/meter'],
    ['api:', { limit: 1 }, '/meter'],
    ['api:API1', { limit: 1 }, '/meter'],
    ['api', { limit: 1 }, '/meter'],
    ['api:api1%00', { limit: 1 }, '/meter'],
    ['api:api*', { limit: 1 }, '/meter'],
    ['api1', { limit: 1 }, '/meter'],
    ['*', { limit: 1 }, '/meter'],
  ])('PUT: 400 for meter %s with %p', async (meter, body, pointer) => {
    const user = await api.createUser();
    expectField(await put(user, meter, body), pointer);
    expectField(await admin.put(`/v1/platform/quotas/${meter}`, body), pointer);
    expect(await sql('SELECT FROM gauges WHERE owner_id = $1', [user.id])).toEqual([]);
    expect(await sql('SELECT FROM flows WHERE owner_id = $1', [user.id])).toEqual([]);
  });

  test('PUT: does not affect other users', async () => {
    const [one, other] = await Promise.all([api.createUser(), api.createUser()]);
    await put(one, 'api:*', { limit: 0 });
    expect((await api.call('api1', await api.as(one).createKey())).status).toBe(429);
    expect((await api.call('api1', await api.as(other).createKey())).status).toBe(200);
  });
});

describe('quotas of the platform', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: TestServer;
  let own: Api;
  let boss: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'debug' });
    own = new Api(server.url);
    boss = await own.admin();
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  const unsetAll = async (): Promise<void> => {
    for (const { meter, window } of await quotas()) await boss.delete(`/v1/platform/quotas/${meter}?window=${window}`);
  };

  afterEach(unsetAll);

  const quotas = async (): Promise<any[]> => (await boss.get('/v1/platform/quotas')).body.data;

  const set = async (meter: string, body: object): Promise<any> => {
    const answer = await boss.put(`/v1/platform/quotas/${meter}`, body);
    expect(answer.status).toBe(200);
    return answer.body;
  };

  const create = (user: Account): Promise<Answer> => own.as(user).post('/v1/resources', { value: 'x' });

  test('GET: empty until a quota is set; 403 for users', () =>
    inOne('month', async () => {
      await unsetAll();
      const user = own.as(await own.createUser());
      expect((await boss.get('/v1/platform/quotas')).body).toEqual({ data: [] });
      const quota = await set('api:api1', { limit: 5, window: 'month' });
      expect(quota).toEqual({
        ...{ meter: 'api:api1', window: 'month', limit: 5, used: 0, remaining: 5 },
        ...{ resetsAt: endOf('month'), scope: 'platform' },
      });
      await set('resources', { limit: null });
      expect(await quotas()).toEqual([
        quota,
        {
          meter: 'resources',
          window: 'lifetime',
          limit: null,
          used: 0,
          remaining: null,
          resetsAt: null,
          scope: 'platform',
        },
      ]);
      expectProblem(await user.get('/v1/platform/quotas'), 403, 'forbidden');
      expectProblem(await user.put('/v1/platform/quotas/resources', { limit: 1 }), 403, 'forbidden');
      expectProblem(await user.delete('/v1/platform/quotas/resources'), 403, 'forbidden');
    }));

  test('limit of a gauge: shared by all users, and each deletion frees a unit', async () => {
    const [one, other, gone] = await Promise.all([own.createUser(), own.createUser(), own.createUser()]);
    const made = (await create(one)).body.id;
    for (const user of [gone, gone]) expect((await create(user)).status).toBe(201);
    expect(await set('resources', { limit: 5 })).toMatchObject({ used: 3, remaining: 2 });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => create(i % 2 ? one : other)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(2);
    const refused = answers.find(({ status }) => status === 403)!;
    expectProblem(refused, 403, 'quota_exceeded');
    const limit = { scope: 'platform', meter: 'resources', window: 'lifetime', limit: 5, used: 5, remaining: 0 };
    expect(refused.body).toMatchObject({ violated: [limit], limits: [limit] });
    // One deletion frees one unit.
    expect((await own.as(one).delete(`/v1/resources/${made}`)).status).toBe(204);
    expect((await create(other)).status).toBe(201);
    expectProblem(await create(one), 403, 'quota_exceeded');
    // Deleting a user frees the units of the user.
    expect((await boss.delete(`/v1/users/${gone.id}`)).status).toBe(204);
    expect(await quotas()).toMatchObject([{ used: 3, remaining: 2 }]);
    expect([(await create(one)).status, (await create(one)).status, (await create(one)).status]).toEqual([
      201, 201, 403,
    ]);
    expect(await quotas()).toMatchObject([{ used: 5, remaining: 0 }]);
  });

  test('apply together with those of the user; a call that one rejects is charged to neither', async () => {
    const user = await own.createUser();
    const { used } = await set('resources', { limit: 1_000 });
    await boss.put(`/v1/users/${user.id}/quotas/resources`, { limit: 1 });
    expect([(await create(user)).status, (await create(user)).status]).toEqual([201, 403]);
    expect(await quotas()).toMatchObject([{ used: used + 1 }]);
    await boss.put(`/v1/users/${user.id}/quotas/resources`, { limit: 2 });
    await set('resources', { limit: used + 1 });
    const refused = await create(user);
    expect(refused.body.violated).toMatchObject([{ scope: 'platform' }]);
    expect(refused.body.limits).toMatchObject([
      { scope: 'user', used: 1 },
      { scope: 'platform', used: used + 1 },
    ]);
    await boss.delete('/v1/platform/quotas/resources');
    expect((await create(user)).status).toBe(201);
  });

  test('credits of a user used up by concurrent creations, limit of tasks not: 402 names only the user limit', async () => {
    const user = await own.createUser({ credits: 1 });
    const { used } = await set('tasks', { limit: Number.MAX_SAFE_INTEGER });
    const createTask = (): Promise<Answer> => own.as(user).post('/v1/tasks');
    const answers = await Promise.all([createTask(), createTask(), createTask()]);
    expect(tally(answers.map(({ status }) => String(status)))).toEqual({ 201: 1, 402: 2 });
    expect(await quotas()).toMatchObject([{ meter: 'tasks', used: used + 1 }]);
    const refused = await createTask();
    expect(refused.body.violated).toMatchObject([{ scope: 'user' }]);
    expect(refused.body.limits).toMatchObject([{ scope: 'user' }, { scope: 'platform', meter: 'tasks' }]);
    expect((await boss.delete('/v1/platform/quotas/tasks')).status).toBe(204);
  });

  test.each(WINDOWS)('limit of calls in a %s: includes all calls made before, and applies to all users', (window) =>
    inOneMinute(async () => {
      const slug = await own.createApi();
      const keys = await Promise.all([1, 2].map(async () => own.as(await own.createUser()).createKey()));
      for (const key of keys) expect((await own.call(slug, key)).status).toBe(200);
      const meter = `api:${slug}`;
      const quota = await set(meter, { limit: 10, window });
      expect(quota).toEqual({
        ...{ meter, window, limit: 10, used: 2, remaining: 8, resetsAt: endOf(window), scope: 'platform' },
      });
      const all = await set('api:*', { limit: null, window });
      const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => own.call(slug, keys[i % 2]!)));
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(8);
      expect(answers.find(({ status }) => status === 429)?.body.violated).toEqual([
        { ...quota, used: 10, remaining: 0 },
      ]);
      expect((await own.call('api1', keys[0]!)).status).toBe(200);
      const listed = await quotas();
      expect(listed).toContainEqual(expect.objectContaining({ meter, used: 10, remaining: 0 }));
      expect(listed).toContainEqual(expect.objectContaining({ meter: 'api:*', window, used: all.used + 9 }));
      for (const each of [meter, 'api:*']) await boss.delete(`/v1/platform/quotas/${each}?window=${window}`);
      expect((await own.call(slug, keys[0]!)).status).toBe(200);
      // A new quota includes the calls made while there was none.
      expect(await set(meter, { limit: 20, window })).toMatchObject({ used: 11 });
      await boss.delete(`/v1/platform/quotas/${meter}?window=${window}`);
    }),
  );

  test('PUT under concurrent calls: counts each call once', async () => {
    const slug = await own.createApi();
    const keys = await Promise.all([1, 2, 3].map(async () => own.as(await own.createUser()).createKey()));
    const state = { calling: true };
    let granted = 0;
    const calling = Promise.all(
      keys.map(async (key) => {
        while (state.calling) {
          const { status } = await own.call(slug, key);
          if (status === 200) granted++;
        }
      }),
    );
    try {
      await until(() => granted >= 20, calling);
      await set(`api:${slug}`, { limit: null });
      const before = granted;
      await until(() => granted >= before + 20, calling);
    } finally {
      state.calling = false;
    }
    await calling;
    expect(await quotas()).toMatchObject([{ used: granted }]);
  });

  test('PUT, DELETE: 400 for an unknown meter, window or amount', async () => {
    for (const limit of [-1, 1.5, '1', true, 2 ** 53]) {
      expectField(await boss.put('/v1/platform/quotas/resources', { limit }), '/limit');
    }
    expectField(await boss.delete('/v1/platform/quotas/unknown'), '/meter');
    expectField(await boss.delete('/v1/platform/quotas/resources?window=day'), '/window');
    expect((await boss.delete('/v1/platform/quotas/resources')).status).toBe(204);
    expect(await quotas()).toEqual([]);
  });

  test('API keys do not appear in the log, wherever they are sent', async () => {
    const key = await own.as(await own.createUser()).createKey();
    const upstream = await own.createApi({ upstream: server.url });
    await own.call('api1', key);
    await own.call(`${upstream}/livez?key=${key.key}`, key);
    await own.call('api1', key, { headers: { 'x-api-key': `${key.key}0`, 'x-request-id': 'the-last' } });
    for (const path of ['/call/api1', '/call/api1/x', '/v1/keys', '/v1/verify', '/call']) {
      for (const name of ['key', 'api_key', 'X-API-Key', 'access_token']) {
        const answer = await own.get(`${path}?${name}=${key.key}`);
        expect([401, 404, 405]).toContain(answer.status);
      }
    }
    await own.post('/v1/verify', { key: key.key, api: 'api1' });
    await own.get('/livez', { headers: { 'x-request-id': 'very-last' } });
    await until(() => server.output.includes('very-last'));
    expect(server.output).toContain('"path":"/call/api1"');
    expect(server.output.split('\n').filter((line) => line.includes(key.key.slice(7, 40)))).toEqual([]);
  });
});
