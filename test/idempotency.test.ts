import { expectProblem, isMetered, sharedApi, uniqueName, type Account, type Answer, type Api } from './support/api.js';
import { query } from './support/server.js';

const api = sharedApi();
const PASSWORD = 'Unguessable-7';

let admin: Api;
let user: Account;
let mine: Api;

beforeAll(async () => {
  [admin, user] = await Promise.all([api.admin(), api.createUser()]);
  mine = api.as(user);
});

const sql = (text: string, values: unknown[]): Promise<any[]> =>
  query(process.env.TEST_SERVER_DATABASE ?? '', text, values);

const withKey = (key: string) => ({ headers: { 'idempotency-key': key } });

function expectReplayed(again: Answer, first: Answer): void {
  expect(again.headers.get('idempotency-replayed')).toBe('true');
  expect({ status: again.status, body: again.body }).toEqual({ status: first.status, body: first.body });
}

interface Case {
  as: () => Api;
  path: () => Promise<string> | string;
  /** A body that is different for each `name`. */
  body: (name: string) => Promise<object> | object;
  /** Another body from the same sender. Default: `body` with another name. */
  other?: (body: any) => object;
  /** Number of created objects or charged units. */
  count: (path: string, body: any) => Promise<number>;
}

const countOf = async (path: string): Promise<number> => (await admin.get(path)).body.data.length;

const accounts: Pick<Case, 'body' | 'other' | 'count'> = {
  other: (body) => ({ ...body, firstName: 'Other' }),
  body: (name) => ({ username: name, password: PASSWORD }),
  count: (_path, { username }) => countOf(`/v1/users?query=${username}`),
};

const entries = (path: string): Pick<Case, 'body' | 'count'> => ({
  body: (slug) => ({ slug, name: 'x' }),
  count: async (_path, { slug }) => ((await admin.get(`${path}/${slug}`)).status === 200 ? 1 : 0),
});

let rotations = 0;

/** Every POST that creates objects or charges units. */
const CASES: Record<string, Case> = {
  'POST /v1/auth/register': { as: () => api, path: () => '/v1/auth/register', ...accounts },
  'POST /v1/users': { as: () => admin, path: () => '/v1/users', ...accounts },
  'POST /v1/resources': {
    as: () => mine,
    path: () => '/v1/resources',
    body: (value) => ({ value }),
    count: async (_path, { value }) => {
      const { body } = await mine.get('/v1/resources?limit=100');
      return body.data.filter((resource: { value: string }) => resource.value === value).length;
    },
  },
  'POST /v1/tasks': {
    as: () => mine,
    path: () => '/v1/tasks',
    body: (title) => ({ title }),
    count: async (_path, { title }) => {
      const { body } = await mine.get('/v1/tasks?limit=100');
      return body.data.filter((task: { title: string }) => task.title === title).length;
    },
  },
  'POST /v1/users/{user}/credits': {
    as: () => admin,
    path: () => `/v1/users/${user.id}/credits`,
    body: (reason) => ({ amount: 5, reason }),
    count: async (path, { reason }) => {
      const { body } = await mine.get(`${path}?limit=100`);
      return body.data.filter((grant: { reason: string }) => grant.reason === reason).length;
    },
  },
  'POST /v1/auth/signing-keys': {
    as: () => mine,
    path: () => '/v1/auth/signing-keys',
    body: (name) => ({ name, publicKey: 'JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=' }),
    count: async (_path, { name }) => {
      const { body } = await mine.get('/v1/auth/signing-keys?limit=100');
      return body.data.filter((key: { name: string }) => key.name === name).length;
    },
  },
  'POST /v1/keys': {
    as: () => mine,
    path: () => '/v1/keys',
    body: (name) => ({ name, scopes: ['*'], limits: [{ meter: 'api:api1', limit: 5 }] }),
    count: async (_path, { name }) => {
      const { body } = await mine.get('/v1/keys?limit=100');
      return body.data.filter((key: { name: string }) => key.name === name).length;
    },
  },
  'POST /v1/keys/{id}/rotate': {
    as: () => mine,
    path: async () => `/v1/keys/${(await mine.createKey()).id}/rotate`,
    body: () => ({ graceSeconds: 1_000 + rotations++ }),
    count: async (path) => {
      const [{ count }] = await sql('SELECT count(*)::int AS count FROM api_key_secrets WHERE key_id = $1', [
        path.split('/')[3],
      ]);
      return count - 1;
    },
  },
  'POST /v1/plans': { as: () => admin, path: () => '/v1/plans', ...entries('/v1/plans') },
  'POST /v1/apis': { as: () => admin, path: () => '/v1/apis', ...entries('/v1/apis') },
  'POST /v1/store/write': {
    as: () => mine,
    path: () => '/v1/store/write',
    body: (key) => ({ entries: [{ key, value: key }] }),
    count: async (_path, { entries: [{ key }] }) => (await mine.get(`/v1/store?prefix=${key}`)).body.data.length,
  },
  'POST /v1/verify': {
    as: () => api,
    path: () => '/v1/verify',
    body: async () => {
      const slug = await api.createApi();
      return { key: (await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 10 }] })).key, api: slug };
    },
    other: (body) => ({ ...body, cost: 2 }),
    count: async (_path, body) => (await api.post('/v1/verify', { ...body, dryRun: true })).body.limits[0].used,
  },
};

