import { randomUUID } from 'node:crypto';
import {
  expectProblem,
  inOne,
  sendExactly,
  sharedApi,
  type Account,
  type Answer,
  type Api,
  type Key,
} from './support/api.js';
import { chargedEarlier } from './support/clock.js';
import { query } from './support/server.js';

const api = sharedApi();

let admin: Api;
let user: Account;
let mine: Api;

beforeAll(async () => {
  [admin, user] = await Promise.all([api.admin(), api.createUser()]);
  mine = api.as(user);
});

const sql = (text: string, values: unknown[]): Promise<any[]> =>
  query(process.env.TEST_SERVER_DATABASE ?? '', text, values);

/** Moves all times of a key and its secrets back by some minutes. */
async function letPass({ id }: { id: string }, minutes: number): Promise<void> {
  for (const [table, column, key] of [
    ['api_keys', 'expires_at', 'id'],
    ['api_key_secrets', 'expires_at', 'key_id'],
    ['api_key_secrets', 'retires_at', 'key_id'],
  ]) {
    const times = await sql(
      `SELECT DISTINCT ${column}::text AS old, (${column} - make_interval(mins => $2))::text AS new FROM ${table}
       WHERE ${key} = $1 AND ${column} IS NOT NULL`,
      [id, minutes],
    );
    for (const time of times) {
      await sql(`UPDATE ${table} SET ${column} = $2 WHERE ${key} = $1 AND ${column} = $3`, [id, time.new, time.old]);
    }
  }
}

/** A time some minutes from now. */
const inMinutes = (minutes: number): string => new Date(Date.now() + minutes * 60_000).toISOString();

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

function expectInvalid(answer: Answer): void {
  expectProblem(answer, 401, 'invalid_api_key');
  expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"');
}

async function expectGood(key: { key: string }): Promise<void> {
  expect(await api.call('api1', key)).toMatchObject({ status: 200, body: 'API1' });
}

/** A key as later responses show it, without its secret. */
function shown(key: Key): object {
  const rest: Partial<Key> = { ...key };
  delete rest.key;
  return rest;
}

