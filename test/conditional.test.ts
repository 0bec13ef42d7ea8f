import { randomUUID } from 'node:crypto';
import { expectProblem, sharedApi, uniqueName, type Account, type Api, type Answer } from './support/api.js';
import { query } from './support/server.js';

const api = sharedApi();

let admin: Api;
let user: Account;
let mine: Api;

beforeAll(async () => {
  admin = await api.admin();
  user = await api.createUser();
  mine = api.as(user);
});

/** An object with an ETag, and how to create and change it. */
interface Subject {
  name: string;
  as: () => Api;
  /** Creates the object and resolves with its path. */
  make: () => Promise<string>;
  /** A different change for each number. Missing if the object can only be deleted. */
  change?: (path: string, i: number) => { method: 'PATCH' | 'PUT'; path: string; body: unknown };
}

async function make(as: Api, path: string, body: object, id = 'id'): Promise<string> {
  const made = await as.post(path, body);
  expect(made.status).toBe(201);
  return `${path}/${made.body[id]}`;
}

const patching = (bodyOf: (i: number) => object) => (path: string, i: number) => ({
  ...{ method: 'PATCH' as const, path, body: bodyOf(i) },
});

const SUBJECTS: Subject[] = [
  {
    name: 'a user',
    as: () => admin,
    make: () => make(admin, '/v1/users', { username: uniqueName(), password: 'Unguessable-7' }),
    change: patching((i) => ({ credits: 10 + i })),
  },
  {
    name: 'a plan',
    as: () => admin,
    make: () => make(admin, '/v1/plans', { slug: uniqueName(), name: 'A plan' }, 'slug'),
    change: patching((i) => ({ limits: [{ meter: 'resources', limit: 10 + i }] })),
  },
  {
    name: 'an API',
    as: () => admin,
    make: () => make(admin, '/v1/apis', { slug: uniqueName(), name: 'An API', upstream: 'http://127.0.0.1:1' }, 'slug'),
    change: patching((i) => ({ upstream: `http://127.0.0.1:${String(10 + i)}` })),
  },
  {
    name: 'a key',
    as: () => mine,
    make: () => make(mine, '/v1/keys', { name: 'a key', scopes: ['*'], limits: [{ meter: 'api:api1', limit: 1_000 }] }),
    change: patching((i) => ({ name: `key ${String(i)}` })),
  },
  {
    name: 'a task',
    as: () => mine,
    make: () => make(mine, '/v1/tasks', { title: 'a task' }),
    change: patching((i) => ({ title: `task ${String(i)}` })),
  },
  {
    name: 'another’s task',
    as: () => admin,
    make: () => make(mine, '/v1/tasks', { title: 'a task' }),
    change: patching((i) => ({ title: `task ${String(i)}` })),
  },
  { name: 'a resource', as: () => mine, make: () => make(mine, '/v1/resources', { value: 'a text' }) },
  { name: 'another’s resource', as: () => admin, make: () => make(mine, '/v1/resources', { value: 'a text' }) },
  {
    name: 'an entry of the store',
    as: () => mine,
    make: async () => {
      const path = `/v1/store/${uniqueName()}%2F%C3%BC`;
      expect((await mine.put(path, 'first')).status).toBe(201);
      return path;
    },
    change: (path, i) => ({ method: 'PUT', path, body: i }),
  },
];

const CHANGEABLE = SUBJECTS.filter(({ change }) => change !== undefined);

const named = (subjects: Subject[]): [string, Subject][] => subjects.map((subject) => [subject.name, subject]);

function change({ as, change: changeOf }: Subject, path: string, i: number, headers = {}): Promise<Answer> {
  const { method, body, path: at } = changeOf!(path, i);
  return as().send(method, at, body, { headers });
}

function tagOf({ headers }: Answer): string {
  const tag = headers.get('etag') ?? '';
  expect(tag).toMatch(/^"[^"]+"$/);
  return tag;
}

/** Forms of a tag, also as compressing proxies (nginx, Apache, Jetty, Caddy) forward it. */
const spellings = (tag: string): string[] => [
  ...[tag, `W/${tag}`, '*', ` ${tag}\t`],
  ...[`"other", ${tag}`, `W/"other",W/${tag} , "more"`, `,${tag},,`],
  ...['-gzip', '-br', '-zstd', '--gzip'].map((coding) => `${tag.slice(0, -1)}${coding}"`),
];