const POSTS = Object.keys(CASES);

test('CASES has every operation with an Idempotency-Key, except calls', async () => {
  const { paths } = (await api.get('/openapi.json')).body;
  const documented = Object.entries<any>(paths).flatMap(([path, methods]) =>
    Object.entries<any>(methods)
      .filter(([, { parameters }]) => parameters?.some(({ name }: { name: string }) => name === 'Idempotency-Key'))
      .map(([method]) => `${method.toUpperCase()} ${path}`),
  );
  expect(documented.filter((id) => !isMetered(id.split(' ')[1]!)).sort()).toEqual([...POSTS].sort());
});

describe('Repeated request with an Idempotency-Key', () => {
  test.each(POSTS)('%s: replays the first response, without a second effect', async (id) => {
    const { as, path: makePath, body: makeBody, count } = CASES[id]!;
    const [path, body, key] = [await makePath(), await makeBody(uniqueName()), uniqueName()];
    const first = await as().post(path, body, withKey(key));
    expect(first.text).toMatch(/^\{.*\}$/);
    expect([200, 201]).toContain(first.status);
    expect(first.headers.get('idempotency-replayed')).toBeNull();
    for (const spelling of [key, `"${key}"`, ` ${key} `]) {
      expectReplayed(await as().post(path, body, withKey(spelling)), first);
    }
    expect(await count(path, body)).toBe(1);
  });

  test.each(POSTS)('%s with another body: 422, without effect', async (id) => {
    const { as, path: makePath, body: makeBody, other: makeOther, count } = CASES[id]!;
    const [path, key, body] = [await makePath(), uniqueName(), await makeBody(uniqueName())];
    await as().post(path, body, withKey(key));
    const other = makeOther?.(body) ?? (await makeBody(uniqueName()));
    expectProblem(await as().post(path, other, withKey(key)), 422, 'idempotency_key_reused');
    expect(await count(path, body)).toBe(1);
  });

  test.each(POSTS)('20 concurrent %s: one effect, 409 while the first is in progress', async (id) => {
    const { as, path: makePath, body: makeBody, count } = CASES[id]!;
    const [path, body, key] = [await makePath(), await makeBody(uniqueName()), uniqueName()];
    const answers = await Promise.all(Array.from({ length: 20 }, () => as().post(path, body, withKey(key))));
    const done = answers.filter(({ status }) => status < 300);
    expect(done.length).toBeGreaterThanOrEqual(1);
    expect(new Set(done.map(({ text }) => text)).size).toBe(1);
    for (const answer of answers.filter(({ status }) => status >= 300)) {
      expectProblem(answer, 409, 'idempotency_in_progress');
      expect(answer.headers.get('retry-after')).toBe('1');
    }
    expect(await count(path, body)).toBe(1);
  });

  test('POST /v1/keys: replays the secret, which is valid', async () => {
    const send = (): Promise<Answer> => mine.post('/v1/keys', { name: 'x', scopes: ['*'] }, withKey('show me'));
    const first = await send();
    const again = await send();
    expectReplayed(again, first);
    expect(again.body.key).toMatch(/^qm_/);
    expect((await api.call('api1', again.body)).status).toBe(200);
  });

  test('/call/{slug}: charges one unit, also with a quoted key', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 5 }] });
    const call = (key: string, path = slug): Promise<Answer> => api.call(path, own, withKey(key));
    const first = await call('once');
    expect(first).toMatchObject({ status: 200, text: slug });
    for (const key of ['once', '"once"']) {
      const again = await call(key);
      expectReplayed(again, first);
      expect(again.headers.get('ratelimit')).toBe('"lifetime";r=4');
    }
    expectProblem(await call('once', `${slug}/below`), 422, 'idempotency_key_reused');
    expectProblem(await call('once', `${slug}?x=1`), 422, 'idempotency_key_reused');
    const post = { headers: { 'idempotency-key': 'once', 'x-api-key': own.key } };
    expectProblem(await api.post(`/call/${slug}`, undefined, post), 422, 'idempotency_key_reused');
    expect((await call('twice')).headers.get('ratelimit')).toBe('"lifetime";r=3');
    // The same Idempotency-Key with another API key of the owner is a new request.
    expect(
      (await api.call(slug, await mine.createKey(), withKey('once'))).headers.get('idempotency-replayed'),
    ).toBeNull();
    const many = await Promise.all(Array.from({ length: 20 }, () => call('crowd')));
    expect(many.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
    expect((await mine.get(`/v1/keys/${own.id}`)).body.limits).toMatchObject([{ used: 3 }]);
  });

  test('after a rejected request: processed again', async () => {
    const limited = await api.createUser();
    await admin.put(`/v1/users/${limited.id}/quotas/resources`, { limit: 0 });
    const create = (): Promise<Answer> => api.as(limited).post('/v1/resources', { value: 'x' }, withKey('again'));
    expectProblem(await create(), 403, 'quota_exceeded');
    await admin.put(`/v1/users/${limited.id}/quotas/resources`, { limit: 1 });
    const made = await create();
    expect(made.status).toBe(201);
    expectReplayed(await create(), made);

    const slug = await api.createApi();
    const own = await mine.createKey();
    const call = (): Promise<Answer> => api.call(slug, own, withKey('again'));
    const verify = (): Promise<Answer> => api.post('/v1/verify', { key: own.key, api: slug }, withKey('again2'));
    await mine.put(`/v1/keys/${own.id}/quotas/api:${slug}`, { limit: 0 });
    expectProblem(await call(), 429, 'quota_exceeded');
    expect((await verify()).body.allowed).toBe(false);
    await admin.put(`/v1/keys/${own.id}/quotas/api:${slug}`, { limit: 2 });
    expect((await call()).status).toBe(200);
    expect((await verify()).body.allowed).toBe(true);
    expect((await verify()).headers.get('idempotency-replayed')).toBe('true');

    const username = uniqueName();
    const weak = { username, password: 'weak' };
    expectProblem(await api.post('/v1/auth/register', weak, withKey(username)), 400, 'validation_failed');
    const good = { username, password: PASSWORD };
    expect((await api.post('/v1/auth/register', good, withKey(username))).status).toBe(201);
  });

  test('POST /v1/verify with dryRun: not stored', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 5 }] });
    const verify = (body: object): Promise<Answer> =>
      api.post('/v1/verify', { key: own.key, api: slug, ...body }, withKey('dry'));
    expect((await verify({ dryRun: true })).body.limits[0].used).toBe(0);
    expect((await verify({})).body.limits[0].used).toBe(1);
    expect((await verify({ dryRun: true })).status).toBe(422);
  });

  test('the same key of two users: two requests', async () => {
    const [one, other] = [api.as(await api.createUser()), api.as(await api.createUser())];
    const send = (as: Api, value: string): Promise<Answer> => as.post('/v1/resources', { value }, withKey('shared'));
    const [first, second] = [await send(one, 'x'), await send(other, 'y')];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(second.headers.get('idempotency-replayed')).toBeNull();
    expectReplayed(await send(one, 'x'), first);
    expectReplayed(await send(other, 'y'), second);
    // Another operation cannot reuse the key.
    expectProblem(
      await one.post('/v1/keys', { name: 'x', scopes: [] }, withKey('shared')),
      422,
      'idempotency_key_reused',
    );
  });

  test('POST /v1/auth/register with the same key for two usernames: two accounts', async () => {
    const key = uniqueName();
    const register = (username: string): Promise<Answer> =>
      api.post('/v1/auth/register', { username, password: PASSWORD }, withKey(key));
    const names = [uniqueName(), uniqueName()];
    const [first, second] = [await register(names[0]!), await register(names[1]!)];
    expect([first.body.username, second.body.username]).toEqual(names);
  });

  test('DELETE of the user: the stored response is deleted', async () => {
    const gone = await api.createUser();
    await api.as(gone).post('/v1/resources', { value: 'x' }, withKey('gone'));
    const stored = (): Promise<any[]> => sql('SELECT FROM idempotency_keys WHERE owner_id = $1', [gone.id]);
    expect(await stored()).toHaveLength(1);
    await admin.delete(`/v1/users/${gone.id}`);
    expect(await stored()).toEqual([]);
  });

  test('after 24 hours: a new request', async () => {
    const owner = await api.createUser();
    const send = (value: string): Promise<Answer> => api.as(owner).post('/v1/resources', { value }, withKey('daily'));
    await send('one');
    const age = (hours: number): Promise<any[]> =>
      sql(`UPDATE idempotency_keys SET created_at = now() - make_interval(hours => $2) WHERE owner_id = $1`, [
        owner.id,
        hours,
      ]);
    await age(23);
    expect((await send('two')).status).toBe(422);
    await age(25);
    const next = await send('two');
    expect(next.status).toBe(201);
    expectReplayed(await send('two'), next);
  });
});