describe('API key', () => {
  test('POST /v1/keys: 201 with the secret, which no other response and no table contains', async () => {
    const expiresAt = new Date(Date.now() + 86_400_000).toISOString();
    const made = await mine.post('/v1/keys', { name: 'my server ✓', scopes: ['api1', 'map-*'], expiresAt });
    expect(made.status).toBe(201);
    expect(made.headers.get('cache-control')).toBe('no-store');
    const { key } = made.body;
    expect(key).toMatch(/^qm_[0-9A-Za-z]{49}$/);
    expect(made.body).toEqual({
      ...{ id: expect.any(String), key, owner: user.id, name: 'my server ✓', hint: key.slice(0, 7) },
      ...{ scopes: ['api1', 'map-*'], disabled: false, expiresAt, lastUsedAt: null, limits: [] },
      ...{ createdAt: expect.any(String), updatedAt: expect.any(String) },
    });
    const answers = await Promise.all([
      mine.get(`/v1/keys/${made.body.id}`),
      mine.get('/v1/keys'),
      admin.get(`/v1/keys/${made.body.id}`),
    ]);
    // After the reads, because they must not see the new name.
    answers.push(await mine.patch(`/v1/keys/${made.body.id}`, { name: 'my server' }));
    expect(answers[0].body).toEqual(shown(made.body));
    for (const { text } of answers) expect(text).not.toContain(key.slice(7));
    const tables = await sql(
      `SELECT to_jsonb(k)::text || to_jsonb(s)::text AS row FROM api_keys k
      JOIN api_key_secrets s ON s.key_id = k.id WHERE k.id = $1`,
      [made.body.id],
    );
    expect(tables).toHaveLength(1);
    expect(tables[0].row).not.toContain(key.slice(7));
    expect(tables[0].row).not.toContain(Buffer.from(key).toString('hex'));
  });

  test('/call/{slug} with the key in X-API-Key or as a bearer token: 200; elsewhere: 401', async () => {
    const key = await mine.createKey();
    await expectGood(key);
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const answer = await api.get('/call/api1', { headers: { authorization: `${scheme} ${key.key}` } });
      expect(answer).toMatchObject({ status: 200, body: 'API1' });
    }
    for (const scheme of ['Basic ', 'Token ', '']) {
      expectInvalid(await api.get('/call/api1', { headers: { authorization: scheme + key.key } }));
    }
    for (const name of ['key', 'api_key', 'apiKey', 'x-api-key', 'access_token', 'token']) {
      expectProblem(await api.get(`/call/api1?${name}=${key.key}`), 401, 'unauthenticated');
    }
    expectProblem(await api.get('/call/api1', { headers: { cookie: `key=${key.key}` } }), 401, 'unauthenticated');
    expectProblem(await api.as({ accessToken: key.key }).get('/v1/users/me'), 401, 'invalid_token');
  });

  test('/call/{slug} with the same key in both headers: 200 and one unit', async () => {
    const one = await mine.createKey({ limits: [{ meter: 'api:api1', limit: 2 }] });
    for (const [i, scheme] of ['Bearer ', 'bearer  '].entries()) {
      const answer = await api.call('api1', one, { headers: { authorization: scheme + one.key } });
      expect(answer).toMatchObject({ status: 200, body: 'API1' });
      expect(answer.headers.get('ratelimit')).toBe(`"lifetime";r=${String(1 - i)}`);
    }
  });

  test('/call/{slug} with two different credentials, or a repeated header: 401', async () => {
    const [one, other] = [await mine.createKey(), await mine.createKey()];
    for (const authorization of [`Bearer ${other.key}`, 'Bearer x', `Basic ${one.key}`, one.key, 'Bearer ', '']) {
      expectInvalid(await api.call('api1', one, { headers: { authorization } }));
    }
    const twice = [`Bearer ${one.key}`, `Bearer ${one.key}`] as unknown as string;
    expectInvalid(await sendExactly(api, 'GET', '/call/api1', { authorization: twice }));
    expectInvalid(
      await sendExactly(api, 'GET', '/call/api1', { 'x-api-key': [one.key, one.key] as unknown as string }),
    );
  });

  test('/call/{slug} and POST /v1/verify with a wrong or unknown key: invalid_api_key', async () => {
    const { key } = await mine.createKey();
    const other = key.at(-1) === '0' ? '1' : '0';
    const wrong = [
      ...[3, 20, 45, 46, 50].map((at) => key.slice(0, at) + (key[at] === 'a' ? 'b' : 'a') + key.slice(at + 1)),
      key.slice(0, -1) + other,
      key.slice(0, -1),
      `${key}0`,
      key.replace('qm_', 'sk_'),
      key.replace('qm_', 'QM_'),
      key.slice(3),
      key.toUpperCase(),
      `qm_${'0'.repeat(49)}`,
      `qm_${'é'.repeat(49)}`,
      'qm_',
      ' ',
      'x'.repeat(8_000),
      user.accessToken,
    ];
    for (const each of wrong) {
      const answer = await api.post('/v1/verify', { key: each.slice(0, 1_024), api: 'api1' });
      expect(answer.body).toEqual({ allowed: false, code: 'invalid_api_key', keyId: null, owner: null, limits: [] });
      if (/^[\x20-\x7e]+$/.test(each)) expectInvalid(await api.call('api1', { key: each }));
    }
    await expectGood({ key });
  });

  test('/call/{slug} with 1,000 wrong keys: 401 for each, and the valid key still works', async () => {
    const { key } = await mine.createKey();
    const wrong = Array.from({ length: 1_000 }, (_, i) => `${key.slice(0, -3)}${String(i).padStart(3, '0')}`);
    const statuses: number[] = [];
    for (let i = 0; i < wrong.length; i += 50) {
      const answers = await Promise.all(
        wrong.slice(i, i + 50).map((each) => sendExactly(api, 'GET', '/call/api1', { 'x-api-key': each })),
      );
      statuses.push(...answers.map(({ status }) => status));
    }
    expect(statuses.filter((status) => status !== 401).length).toBeLessThanOrEqual(1);
    await expectGood({ key });
  });

  test('GET /v1/keys/{id}: lastUsedAt of the last call that limits granted or denied', async () => {
    const slug = await api.createApi();
    const key = await mine.createKey({ scopes: [slug], limits: [{ meter: `api:${slug}`, limit: 1 }] });
    const lastUsed = async (): Promise<string | null> => (await mine.get(`/v1/keys/${key.id}`)).body.lastUsedAt;
    await api.call('api1', key);
    await api.post('/v1/verify', { key: key.key, api: slug, dryRun: true });
    expect(await lastUsed()).toBeNull();
    const before = new Date().toISOString();
    expect((await api.call(slug, key)).status).toBe(200);
    const first = (await lastUsed()) ?? '';
    expect(first >= before).toBe(true);
    expect(first <= new Date().toISOString()).toBe(true);
    // Sets the last use back by an hour.
    await sql(chargedEarlier('key_id = $1', `interval '1 hour'`), [key.id]);
    expect(((await lastUsed()) ?? '') < first).toBe(true);
    expect((await api.call(slug, key)).status).toBe(429);
    expect(((await lastUsed()) ?? '') >= first).toBe(true);
  });
});