describe.each(named(SUBJECTS))('%s', (_name, subject) => {
  test('GET: 200 with an ETag; with If-None-Match of it in any form: 304', async () => {
    const path = await subject.make();
    const first = await subject.as().get(path);
    const tag = tagOf(first);
    expect(first.headers.get('cache-control')).toBe('private, no-cache');
    expect(tagOf(await subject.as().get(path))).toBe(tag);
    for (const known of [tag, `W/${tag}`, '*', `"other", W/${tag}`]) {
      const answer = await subject.as().get(path, { headers: { 'if-none-match': known } });
      expect({ known, status: answer.status, text: answer.text }).toEqual({ known, status: 304, text: '' });
      expect(answer.headers.get('etag')).toBe(tag);
    }
    const other = await subject.as().get(path, { headers: { 'if-none-match': '"other"' } });
    expect(other).toMatchObject({ status: 200, text: first.text });
    const head = await subject.as().send('HEAD', path);
    expect(head).toMatchObject({ status: 200, text: '' });
    expect(tagOf(head)).toBe(tag);
    const known = await subject.as().send('HEAD', path, undefined, { headers: { 'if-none-match': tag } });
    expect(known).toMatchObject({ status: 304, text: '' });
  });

  test('GET with If-Match of another version: 412', async () => {
    const path = await subject.make();
    const tag = tagOf(await subject.as().get(path));
    const answer = await subject.as().get(path, { headers: { 'if-match': '"nope"' } });
    expectProblem(answer, 412, 'version_mismatch');
    expect((await subject.as().get(path, { headers: { 'if-match': tag } })).status).toBe(200);
  });

  test('GET with a malformed If-Match: 400 without an ETag', async () => {
    const path = await subject.make();
    for (const value of ['', 'x', '"a" "b"']) {
      const answer = await subject.as().get(path, { headers: { 'if-match': value } });
      expectProblem(answer, 400, 'validation_failed');
      expect(answer.headers.get('etag')).toBeNull();
    }
  });

  test('DELETE with If-Match of another version: 412, and nothing is deleted', async () => {
    const path = await subject.make();
    const before = await subject.as().get(path);
    for (const match of ['"nope"', 'W/"nope"', '"a", "b"', '""']) {
      const answer = await subject.as().delete(path, { headers: { 'if-match': match } });
      expectProblem(answer, 412, 'version_mismatch');
    }
    for (const bad of ['nope', '"nope', '*, "nope"']) {
      const answer = await subject.as().delete(path, { headers: { 'if-match': bad } });
      expectProblem(answer, 400, 'validation_failed');
    }
    const unless = await subject.as().delete(path, { headers: { 'if-none-match': '*' } });
    expectProblem(unless, 412, 'version_mismatch');
    expect(await subject.as().get(path)).toMatchObject({ status: 200, text: before.text });
  });

  test('DELETE with If-Match of its version, in any form: 204', async () => {
    for (let i = 0; i < spellings('""').length; i++) {
      const one = await subject.make();
      const match = spellings(tagOf(await subject.as().get(one)))[i]!;
      const answer = await subject.as().delete(one, { headers: { 'if-match': match } });
      expect({ match, status: answer.status }).toEqual({ match, status: 204 });
    }
    const path = await subject.make();
    const tag = tagOf(await subject.as().get(path));
    expect((await subject.as().delete(path, { headers: { 'if-match': `W/${tag}` } })).status).toBe(204);
    expectProblem(await subject.as().get(path), 404, 'not_found');
    const gone = await subject.as().delete(path, { headers: { 'if-match': tag } });
    expectProblem(gone, 404, 'not_found');
  });

  test('6 concurrent DELETE with the same If-Match: one succeeds', async () => {
    const path = await subject.make();
    const tag = tagOf(await subject.as().get(path));
    const answers = await Promise.all(
      Array.from({ length: 6 }, () => subject.as().delete(path, { headers: { 'if-match': tag } })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 404, 404, 404, 404, 404]);
  });
});