test.each([
  ['empty', ''],
  ['empty quotes', '""'],
  ['256 characters', 'x'.repeat(256)],
  ['256 characters in quotes', `"${'x'.repeat(256)}"`],
  ['a tab', 'a\tb'],
  ['letters that are not ASCII', 'ü'],
])('an Idempotency-Key of %s: 400, without effect', async (_case, key) => {
  const owner = api.as(await api.createUser());
  const own = await owner.createKey();
  const refused = [
    await owner.post('/v1/resources', { value: 'x' }, withKey(key)),
    await api.post('/v1/verify', { key: own.key, api: 'api1' }, withKey(key)),
    await api.call('api1', own, withKey(key)),
  ];
  for (const answer of refused) {
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors).toMatchObject([{ pointer: '/Idempotency-Key' }]);
  }
  expect((await owner.get('/v1/resources')).body.data).toEqual([]);
  expect((await owner.get(`/v1/keys/${own.id}`)).body.lastUsedAt).toBeNull();
});

test('an Idempotency-Key of 255 characters, or with any printable ASCII: accepted', async () => {
  const owner = api.as(await api.createUser());
  for (const key of ['x', 'x'.repeat(255), `"${'y'.repeat(255)}"`, 'a b:c/d,e;f=g', '"say \\"it\\""', `k'--`]) {
    const first = await owner.post('/v1/resources', { value: key }, withKey(key));
    expect(first.status).toBe(201);
    expectReplayed(await owner.post('/v1/resources', { value: key }, withKey(key)), first);
  }
});