describe('API key management', () => {
  test('GET /v1/keys: pages of the owner’s keys, newest first', async () => {
    const [owner, other] = await Promise.all([api.createUser(), api.createUser()]);
    const made: object[] = [];
    for (const name of ['one', 'two', 'three']) made.unshift(shown(await api.as(owner).createKey({ name })));
    const foreign = await api.as(other).createKey();
    expect((await api.as(owner).get('/v1/keys')).body).toEqual({ data: made, nextCursor: null });
    const first = await api.as(owner).get('/v1/keys?limit=2');
    expect(first.body.data).toEqual(made.slice(0, 2));
    expect(first.headers.get('link')).toContain('rel="next"');
    const rest = await api.as(owner).get(`/v1/keys?limit=2&cursor=${first.body.nextCursor}`);
    expect(rest.body).toEqual({ data: made.slice(2), nextCursor: null });
    for (const name of [owner.id, owner.username, 'me']) {
      expect((await api.as(owner).get(`/v1/keys?owner=${name}`)).body.data).toEqual(made);
    }
    for (const name of [owner.id, owner.username]) {
      expect((await admin.get(`/v1/keys?owner=${name}`)).body.data).toEqual(made);
      expectProblem(await api.as(other).get(`/v1/keys?owner=${name}`), 403, 'forbidden');
    }
    expectProblem(await api.as(other).get('/v1/keys?owner=*'), 403, 'forbidden');
    const owners = (await admin.get('/v1/keys?owner=*&limit=100')).body.data.map((key: { owner: string }) => key.owner);
    expect(owners).toEqual(expect.arrayContaining([owner.id, foreign.owner]));
    // A cursor is valid only for its own list.
    const { nextCursor } = first.body;
    expectField(await admin.get(`/v1/keys?owner=*&cursor=${nextCursor}`), '/cursor');
  });

  test('POST /v1/keys for another user: 201 as an administrator, 403 as a user', async () => {
    for (const owner of [user.id, user.username]) {
      const made = await admin.post('/v1/keys', { name: 'x', scopes: ['api1'], owner });
      expect(made.body.owner).toBe(user.id);
      await expectGood(made.body);
      expect((await mine.get(`/v1/keys/${made.body.id}`)).body).toMatchObject({ id: made.body.id });
    }
    const stranger = api.as(await api.createUser());
    for (const owner of [user.id, user.username, randomUUID(), 'admin']) {
      expectProblem(await stranger.post('/v1/keys', { name: 'x', scopes: [], owner }), 403, 'forbidden');
    }
    expectProblem(await admin.post('/v1/keys', { name: 'x', scopes: [], owner: randomUUID() }), 404, 'not_found');
  });

  test('any request for a key of another user: the same 404 as for a missing key', async () => {
    const key = await mine.createKey();
    const stranger = api.as(await api.createUser());
    for (const [method, path, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { disabled: true }],
      ['DELETE', '', undefined],
      ['POST', '/rotate', {}],
      ['PUT', '/quotas/api:api1', { limit: 0 }],
      ['DELETE', '/quotas/api:api1', undefined],
    ] as const) {
      const foreign = await stranger.send(method, `/v1/keys/${key.id}${path}`, body);
      const missing = await stranger.send(method, `/v1/keys/${randomUUID()}${path}`, body);
      expectProblem(foreign, 404, 'not_found');
      expect({ ...foreign.body, instance: '', requestId: '' }).toEqual({
        ...missing.body,
        instance: '',
        requestId: '',
      });
    }
    expect((await mine.get(`/v1/keys/${key.id}`)).body).toEqual(shown(key));
    await expectGood(key);
  });

  test('PATCH /v1/keys/{id} as the owner or an administrator: 200, applies to the next call', async () => {
    const key = await mine.createKey({ expiresAt: '2099-01-01T00:00:00Z' });
    const path = `/v1/keys/${key.id}`;
    const changed = await mine.patch(path, { name: 'new', scopes: ['api2'], expiresAt: '2098-01-01T00:00:00+01:00' });
    expect(changed.status).toBe(200);
    const expected = { ...shown(key), name: 'new', scopes: ['api2'], expiresAt: '2097-12-31T23:00:00.000Z' };
    expect(changed.body).toEqual({ ...expected, updatedAt: expect.any(String) });
    expectProblem(await api.call('api1', key), 403, 'scope_denied');
    expect((await api.call('api2', key)).body).toBe('API2');
    expect((await admin.patch(path, { expiresAt: null })).body).toMatchObject({ name: 'new', expiresAt: null });
    expect((await mine.patch(path, {})).body).toEqual((await mine.get(path)).body);
  });

  test('PATCH of `disabled`: applies to the next call', async () => {
    const key = await mine.createKey();
    for (const as of [mine, admin]) {
      expect((await as.patch(`/v1/keys/${key.id}`, { disabled: true })).body.disabled).toBe(true);
      expectInvalid(await api.call('api1', key));
      expect((await as.patch(`/v1/keys/${key.id}`, { disabled: false })).body.disabled).toBe(false);
      await expectGood(key);
    }
  });

  test('/call/{slug} after the expiry of the key: 401', async () => {
    const key = await mine.createKey({ expiresAt: inMinutes(60) });
    await expectGood(key);
    const soon = inMinutes(30);
    expect((await mine.patch(`/v1/keys/${key.id}`, { expiresAt: soon })).body.expiresAt).toBe(soon);
    await expectGood(key);
    await letPass(key, 30);
    expectInvalid(await api.call('api1', key));
    const past = new Date(Date.parse(soon) - 30 * 60_000).toISOString();
    expect((await mine.get(`/v1/keys/${key.id}`)).body.expiresAt).toBe(past);
    await mine.patch(`/v1/keys/${key.id}`, { expiresAt: null });
    await expectGood(key);
  });

  test('DELETE /v1/keys/{id}: 401 for the next call, and its usage is kept', async () => {
    const slug = await api.createApi();
    const key = await mine.createKey();
    expect((await api.call(slug, key)).status).toBe(200);
    expect((await mine.delete(`/v1/keys/${key.id}`)).status).toBe(204);
    expectInvalid(await api.call(slug, key));
    expectProblem(await mine.get(`/v1/keys/${key.id}`), 404, 'not_found');
    expectProblem(await mine.delete(`/v1/keys/${key.id}`), 404, 'not_found');
    const { body } = await mine.get('/v1/users/me/quotas');
    expect(body.data).toContainEqual(expect.objectContaining({ meter: `api:${slug}`, used: 1 }));
    const limit = await admin.put(`/v1/users/${user.id}/quotas/api:${slug}`, { limit: 1 });
    expect(limit.body).toMatchObject({ used: 1, remaining: 0 });
    expect((await api.call(slug, await mine.createKey())).status).toBe(429);
  });

  test('owner disabled: 403 for calls; owner deleted: 401', async () => {
    const owner = await api.createUser();
    const key = await api.as(owner).createKey();
    await expectGood(key);
    await admin.patch(`/v1/users/${owner.id}`, { status: 'disabled' });
    expectProblem(await api.call('api1', key), 403, 'account_disabled');
    await admin.patch(`/v1/users/${owner.id}`, { status: 'active' });
    await expectGood(key);
    await admin.delete(`/v1/users/${owner.id}`);
    expectInvalid(await api.call('api1', key));
    expectProblem(await admin.get(`/v1/keys/${key.id}`), 404, 'not_found');
    expect(await sql('SELECT FROM api_key_secrets WHERE owner_id = $1', [owner.id])).toEqual([]);
    const usage = await sql('SELECT meter, granted::int, denied::int FROM usage WHERE owner_id = $1', [owner.id]);
    expect(usage).toEqual([{ meter: 'api:api1', granted: 2, denied: 0 }]);
  });
});