describe.each(named(CHANGEABLE))('Change of %s', (_name, subject) => {
  test('with If-Match of another version: 412, and nothing changes', async () => {
    const path = await subject.make();
    const before = await subject.as().get(path);
    for (const match of ['"nope"', 'W/"nope"', '"a", "b"']) {
      expectProblem(await change(subject, path, 1, { 'if-match': match }), 412, 'version_mismatch');
    }
    expectProblem(await change(subject, path, 1, { 'if-match': 'nope' }), 400, 'validation_failed');
    expectProblem(await change(subject, path, 1, { 'if-none-match': '*' }), 412, 'version_mismatch');
    expectProblem(await change(subject, path, 1, { 'if-none-match': tagOf(before) }), 412, 'version_mismatch');
    const after = await subject.as().get(path);
    expect(after.text).toBe(before.text);
    expect(tagOf(after)).toBe(tagOf(before));
  });

  test('with If-Match of its version, in any form: 200 with a new ETag', async () => {
    const path = await subject.make();
    let tag = tagOf(await subject.as().get(path));
    for (const [i] of spellings(tag).entries()) {
      const match = spellings(tag)[i]!;
      const answer = await change(subject, path, i, { 'if-match': match });
      expect({ match, status: answer.status }).toEqual({ match, status: 200 });
      expectProblem(await change(subject, path, 99, { 'if-match': tag }), 412, 'version_mismatch');
      const next = tagOf(await subject.as().get(path));
      expect(next).not.toBe(tag);
      // The response to a change has the new tag.
      expect(tagOf(answer)).toBe(next);
      tag = next;
    }
  });

  test('8 concurrent requests with the same If-Match: one succeeds', async () => {
    const path = await subject.make();
    const tag = tagOf(await subject.as().get(path));
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => change(subject, path, i, { 'if-match': tag })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array<number>(7).fill(412)]);
    const winner = answers.find(({ status }) => status === 200)!;
    expect(tagOf(await subject.as().get(path))).toBe(tagOf(winner));
  });

  test('concurrent with DELETE, both with the same If-Match: one succeeds', async () => {
    const path = await subject.make();
    const tag = tagOf(await subject.as().get(path));
    const [changed, deleted] = await Promise.all([
      change(subject, path, 1, { 'if-match': tag }),
      subject.as().delete(path, { headers: { 'if-match': tag } }),
    ]);
    const statuses = [changed.status, deleted.status];
    // If the deletion wins, the change gets 404; for a store entry it gets 412, because PUT would create it.
    expect([
      [200, 412],
      [404, 204],
      [412, 204],
    ]).toContainEqual(statuses);
  });
});

describe('Location and ETag of a new object', () => {
  const body = { username: uniqueName(), password: 'Unguessable-7' };

  test.each<[string, () => Api, () => [string, object]]>([
    ['user', () => admin, () => ['/v1/users', { ...body, username: uniqueName() }]],
    ['registered user', () => api, () => ['/v1/auth/register', { ...body, username: uniqueName() }]],
    ['plan', () => admin, () => ['/v1/plans', { slug: uniqueName(), name: 'A plan' }]],
    ['API', () => admin, () => ['/v1/apis', { slug: uniqueName(), name: 'An API' }]],
    ['key', () => mine, () => ['/v1/keys', { name: 'a key', scopes: ['*'] }]],
    ['task', () => mine, () => ['/v1/tasks', {}]],
    ['resource', () => mine, () => ['/v1/resources', { value: 'a text' }]],
  ])('POST of a %s: Location and ETag of the object, also in a replay', async (name, as, what) => {
    const [path, sent] = what();
    const headers = { 'idempotency-key': randomUUID() };
    const made = await as().post(path, sent, { headers });
    expect(made.status).toBe(201);
    const location = made.headers.get('location') ?? '';
    const found = await admin.get(location);
    expect(found.status).toBe(200);
    // The response to POST /v1/keys differs from the key: it contains the secret.
    expect({ ...found.body, key: made.body.key }).toEqual({ key: undefined, ...made.body });
    expect(made.headers.get('etag')).toBe(name === 'key' ? null : found.headers.get('etag'));
    const replayed = await as().post(path, sent, { headers });
    expect(replayed.headers.get('idempotency-replayed')).toBe('true');
    expect(replayed.headers.get('location')).toBe(location);
    expect(replayed.headers.get('etag')).toBe(made.headers.get('etag'));
  });

  test('PUT of a new store entry: Location of the entry, for any key and owner', async () => {
    for (const key of ['a', 'carts/17', 'ü €', '%2F', '?#&']) {
      const path = `/v1/store/${encodeURIComponent(key)}?owner=${user.username}`;
      const made = await admin.put(path, key);
      expect(made.status).toBe(201);
      expect((await admin.get(made.headers.get('location') ?? '')).body).toBe(key);
      expect((await admin.put(path, key)).headers.get('location')).toBeNull();
    }
  });

  test('POST of an object without a GET of its own: Location of the path that shows or manages it', async () => {
    const key = await mine.createKey();
    const rotated = await mine.post(`/v1/keys/${key.id}/rotate`, {});
    expect([rotated.status, rotated.headers.get('location')]).toEqual([201, `/v1/keys/${key.id}`]);
    const granted = await admin.post(`/v1/users/${user.username}/credits`, { amount: 1 });
    expect([granted.status, granted.headers.get('location')]).toEqual([201, `/v1/users/${user.username}/credits`]);
    const signing = await mine.post('/v1/auth/signing-keys', { name: 'a key' });
    expect([signing.status, signing.headers.get('location')]).toEqual([
      201,
      `/v1/auth/signing-keys/${signing.body.id}`,
    ]);
    expect((await mine.delete(signing.headers.get('location') ?? '')).status).toBe(204);
    const reset = await admin.post(`/v1/users/${user.username}/reset-link`);
    expect([reset.status, reset.headers.get('location')]).toEqual([201, `/v1/users/${user.username}/security`]);
  });
});