test('POST /v1/resources, 30 concurrent replays of a finished request: the stored response for all', async () => {
  const key = withKey(uniqueName());
  const first = await mine.post('/v1/resources', { value: 'x' }, key);
  expect(first.status).toBe(201);
  const replays = await Promise.all(Array.from({ length: 30 }, () => mine.post('/v1/resources', { value: 'x' }, key)));
  for (const replay of replays) expectReplayed(replay, first);
});

test('40 concurrent POST /v1/keys with different Idempotency-Keys: 201 for all', async () => {
  const owner = api.as(await api.createUser());
  const limits = [{ meter: 'api:api1', limit: 5 }];
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      owner.post('/v1/keys', { name: String(i), scopes: [], limits }, withKey(`each-${i}`)),
    ),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
  expect((await owner.get('/v1/keys?limit=100')).body.data).toHaveLength(40);
});

test('stored requests and responses: no secrets in the database', async () => {
  const owner = api.as(await api.createUser());
  const username = uniqueName();
  const [key, password, idempotencyKey] = [uniqueName(), 'Correct-Horse-7-Battery', `secret-${uniqueName()}`];
  const own = (await owner.post('/v1/keys', { name: key, scopes: ['*'] }, withKey(`${idempotencyKey}1`))).body;
  await admin.post('/v1/users', { username, password }, withKey(`${idempotencyKey}2`));
  await api.post('/v1/verify', { key: own.key, api: 'api1' }, withKey(`${idempotencyKey}3`));
  await api.call('api1', own, withKey(`${idempotencyKey}4`));
  const rows = await sql('SELECT key_hash, fingerprint, answer FROM idempotency_keys', []);
  expect(rows.length).toBeGreaterThanOrEqual(4);
  const stored = rows.flatMap((row) => Object.values<Buffer>(row).map((bytes) => bytes.toString('latin1'))).join('\n');
  for (const secret of [own.key, own.key.slice(3, 40), password, username, idempotencyKey, own.id, '"status"', key]) {
    expect(stored).not.toContain(secret);
  }
  const tables = await sql(
    `SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
    [],
  );
  for (const { name } of tables) {
    const leaks = await sql(`SELECT FROM "${name}" AS t WHERE strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0`, [
      own.key.slice(7),
      password,
    ]);
    expect({ name, leaks: leaks.length }).toEqual({ name, leaks: 0 });
  }
});

test('replay with a revoked API key: 401 or 403 instead of the stored response', async () => {
  const made = (await mine.post('/v1/keys', { name: 'gone', scopes: ['api1'] })).body;
  const key = uniqueName();
  const call = () => api.post('/call/api1', undefined, { headers: { 'x-api-key': made.key, 'idempotency-key': key } });
  const verify = () => api.post('/v1/verify', { key: made.key, api: 'api1' }, withKey(`${key}v`));
  expect((await call()).status).toBe(200);
  expect((await verify()).body.allowed).toBe(true);
  await mine.patch(`/v1/keys/${made.id}`, { scopes: [] });
  expectProblem(await call(), 403, 'scope_denied');
  expect((await verify()).body).toMatchObject({ allowed: false, code: 'scope_denied' });
  await mine.delete(`/v1/keys/${made.id}`);
  expectProblem(await call(), 401, 'invalid_api_key');
  expect((await verify()).body).toMatchObject({ allowed: false, code: 'invalid_api_key' });
});

test('replay of a stored response that was moved to another user: 500 without its content', async () => {
  const [owner, thief] = [await api.createUser(), await api.createUser()];
  const body = { name: 'a key', scopes: ['*'] };
  const send = (account: Account): Promise<Answer> => api.as(account).post('/v1/keys', body, withKey('mine'));
  const { key } = (await send(owner)).body;
  await send(thief);
  await sql(
    `UPDATE idempotency_keys SET (fingerprint, answer) =
       (SELECT fingerprint, answer FROM idempotency_keys WHERE owner_id = $1) WHERE owner_id = $2`,
    [owner.id, thief.id],
  );
  const answer = await send(thief);
  expectProblem(answer, 500, 'internal_error');
  expect(answer.text).not.toContain(key);
});