describe('API key scopes', () => {
  test.each([
    ['everything', ['*'], ['api1', 'api2'], []],
    ['one API', ['api1'], ['api1'], ['api2']],
    ['several', ['api1', 'api3'], ['api1', 'api3'], ['api2']],
    ['a prefix', ['api*'], ['api1', 'api2'], []],
    ['a longer prefix', ['api1*'], ['api1'], ['api2']],
    ['nothing', [], [], ['api1']],
    ['others only', ['a', 'api', 'api11', 'api-*'], [], ['api1']],
  ])('%s: calls in scope succeed, others get 403 without a charge', async (_case, scopes, good, bad) => {
    const key = await mine.createKey({ scopes });
    for (const slug of good) expect((await api.call(slug, key)).status).toBe(200);
    for (const slug of bad) {
      expectProblem(await api.call(slug, key), 403, 'scope_denied');
      expectProblem(await api.call(`${slug}/below`, key), 403, 'scope_denied');
    }
    // Calls outside the scope are not charged.
    const used = await sql(`SELECT coalesce(sum(counts[1]), 0)::int AS used FROM flows WHERE key_id = $1`, [key.id]);
    expect(used).toEqual([{ used: good.length }]);
  });

  test.each(['', ' ', 'API1', 'api_1', 'a.b', '-a', 'a-', 'a*b', '**', '*a', '-*', 'a ', 'a,b', 'ä', '../x', 'a\n'])(
    'an invalid scope, %p: 400',
    async (scope) => {
      expectField(await mine.post('/v1/keys', { name: 'x', scopes: ['api1', scope] }), '/scopes/1');
      const key = await mine.createKey({ scopes: ['api1'] });
      expectField(await mine.patch(`/v1/keys/${key.id}`, { scopes: [scope] }), '/scopes/0');
      expect((await mine.get(`/v1/keys/${key.id}`)).body.scopes).toEqual(['api1']);
    },
  );

  test('64 characters and 100 scopes: accepted; more: 400', async () => {
    for (const scope of ['a'.repeat(64), `${'a'.repeat(63)}*`, '0']) {
      expect((await mine.createKey({ scopes: [scope] })).scopes).toEqual([scope]);
    }
    const many = Array.from({ length: 101 }, (_, i) => `a${String(i)}`);
    expect((await mine.createKey({ scopes: many.slice(1) })).scopes).toHaveLength(100);
    for (const scopes of [many, ['a', 'a'], 'api1', null, undefined]) {
      expectField(await mine.post('/v1/keys', { name: 'x', scopes }), '/scopes');
    }
    for (const scope of ['a'.repeat(65), 7, null, ['a']]) {
      expectField(await mine.post('/v1/keys', { name: 'x', scopes: [scope] }), '/scopes/0');
    }
  });
});