test('GET of a long object, plain or compressed: an ETag for each coding, each valid for If-Match', async () => {
  const tags = new Set<string>();
  for (const coding of ['identity', 'gzip', 'br']) {
    const path = await make(
      admin,
      '/v1/apis',
      { slug: uniqueName(), name: 'An API', answer: 'long '.repeat(500) },
      'slug',
    );
    const answer = await admin.get(path, { headers: { 'accept-encoding': coding } });
    expect(answer.headers.get('content-encoding')).toBe(coding === 'identity' ? null : coding);
    expect(answer.headers.get('vary')).toBe('accept-encoding');
    const tag = tagOf(answer);
    tags.add(tag.replace(/^"[\da-f]+/, ''));
    const known = await admin.get(path, { headers: { 'accept-encoding': coding, 'if-none-match': tag } });
    expect([known.status, known.headers.get('etag'), known.headers.get('vary')]).toEqual([304, tag, 'accept-encoding']);
    expect((await admin.patch(path, { name: 'Changed' }, { headers: { 'if-match': tag } })).status).toBe(200);
  }
  expect(tags.size).toBe(3);
});

test.each(SUBJECTS.filter(({ change }) => change?.('', 0).method === 'PATCH'))(
  'PATCH of $name that changes nothing: the same ETag and content',
  async ({ as, make: create, change }) => {
    const path = await create();
    const made = await as().get(path);
    const send = async (body: unknown): Promise<Answer> => {
      expect((await as().patch(path, body)).status).toBe(200);
      return as().get(path);
    };
    expect(await send({})).toMatchObject({ text: made.text });
    const { body } = change!(path, 1);
    const changed = await send(body);
    expect(tagOf(changed)).not.toBe(tagOf(made));
    const again = await send(body);
    expect([tagOf(again), again.text]).toEqual([tagOf(changed), changed.text]);
  },
);

test('PATCH of a key, a task and a user with the values that they have: the same ETag', async () => {
  const expiresAt = '2099-01-01T01:00:00.123+01:00';
  const key = await make(mine, '/v1/keys', { name: 'a key', scopes: ['api1'], expiresAt });
  const task = await make(mine, '/v1/tasks', { title: 'a task' });
  for (const [path, body] of [
    [key, { name: 'a key', scopes: ['api1'], expiresAt, disabled: false }],
    [task, { title: 'a task', completed: false }],
    ['/v1/users/me', { username: user.username, email: null, firstName: null }],
  ] as const) {
    const before = await mine.get(path);
    expect((await mine.patch(path, body)).status).toBe(200);
    expect([path, tagOf(await mine.get(path))]).toEqual([path, tagOf(before)]);
  }
});

describe('If-Match and If-None-Match', () => {
  test('after a sign-in of the user: 200 for If-None-Match, and If-Match still succeeds', async () => {
    const other = await api.createUser();
    const path = `/v1/users/${other.id}`;
    const tag = tagOf(await admin.get(path));
    await query(process.env.TEST_SERVER_DATABASE!, `UPDATE users SET last_login_at = '2020-01-01' WHERE id = $1`, [
      other.id,
    ]);
    const seen = await admin.get(path, { headers: { 'if-none-match': tag } });
    expect(seen).toMatchObject({ status: 200, body: { lastLoginAt: '2020-01-01T00:00:00.000Z' } });
    expect(tagOf(seen)).not.toBe(tag);
    expect((await admin.patch(path, { firstName: 'Ada' }, { headers: { 'if-match': tag } })).status).toBe(200);
  });

  test('after a call with the key: 200 for If-None-Match, and If-Match still succeeds', async () => {
    const key = await mine.createKey({ limits: [{ meter: 'api:api1', limit: 10 }] });
    const path = `/v1/keys/${key.id}`;
    const tag = tagOf(await mine.get(path));
    expect((await api.call('api1', key)).status).toBe(200);
    const seen = await mine.get(path, { headers: { 'if-none-match': tag } });
    expect(seen).toMatchObject({ status: 200, body: { limits: [{ used: 1 }] } });
    expect((await mine.patch(path, { name: 'used' }, { headers: { 'if-match': tag } })).status).toBe(200);
  });

  test.each<[string, () => Promise<string>, (path: string) => Promise<Answer>]>([
    [
      'a user whose credits are set as a quota',
      async () => `/v1/users/${(await api.createUser()).id}`,
      (path) => admin.put(`${path}/quotas/tasks`, { limit: 5 }),
    ],
    [
      'a user whose plan gets another slug',
      async () => `/v1/users/${(await api.createUser({ plan: await api.createPlan() })).id}`,
      async (path) => admin.patch(`/v1/plans/${(await admin.get(path)).body.plan}`, { slug: uniqueName() }),
    ],
    [
      'a user whose password is set',
      async () => `/v1/users/${(await api.createUser()).id}`,
      (path) => admin.patch(path, { password: 'Unguessable-8' }),
    ],
    [
      'a key with another limit',
      async () => `/v1/keys/${(await mine.createKey()).id}`,
      (path) => mine.put(`${path}/quotas/api:api1`, { limit: 5 }),
    ],
    [
      'a key with another secret',
      async () => `/v1/keys/${(await mine.createKey()).id}`,
      (path) => mine.post(`${path}/rotate`, {}),
    ],
  ])('for %s: 412 for the earlier version', async (_name, makeOne, changeIt) => {
    const path = await makeOne();
    const tag = tagOf(await admin.get(path));
    expect((await changeIt(path)).status).toBeLessThan(300);
    expectProblem(await admin.delete(path, { headers: { 'if-match': tag } }), 412, 'version_mismatch');
    expect((await admin.get(path)).status).toBe(200);
  });

  test('PATCH of credits with If-Match, concurrent with PUT of the quota: the quota is not lost', async () => {
    for (let round = 0; round < 5; round++) {
      const other = await api.createUser({ credits: 1 });
      const path = `/v1/users/${other.id}`;
      const tag = tagOf(await admin.get(path));
      const [changed, set] = await Promise.all([
        admin.patch(path, { credits: 2 }, { headers: { 'if-match': tag } }),
        admin.put(`${path}/quotas/tasks`, { limit: 3 }),
      ]);
      expect(set.status).toBe(200);
      expect([200, 412]).toContain(changed.status);
      expect((await admin.get(path)).body.credits).toBe(3);
    }
  });
});

test('PATCH /v1/platform with If-Match: 412 for another version, 200 for its version', async () => {
  const before = await admin.get('/v1/platform');
  const answer = await admin.patch('/v1/platform', { registration: 'closed' }, { headers: { 'if-match': '"nope"' } });
  expectProblem(answer, 412, 'version_mismatch');
  expect(await admin.get('/v1/platform')).toMatchObject({ text: before.text });
  const same = await admin.patch('/v1/platform', {}, { headers: { 'if-match': tagOf(before) } });
  expect([same.status, tagOf(same)]).toEqual([200, tagOf(before)]);
});

describe('Change of an object without an ETag', () => {
  test('with If-Match: 412 and no change; with *: 200', async () => {
    const other = await api.createUser();
    const key = await api.as(other).createKey();
    const session = (await api.as(other).get('/v1/auth/sessions')).body.data[0].id;
    const quota = `/v1/users/${other.id}/quotas/resources`;
    for (const [as, method, path, body] of [
      [admin, 'PUT', quota, { limit: 7 }],
      [admin, 'DELETE', quota, undefined],
      [api.as(other), 'PUT', `/v1/keys/${key.id}/quotas/api:api1`, { limit: 7 }],
      [api.as(other), 'DELETE', `/v1/auth/sessions/${session}`, undefined],
      [api.as(other), 'POST', `/v1/keys/${key.id}/rotate`, {}],
      [admin, 'POST', `/v1/users/${other.id}/credits`, { amount: 7 }],
    ] as const) {
      const refused = await as.send(method, path, body, { headers: { 'if-match': '"nope"' } });
      expectProblem(refused, 412, 'version_mismatch');
    }
    expect((await api.as(other).get(`/v1/keys/${key.id}`)).body.limits).toEqual(key.limits);
    expect((await api.as(other).get('/v1/auth/sessions')).body.data).toHaveLength(1);
    expect((await api.call('api1', key)).status).toBe(200);
    expect((await admin.put(quota, { limit: 7 }, { headers: { 'if-match': '*' } })).status).toBe(200);
    const stranger = await mine.put(quota, { limit: 1 }, { headers: { 'if-match': '"nope"' } });
    expectProblem(stranger, 403, 'forbidden');
  });
});