test.each([
  ['name', ''],
  ['name', 'x'.repeat(101)],
  ['name', null],
  ['name', 'a\u0000'],
  ['expiresAt', '2020-01-01T00:00:00Z'],
  ['expiresAt', '2099-02-30T00:00:00Z'],
  ['expiresAt', '2099-01-01'],
  ['expiresAt', '2099-01-01T00:00:00'],
  ['expiresAt', '9999-12-31T23:59:59-15:00'],
  ['expiresAt', 'tomorrow'],
  ['expiresAt', 4_070_908_800],
  ['owner', ''],
  ['owner', null],
])('POST /v1/keys with an invalid %s, %p: 400, and no key', async (field, value) => {
  const before = (await mine.get('/v1/keys?limit=1')).body.data;
  expectField(await mine.post('/v1/keys', { name: 'x', scopes: ['*'], [field]: value }), `/${field}`);
  expect((await mine.get('/v1/keys?limit=1')).body.data).toEqual(before);
});

test('POST /v1/keys with expiresAt in another offset: stored in UTC', async () => {
  const { body } = await mine.post('/v1/keys', { name: 'x', scopes: [], expiresAt: '2090-01-02T00:00:00+23:59' });
  expect(body.expiresAt).toBe('2090-01-01T00:01:00.000Z');
});

describe('POST /v1/keys/{id}/rotate', () => {
  const rotate = async (key: Key, body?: object, as = mine): Promise<Key> => {
    const answer = await as.post(`/v1/keys/${key.id}/rotate`, body);
    expect(answer.status).toBe(201);
    return answer.body;
  };

  test.each([undefined, {}, { graceSeconds: 0 }])(
    'without a grace period, %p: the old secret ends at once',
    async (body) => {
      const key = await mine.createKey();
      const rotated = await rotate(key, body);
      expect(rotated.key).not.toBe(key.key);
      expect(rotated).toEqual({
        ...key,
        ...{ key: expect.stringMatching(/^qm_/), hint: rotated.key.slice(0, 7), updatedAt: expect.any(String) },
      });
      expectInvalid(await api.call('api1', key));
      await expectGood(rotated);
      expect((await mine.get(`/v1/keys/${key.id}`)).text).not.toContain(rotated.key.slice(7));
    },
  );

  test('with grace periods: all secrets stay valid; a rotation without one ends the earlier secrets', async () => {
    const first = await mine.createKey();
    const second = await rotate(first, { graceSeconds: 3_600 });
    const third = await rotate(second, { graceSeconds: 2_678_400 }, admin);
    for (const key of [first, second, third]) await expectGood(key);
    const retires = await sql(
      `SELECT retires_at < now() + interval '2 hours' AS soon FROM api_key_secrets WHERE key_id = $1 ORDER BY 1`,
      [first.id],
    );
    expect(retires.map(({ soon }) => soon)).toEqual([false, true, null]);
    const fourth = await rotate(third);
    for (const key of [third]) expectInvalid(await api.call('api1', key));
    for (const key of [first, second]) expectInvalid(await api.call('api1', key));
    await expectGood(fourth);
  });

  test('after the grace period: 401 for the old secret', async () => {
    const key = await mine.createKey();
    const rotated = await rotate(key, { graceSeconds: 60 });
    await expectGood(key);
    await letPass(key, 1);
    expectInvalid(await api.call('api1', key));
    await expectGood(rotated);
  });

  test('with a later expiry of the key: the old secret keeps its earlier expiry', async () => {
    const soon = inMinutes(10);
    const key = await mine.createKey({ expiresAt: soon });
    const rotated = await rotate(key, { graceSeconds: 3_600 });
    expect(rotated.expiresAt).toBe(soon);
    await expectGood(key);
    await mine.patch(`/v1/keys/${key.id}`, { expiresAt: '2099-01-01T00:00:00Z' });
    await expectGood(rotated);
    await letPass(key, 10);
    expectInvalid(await api.call('api1', key));
    await expectGood(rotated);
    await mine.patch(`/v1/keys/${key.id}`, { expiresAt: null });
    expectInvalid(await api.call('api1', key));
    await expectGood(rotated);
  });

  test('during the grace period: both secrets share limits and counts', async () => {
    const slug = await api.createApi();
    const meter = `api:${slug}`;
    const key = await mine.createKey({ limits: [{ meter, limit: 3, window: 'lifetime' }] });
    expect((await api.call(slug, key)).status).toBe(200);
    const rotated = await rotate(key, { graceSeconds: 60 });
    expect(rotated.limits).toMatchObject([{ meter, limit: 3, used: 1, remaining: 2 }]);
    expect((await api.call(slug, rotated)).status).toBe(200);
    expect((await api.call(slug, key)).status).toBe(200);
    for (const each of [key, rotated]) expectProblem(await api.call(slug, each), 429, 'quota_exceeded');
  });

  test('of a disabled key: all secrets get 401 until it is enabled', async () => {
    const key = await mine.createKey();
    const rotated = await rotate(key, { graceSeconds: 60 });
    await mine.patch(`/v1/keys/${key.id}`, { disabled: true });
    const again = await rotate(key, { graceSeconds: 60 });
    for (const each of [key, rotated, again]) expectInvalid(await api.call('api1', each));
    await mine.patch(`/v1/keys/${key.id}`, { disabled: false, scopes: ['api2'] });
    for (const each of [key, rotated, again]) {
      expectProblem(await api.call('api1', each), 403, 'scope_denied');
      expect((await api.call('api2', each)).status).toBe(200);
    }
    await mine.delete(`/v1/keys/${key.id}`);
    for (const each of [key, rotated, again]) expectInvalid(await api.call('api2', each));
  });

  test.each([-1, 1.5, 2_678_401, '60', null, 2 ** 53, true])('with graceSeconds of %p: 400', async (graceSeconds) => {
    const key = await mine.createKey();
    expectField(await mine.post(`/v1/keys/${key.id}/rotate`, { graceSeconds }), '/graceSeconds');
    await expectGood(key);
  });
});

describe('API key limits', () => {
  const unused = { meter: 'api:api1', window: 'lifetime', used: 0, resetsAt: null, scope: 'key' };

  test('POST /v1/keys with several limits: each is enforced', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const limits = [
        { meter: `api:${slug}`, limit: 2, window: 'day' },
        { meter: `api:${slug}`, limit: 100 },
        { meter: 'api:*', limit: 3, window: 'month' },
        { meter: 'api:api1', limit: null },
        { meter: 'api:api2', limit: 0 },
      ];
      const key = await mine.createKey({ limits });
      expect(key.limits).toHaveLength(5);
      const midnight: unknown = expect.stringMatching(/T00:00:00\.000Z$/);
      for (const { meter, limit, window = 'lifetime' } of limits) {
        const resetsAt = window === 'lifetime' ? null : midnight;
        expect(key.limits).toContainEqual({ meter, window, limit, used: 0, remaining: limit, resetsAt, scope: 'key' });
      }
      expectProblem(await api.call('api2', key), 429, 'quota_exceeded');
      expect((await api.call(slug, key)).status).toBe(200);
      expect((await api.call(slug, key)).status).toBe(200);
      const refused = await api.call(slug, key);
      expectProblem(refused, 429, 'quota_exceeded');
      expect(refused.body.violated).toMatchObject([{ scope: 'key', meter: `api:${slug}`, window: 'day', limit: 2 }]);
      expect(refused.body.limits).toHaveLength(3);
      expect((await api.call('api1', key)).status).toBe(200);
      expect((await api.call('api1', key)).body.violated).toMatchObject([{ meter: 'api:*', window: 'month', used: 3 }]);
      // The limits apply to this key only.
      expect((await api.call(slug, await mine.createKey())).status).toBe(200);
      expect((await mine.get(`/v1/keys/${key.id}`)).body.limits).toContainEqual(
        expect.objectContaining({ meter: `api:${slug}`, window: 'lifetime', used: 2, remaining: 98 }),
      );
    }));

  test('PUT of a limit: the owner can set or lower it, an administrator can also raise it', async () => {
    const key = await mine.createKey();
    const path = `/v1/keys/${key.id}/quotas/api:api1`;
    const set = async (as: Api, limit: number | null): Promise<void> => {
      const answer = await as.put(path, { limit });
      expect(answer.status).toBe(200);
      expect(answer.body).toEqual({ ...unused, limit, remaining: limit });
      expect((await mine.get(`/v1/keys/${key.id}`)).body.limits).toEqual([answer.body]);
    };
    expect((await mine.delete(path)).status).toBe(204);
    await set(mine, null);
    await set(mine, 10);
    await set(mine, 10);
    await set(mine, 5);
    for (const limit of [6, null, Number.MAX_SAFE_INTEGER]) {
      expectProblem(await mine.put(path, { limit }), 403, 'forbidden');
    }
    expectProblem(await mine.delete(path), 403, 'forbidden');
    expectProblem(await mine.delete(`${path}?window=lifetime`), 403, 'forbidden');
    expect((await mine.get(`/v1/keys/${key.id}`)).body.limits).toEqual([{ ...unused, limit: 5, remaining: 5 }]);
    // Each window has a separate limit.
    expect((await mine.put(path, { limit: 7, window: 'day' })).body).toMatchObject({ limit: 7, window: 'day' });
    expectProblem(await mine.put(path, { limit: 8, window: 'day' }), 403, 'forbidden');
    expect((await admin.delete(`${path}?window=day`)).status).toBe(204);
    await set(admin, 100);
    await set(admin, null);
    await set(mine, 50);
    expect((await admin.delete(path)).status).toBe(204);
    expect((await mine.get(`/v1/keys/${key.id}`)).body.limits).toEqual([]);
  });

  test('the own key of an administrator: limits apply, and the administrator can raise them', async () => {
    const boss = api.as(await api.createUser({ role: 'admin' }));
    const key = await boss.createKey({ limits: [{ meter: 'api:api1', limit: 0 }] });
    expectProblem(await api.call('api1', key), 429, 'quota_exceeded');
    expect((await boss.put(`/v1/keys/${key.id}/quotas/api:api1`, { limit: 1 })).status).toBe(200);
    await expectGood(key);
  });

  test('PUT of a limit after some calls: counts the earlier calls', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const key = await mine.createKey();
      for (const each of [slug, slug, 'api1']) expect((await api.call(each, key)).status).toBe(200);
      const put = (meter: string, limit: number): Promise<Answer> =>
        mine.put(`/v1/keys/${key.id}/quotas/${meter}`, { limit, window: 'day' });
      expect((await put(`api:${slug}`, 3)).body).toMatchObject({ used: 2, remaining: 1 });
      expect((await put('api:*', 5)).body).toMatchObject({ used: 3, remaining: 2 });
      expect((await api.call(slug, key)).status).toBe(200);
      expectProblem(await api.call(slug, key), 429, 'quota_exceeded');
      await expectGood(key);
      expectProblem(await api.call('api1', key), 429, 'quota_exceeded');
    }));

  test.each([
    ['a gauge', { meter: 'resources', limit: 1 }, 'meter'],
    ['an API that is not in the catalogue', { meter: 'api:nosuchapi', limit: 1 }, 'meter'],
    ['no meter', { meter: 'unknown', limit: 1 }, 'meter'],
    ['a meter in capitals', { meter: 'api:API1', limit: 1 }, 'meter'],
    ['an unknown window', { meter: 'api:api1', limit: 1, window: 'year' }, 'window'],
    ['a limit below 0', { meter: 'api:api1', limit: -1 }, 'limit'],
    ['a fraction', { meter: 'api:api1', limit: 1.5 }, 'limit'],
    ['2^53', { meter: 'api:api1', limit: 2 ** 53 }, 'limit'],
    ['a text', { meter: 'api:api1', limit: '1' }, 'limit'],
    ['no limit', { meter: 'api:api1' }, 'limit'],
    ['something else', { meter: 'api:api1', limit: 1, cost: 1 }, 'cost'],
  ])('POST and PUT with %s: 400, and no change', async (_case, limit, field) => {
    const good = { meter: 'api:api2', limit: 1 };
    const before = (await mine.get('/v1/keys?limit=1')).body.data;
    expectField(await mine.post('/v1/keys', { name: 'x', scopes: ['*'], limits: [good, limit] }), `/limits/1/${field}`);
    expect((await mine.get('/v1/keys?limit=1')).body.data).toEqual(before);
    const key = await mine.createKey();
    const { meter, ...body } = limit;
    expectField(await mine.put(`/v1/keys/${key.id}/quotas/${encodeURIComponent(meter)}`, body), `/${field}`);
    expect((await mine.get(`/v1/keys/${key.id}`)).body.limits).toEqual([]);
  });

  test('POST /v1/keys with duplicate limits, or more than 100: 400', async () => {
    const twice = ['day', 'day'].map((window) => ({ meter: 'api:api1', limit: 1, window }));
    expectField(await mine.post('/v1/keys', { name: 'x', scopes: [], limits: twice }), '/limits/1/meter');
    const many = Array.from({ length: 101 }, () => ({ meter: 'api:api1', limit: 1 }));
    expectField(await mine.post('/v1/keys', { name: 'x', scopes: [], limits: many }), '/limits');
    for (const limits of [[null], [1], ['x'], [[]]]) {
      expectProblem(await mine.post('/v1/keys', { name: 'x', scopes: [], limits }), 400, 'validation_failed');
    }
  });
});
