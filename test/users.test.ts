import { randomUUID } from 'node:crypto';
import { Api, expectProblem, sharedApi, uniqueName, type Account, type Answer } from './support/api.js';
import { ADMIN_PASSWORD, FULL_HASHES, TestServer, createDatabase, query } from './support/server.js';

const api = sharedApi();
const PASSWORD = 'Unguessable-7';

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

const read = async (reference: string): Promise<any> => (await admin.get(`/v1/users/${reference}`)).body;

function sql(text: string, values: unknown[] = []): Promise<any[]> {
  return query(process.env.TEST_SERVER_DATABASE ?? '', text, values);
}

function expectField(answer: Answer, name: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors).toEqual(
    expect.arrayContaining([{ pointer: `/${name}`, detail: expect.stringMatching(/\S/) }]),
  );
}

/** Follows the cursors of a list and returns all items. */
async function listAll(as: Api, path: string): Promise<any[]> {
  const items = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const { body }: Answer = await as.get(`${path}${cursor && `&cursor=${cursor}`}`);
    items.push(...body.data);
    cursor = body.nextCursor;
  }
  return items;
}

describe('POST /v1/users', () => {
  test('returns every given field', async () => {
    const username = uniqueName();
    const plan = await api.createPlan();
    const fields = { username, email: `${username}@Example.com`, firstName: 'Ada', lastName: 'King', plan, credits: 7 };
    const made = await admin.post('/v1/users', { ...fields, password: PASSWORD, role: 'admin' });
    expect(made.status).toBe(201);
    expect(made.body).toEqual({
      ...fields,
      id: expect.any(String),
      role: 'admin',
      status: 'active',
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
      lastLoginAt: null,
    });
    expect(await read(made.body.id)).toEqual(made.body);
    const signedIn = await api.signIn(username, PASSWORD);
    expect((await api.as(signedIn).get('/v1/users?limit=1')).status).toBe(200);
  });

  test('defaults: role user, no plan, unlimited credits', async () => {
    const made = await admin.post('/v1/users', { username: uniqueName(), password: PASSWORD });
    expect(made.body).toMatchObject({ role: 'user', plan: null, credits: null, email: null, firstName: null });
    const nulls = { username: uniqueName(), password: PASSWORD, plan: null, credits: null };
    expect((await admin.post('/v1/users', nulls)).body).toMatchObject({ plan: null, credits: null });
  });

  test('no response contains the password or its hash', async () => {
    const password = 'Correct-Horse-7-Battery';
    const user = await api.createUser({ password });
    const answers = await Promise.all([
      api.post('/v1/auth/login', { login: user.username, password }),
      api.post('/v1/auth/refresh', { refreshToken: user.refreshToken }),
      admin.post('/v1/users', { username: uniqueName(), password }),
      admin.get(`/v1/users/${user.id}`),
      admin.get(`/v1/users?query=${user.username}`),
      admin.patch(`/v1/users/${user.id}`, { password: 'Correct-Horse-8-Battery' }),
      admin.patch(`/v1/users/${user.id}`, { password: 'Correct-Horse', username: '!' }),
      api.post('/v1/auth/register', { username: user.username, password }),
    ]);
    for (const { text } of answers) expect(text).not.toMatch(/Correct-Horse|argon2|[pP]assword_?[hH]ash/);
    const [row] = await sql('SELECT password_hash AS hash FROM users WHERE id = $1', [user.id]);
    expect(row.hash).toMatch(/^\$argon2id\$v=19\$/);
  });

  test.each([
    ['role', 'root'],
    ['role', null],
    ['plan', 'no-such-plan'],
    ['plan', ''],
    ['plan', 7],
    ['credits', -1],
    ['credits', 1.5],
    ['credits', '10'],
    ['credits', 2 ** 53],
    ['credits', true],
    ['status', 'disabled'],
    ['id', randomUUID()],
  ])('400 for %s %p', async (field, value) => {
    const username = uniqueName();
    expectField(await admin.post('/v1/users', { username, password: PASSWORD, [field]: value }), field);
    expectProblem(await admin.get(`/v1/users/${username}`), 404, 'not_found');
  });

  test('400 for a weak password and another invalid field: both are named', async () => {
    const user = await api.createUser();
    const weak = { username: '!', password: 'Password1!' };
    for (const answer of [await admin.post('/v1/users', weak), await admin.patch(`/v1/users/${user.id}`, weak)]) {
      expectField(answer, 'username');
      expect(answer.body.errors).toContainEqual({ pointer: '/password', detail: 'must not be a common password' });
    }
  });

  test('409 for a taken username or e-mail, 400 without either', async () => {
    const email = `${uniqueName()}@example.com`;
    const user = await api.createUser({ email });
    const make = (body: object) => admin.post('/v1/users', { password: PASSWORD, ...body });
    expectProblem(await make({ username: user.username.toUpperCase() }), 409, 'username_taken');
    expectProblem(await make({ email: email.toUpperCase() }), 409, 'email_taken');
    expectField(await make({}), 'username');
  });
});

describe('GET /v1/users/{user}', () => {
  test('found by id, username, e-mail or `me`, in any case', async () => {
    const email = `${uniqueName()}@example.com`;
    const user = await api.createUser({ email, username: `Ada${uniqueName()}` });
    const expected = await read(user.id);
    expect(expected).toMatchObject({ id: user.id, username: user.username, email });
    const names = [user.id, user.username, email];
    for (const name of names.flatMap((each) => [each, each.toUpperCase(), encodeURIComponent(each)])) {
      expect((await api.as(user).get(`/v1/users/${name}`)).body).toEqual(expected);
      expect((await admin.get(`/v1/users/${name}`)).body).toEqual(expected);
    }
    expect((await api.as(user).get('/v1/users/me')).body).toEqual(expected);
    expect((await admin.get('/v1/users/me')).body.username).toBe('admin');
  });

  test('`ME`: same as `me`', async () => {
    const user = await api.createUser();
    expect((await api.as(user).get('/v1/users/ME')).body.id).toBe(user.id);
  });

  test.each([randomUUID(), 'nosuchuser', 'nobody@example.com', '*', '%25', "'", '%00', 'x'.repeat(300)])(
    'all methods: 404 for an unknown user: %s',
    async (name) => {
      expectProblem(await admin.get(`/v1/users/${name}`), 404, 'not_found');
      expectProblem(await admin.get(`/v1/users/${name}/quotas`), 404, 'not_found');
      expectProblem(await admin.patch(`/v1/users/${name}`, { firstName: 'Ada' }), 404, 'not_found');
      expectProblem(await admin.put(`/v1/users/${name}/quotas/resources`, { limit: 1 }), 404, 'not_found');
      expectProblem(await admin.delete(`/v1/users/${name}/quotas/resources`), 404, 'not_found');
      expectProblem(await admin.delete(`/v1/users/${name}`), 404, 'not_found');
    },
  );

  test('If-None-Match: 304 until the account changes', async () => {
    const user = await api.createUser();
    const get = (tag: string) => api.as(user).get('/v1/users/me', { headers: { 'if-none-match': tag } });
    const first = await api.as(user).get('/v1/users/me');
    const tag = first.headers.get('etag') ?? '';
    expect(tag).toMatch(/^(W\/)?"[^"]+"$/);
    for (const known of [tag, `W/${tag}`, '*', `"other", ${tag}`, `"other",W/${tag} , "more"`]) {
      const answer = await get(known);
      expect({ known, status: answer.status, text: answer.text }).toEqual({ known, status: 304, text: '' });
      expect(answer.headers.get('etag')).toBe(tag);
    }
    for (const unknown of ['"other"', tag.slice(1, -1), 'W/"other"', '""', 'garbage']) {
      const answer = await get(unknown);
      expect({ unknown, status: answer.status }).toEqual({ unknown, status: 200 });
      expect(answer.body).toEqual(first.body);
    }
    expect((await api.as(user).patch('/v1/users/me', { firstName: 'Ada' })).status).toBe(200);
    const changed = await get(tag);
    expect(changed.status).toBe(200);
    expect(changed.headers.get('etag')).not.toBe(tag);
    // Unauthenticated requests get 401 regardless of the tag.
    expectProblem(await api.get('/v1/users/me', { headers: { 'if-none-match': '*' } }), 401, 'unauthenticated');
  });
});

describe('GET /v1/users', () => {
  /** Creates accounts with a common prefix. Returns them oldest first. */
  async function makeUsers(prefix: string, count: number): Promise<any[]> {
    const users = [];
    for (let i = 0; i < count; i++) {
      users.push((await admin.post('/v1/users', { username: `${prefix}${i}`, password: PASSWORD })).body);
    }
    return users;
  }

  test('newest first, and the same in pages of any size', async () => {
    const prefix = uniqueName();
    const expected = (await makeUsers(prefix, 5)).reverse();
    const whole = await admin.get(`/v1/users?query=${prefix}`);
    expect(whole.body).toEqual({ data: expected, nextCursor: null });
    expect(whole.headers.get('link')).toBeNull();
    for (const limit of [1, 2, 5, 100]) {
      expect(await listAll(admin, `/v1/users?query=${prefix}&limit=${limit}`)).toEqual(expected);
    }
  });

  test('role, status and plan: only matching accounts, alone, together and with a query, in pages', async () => {
    const prefix = uniqueName();
    const plan = await api.createPlan();
    const [first, second, third] = await makeUsers(prefix, 3);
    await admin.patch(`/v1/users/${first.id}`, { role: 'admin', plan });
    await admin.patch(`/v1/users/${second.id}`, { status: 'disabled', plan });
    const idsOf = async (query: string): Promise<string[]> =>
      (await listAll(admin, `/v1/users?limit=1&${query}`)).map(({ id }: { id: string }) => id);
    expect(await idsOf(`query=${prefix}&role=user`)).toEqual([third.id, second.id]);
    expect(await idsOf(`query=${prefix}&role=admin`)).toEqual([first.id]);
    expect(await idsOf(`query=${prefix}&status=active`)).toEqual([third.id, first.id]);
    expect(await idsOf(`plan=${plan}`)).toEqual([second.id, first.id]);
    expect(await idsOf(`plan=${plan}&status=disabled&role=user`)).toEqual([second.id]);
    expect(await idsOf(`plan=${plan}&query=${first.username}&role=user`)).toEqual([]);
    expect(await idsOf('plan=no-such-plan')).toEqual([]);
    for (const query of ['role=owner', 'status=', 'plan=', `plan=${'x'.repeat(65)}`]) {
      expectProblem(await admin.get(`/v1/users?${query}`), 400, 'validation_failed');
    }
    const { nextCursor } = (await admin.get(`/v1/users?limit=1&plan=${plan}`)).body;
    expectProblem(await admin.get(`/v1/users?role=user&cursor=${nextCursor}`), 400, 'validation_failed');
  });

  test('Link: contains the next page and keeps the query', async () => {
    const prefix = uniqueName();
    const users = await makeUsers(prefix, 3);
    const first = await admin.get(`/v1/users?limit=2&query=${prefix}`);
    expect(first.body.data).toEqual([users[2], users[1]]);
    const [, next = ''] = /^<(\/v1\/users\?.+)>; rel="next"$/.exec(first.headers.get('link') ?? '') ?? [];
    expect(next).toContain(`query=${prefix}`);
    const second = await admin.get(next);
    expect(second.body).toEqual({ data: [users[0]], nextCursor: null });
    expect(second.headers.get('link')).toBeNull();
  });

  test('cursor: continues at its position despite creations and deletions', async () => {
    const prefix = uniqueName();
    const users = await makeUsers(prefix, 4);
    const first = (await admin.get(`/v1/users?limit=2&query=${prefix}`)).body;
    await admin.delete(`/v1/users/${users[2].id}`);
    await makeUsers(`${prefix}late`, 1);
    const second = (await admin.get(`/v1/users?limit=2&query=${prefix}&cursor=${first.nextCursor}`)).body;
    expect(second.data).toEqual([users[1], users[0]]);
  });

  test('query: matches the start of username or e-mail in any case', async () => {
    const name = uniqueName();
    const [one] = await makeUsers(name, 1);
    const other = await admin.post('/v1/users', { email: `${name}x@Example.com`, password: PASSWORD });
    const found = async (text: string) =>
      (await admin.get(`/v1/users?query=${encodeURIComponent(text)}`)).body.data.map(({ id }: { id: string }) => id);
    expect(await found(name)).toEqual([other.body.id, one.id]);
    expect(await found(name.toUpperCase())).toEqual([other.body.id, one.id]);
    expect(await found(`${name}X@example`)).toEqual([other.body.id]);
    expect(await found(one.username)).toEqual([one.id]);
    for (const text of [
      name.slice(1),
      `${name}nothing`,
      '%',
      '_',
      `${name.slice(0, -1)}_`,
      `%${name}`,
      '\\',
      `${name}\\`,
    ]) {
      expect(await found(text)).toEqual([]);
    }
  });

  test('query: `%`, `_` and `\\` match literally', async () => {
    const name = uniqueName();
    const special = await admin.post('/v1/users', { email: `${name}%_a@example.com`, password: PASSWORD });
    await admin.post('/v1/users', { email: `${name}xya@example.com`, password: PASSWORD });
    for (const text of [`${name}%`, `${name}%_`, `${name}%_a@`]) {
      const { data } = (await admin.get(`/v1/users?query=${encodeURIComponent(text)}`)).body;
      expect(data).toEqual([special.body]);
    }
  });

  test('cursor of another list or filter: 400', async () => {
    const prefix = uniqueName();
    await makeUsers(prefix, 2);
    const cursorOf = async (path: string): Promise<string> => {
      const { nextCursor } = (await admin.get(`${path}limit=1`)).body;
      expect(nextCursor).toEqual(expect.any(String));
      return nextCursor;
    };
    const filtered = await cursorOf(`/v1/users?query=${prefix}&`);
    const unfiltered = await cursorOf('/v1/users?');
    const sessions = await cursorOf('/v1/auth/sessions?');
    for (const path of [
      `/v1/users?cursor=${filtered}`,
      `/v1/users?query=${prefix}x&cursor=${filtered}`,
      `/v1/users?query=${prefix}&cursor=${unfiltered}`,
      `/v1/users?cursor=${sessions}`,
      `/v1/resources?owner=*&cursor=${unfiltered}`,
      `/v1/auth/sessions?cursor=${unfiltered}`,
    ]) {
      expectField(await admin.get(path), 'cursor');
    }
  });
});

describe('PATCH /v1/users/me', () => {
  test('changes username, e-mail and names', async () => {
    const user = await api.createUser();
    // Moved back a minute, because two changes can share a millisecond.
    await sql(`UPDATE users SET updated_at = now() - interval '1 minute' WHERE id = $1`, [user.id]);
    const before = await read(user.id);
    const username = `Ada${uniqueName()}`;
    const changes = { username, email: `${username}@Example.com`, firstName: "Ada-Lou O'King", lastName: 'Ärztin' };
    const answer = await api.as(user).patch('/v1/users/me', changes);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ ...before, ...changes, updatedAt: expect.any(String) });
    expect(answer.body.updatedAt > before.updatedAt).toBe(true);
    expect(await read(user.id)).toEqual(answer.body);
    for (const name of [username.toUpperCase(), `${username}@example.COM`]) await api.signIn(name, user.password);
    expectProblem(await admin.get(`/v1/users/${user.username}`), 404, 'not_found');
  });

  test('omitted fields remain, null removes a value', async () => {
    const email = `${uniqueName()}@example.com`;
    const user = await api.createUser({ email, firstName: 'Ada', lastName: 'King' });
    const me = api.as(user);
    expect((await me.patch('/v1/users/me', { firstName: null })).body).toMatchObject({
      username: user.username,
      email,
      firstName: null,
      lastName: 'King',
    });
    expect((await me.patch('/v1/users/me', { username: null })).body).toMatchObject({ username: null, email });
    expectProblem(await admin.get(`/v1/users/${user.username}`), 404, 'not_found');
    await api.signIn(email, user.password);
    // The username is available again.
    const again = await admin.post('/v1/users', { username: user.username, password: PASSWORD });
    expect(again.status).toBe(201);
  });

  test('400 without a username or e-mail', async () => {
    const both = await api.createUser({ email: `${uniqueName()}@example.com` });
    const one = await api.createUser();
    expectProblem(await api.as(both).patch('/v1/users/me', { username: null, email: null }), 400, 'validation_failed');
    expectProblem(await api.as(one).patch('/v1/users/me', { username: null }), 400, 'validation_failed');
    const swapped = { username: null, email: `${uniqueName()}@example.com` };
    expect((await api.as(one).patch('/v1/users/me', swapped)).body).toMatchObject(swapped);
    // Concurrent removals must not remove both.
    const answers = await Promise.all(
      [{ username: null }, { email: null }].map((change) => api.as(both).patch('/v1/users/me', change)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400]);
  });

  test('own name in another case: 200; name of another user: 409', async () => {
    const email = `${uniqueName()}@example.com`;
    const [user, other] = await Promise.all([api.createUser({ email }), api.createUser()]);
    const upper = user.username.toUpperCase();
    expect((await api.as(user).patch('/v1/users/me', { username: upper })).body.username).toBe(upper);
    const before = await read(other.id);
    expectProblem(await api.as(other).patch('/v1/users/me', { username: upper }), 409, 'username_taken');
    expectProblem(await api.as(other).patch('/v1/users/me', { email: email.toUpperCase() }), 409, 'email_taken');
    const mixed = { firstName: 'Eve', username: user.username };
    expectProblem(await api.as(other).patch('/v1/users/me', mixed), 409, 'username_taken');
    expect(await read(other.id)).toEqual(before);
  });

  test.each([
    ['role', 'admin'],
    ['role', 'user'],
    ['status', 'disabled'],
    ['status', 'active'],
    ['plan', 'some-plan'],
    ['plan', null],
    ['credits', 1_000_000],
    ['credits', null],
    ['password', 'Unguessable-8'],
  ])('403 for %s %p', async (field, value) => {
    const user = await api.createUser({ credits: 3 });
    const before = await read(user.id);
    for (const others of [{}, { firstName: 'Ada', username: uniqueName() }]) {
      const answer = await api.as(user).patch(`/v1/users/${user.id}`, { ...others, [field]: value });
      expectProblem(answer, 403, 'forbidden');
    }
    expect(await read(user.id)).toEqual(before);
    await api.signIn(user.username, user.password);
  });

  test('empty change: 200 with the account', async () => {
    const user = await api.createUser();
    const answer = await api.as(user).patch('/v1/users/me', {});
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(await read(user.id));
  });
});

describe('PATCH, DELETE /v1/users/{user} by an administrator', () => {
  test('sets role, status, plan and credits', async () => {
    const user = await api.createUser();
    const plan = await api.createPlan();
    const changes = { role: 'admin', status: 'disabled', plan, credits: 0 };
    const set = await admin.patch(`/v1/users/${user.username}`, changes);
    expect(set.body).toMatchObject({ id: user.id, ...changes });
    const reset = { role: 'user', status: 'active', plan: null, credits: null };
    expect((await admin.patch(`/v1/users/${user.id}`, reset)).body).toMatchObject(reset);
    expect((await admin.patch(`/v1/users/${user.id}`, { credits: Number.MAX_SAFE_INTEGER })).body.credits).toBe(
      Number.MAX_SAFE_INTEGER,
    );
  });

  test.each([
    ['plan', 'no-such-plan'],
    ['plan', 'x'.repeat(65)],
    ['role', 'root'],
    ['role', null],
    ['status', 'gone'],
    ['status', null],
    ['credits', -1],
    ['credits', 0.5],
    ['credits', '1'],
    ['credits', 2 ** 53],
    ['password', 'weak'],
    ['password', null],
    ['id', randomUUID()],
    ['createdAt', '2020-01-01T00:00:00.000Z'],
  ])('400 for %s %p, and nothing changes', async (field, value) => {
    const user = await api.createUser();
    const before = await read(user.id);
    expectField(await admin.patch(`/v1/users/${user.id}`, { firstName: 'Ada', [field]: value }), field);
    expect(await read(user.id)).toEqual(before);
  });

  test('new password: ends all sessions of the user', async () => {
    const user = await api.createUser();
    const { accessToken } = await api.signIn(user.username, user.password);
    expect((await admin.patch(`/v1/users/${user.id}`, { password: 'Unguessable-8' })).status).toBe(200);
    for (const token of [user, { accessToken }]) {
      expectProblem(await api.as(token).get('/v1/users/me'), 401, 'invalid_token');
    }
    const { refreshToken } = user;
    expectProblem(await api.post('/v1/auth/refresh', { refreshToken }), 401, 'invalid_token');
    const old = await api.post('/v1/auth/login', { login: user.username, password: user.password });
    expectProblem(old, 401, 'invalid_credentials');
    await api.signIn(user.username, 'Unguessable-8');
    expect((await admin.get('/v1/users/me')).status).toBe(200);
  });

  test('DELETE: removes sessions, resources, keys and limits', async () => {
    const user = await api.createUser({ credits: 3 });
    const resource = (await api.as(user).post('/v1/resources', { value: 'x' })).body.id;
    const key = await api.as(user).createKey();
    expect((await admin.delete(`/v1/users/${user.username}`)).status).toBe(204);
    expectProblem(await api.call('api1', key), 401, 'invalid_api_key');
    expectProblem(await api.as(user).get('/v1/users/me'), 401, 'invalid_token');
    const { refreshToken } = user;
    expectProblem(await api.post('/v1/auth/refresh', { refreshToken }), 401, 'invalid_token');
    const signIn = await api.post('/v1/auth/login', { login: user.username, password: user.password });
    expectProblem(signIn, 401, 'invalid_credentials');
    for (const path of [`/v1/users/${user.id}`, `/v1/users/${user.username}`, `/v1/resources/${resource}`]) {
      expectProblem(await admin.get(path), 404, 'not_found');
      expectProblem(await admin.delete(path), 404, 'not_found');
    }
    for (const table of ['sessions', 'resources', 'gauges', 'flows', 'api_keys', 'api_key_secrets']) {
      expect(await sql(`SELECT FROM ${table} WHERE owner_id = $1`, [user.id])).toEqual([]);
    }
    const again = await admin.post('/v1/users', { username: user.username, password: PASSWORD });
    expect(again.status).toBe(201);
    expect(again.body.id).not.toBe(user.id);
  });

  test('DELETE under concurrent creations of the user: no row remains', async () => {
    const user = await api.createUser();
    const [gone, ...made] = await Promise.all([
      admin.delete(`/v1/users/${user.id}`),
      ...Array.from({ length: 30 }, () => api.as(user).post('/v1/resources', { value: 'x' })),
    ]);
    expect(gone.status).toBe(204);
    const kinds = new Set(made.map(({ status }) => status));
    expect([...kinds].filter((status) => ![201, 401, 404].includes(status))).toEqual([]);
    expect(await sql('SELECT FROM resources WHERE owner_id = $1', [user.id])).toEqual([]);
  });

  test('concurrent DELETEs: exactly one succeeds', async () => {
    const user = await api.createUser();
    const answers = await Promise.all([1, 2, 3].map(() => admin.delete(`/v1/users/${user.id}`)));
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 404, 404]);
  });
});

describe('DELETE /v1/users/me', () => {
  test('where the platform does not allow it: 403, and the account remains', async () => {
    const user = await api.createUser();
    const answer = await api.as(user).send('DELETE', '/v1/users/me', { password: user.password });
    expectProblem(answer, 403, 'forbidden');
    expect(answer.body.detail).toBe('Only administrators can delete accounts on this platform.');
    expect((await api.as(user).get('/v1/users/me')).status).toBe(200);
  });

  describe('where the platform allows it', () => {
    let open: Api;
    let server: TestServer;
    let settings: Awaited<ReturnType<typeof createDatabase>>;

    beforeAll(async () => {
      settings = await createDatabase();
      server = await TestServer.start({ DATABASE_URL: settings.url, TRUST_PROXY: '127.0.0.1' });
      open = new Api(server.url);
      await (await open.admin()).patch('/v1/platform', { selfDeletion: true });
    });

    afterAll(async () => {
      await server.stop();
      await settings.drop();
    });

    test('GET /v1/users/{user}/security: says so', async () => {
      const user = await open.createUser();
      expect((await open.as(user).get('/v1/users/me/security')).body).toMatchObject({ selfDeletion: true });
    });

    test('with the password: 204, and all that the user owns is deleted', async () => {
      const user = await open.createUser();
      await open.as(user).post('/v1/resources', { value: 'x' });
      const key = await open.as(user).createKey();
      const answer = await open.as(user).send('DELETE', '/v1/users/me', { password: user.password });
      expect(answer.status).toBe(204);
      expectProblem(await open.as(user).get('/v1/users/me'), 401, 'invalid_token');
      expectProblem(await open.call('api1', key), 401, 'invalid_api_key');
      const admin = await open.admin();
      expectProblem(await admin.get(`/v1/users/${user.id}`), 404, 'not_found');
      const [entry] = (await admin.get(`/v1/audit?action=user.delete&target=${user.id}`)).body.data;
      expect(entry).toMatchObject({ actor: user.id, target: user.id });
    });

    test('without the password: 400; with a wrong one: 401; the account remains', async () => {
      const user = await open.createUser();
      for (const body of [undefined, {}]) {
        const answer = await open.as(user).send('DELETE', '/v1/users/me', body);
        expectProblem(answer, 400, 'validation_failed');
        expect(answer.body.errors).toEqual([{ pointer: '/password', detail: 'is required' }]);
      }
      const wrong = await open.as(user).send('DELETE', '/v1/users/me', { password: 'Guessable-1' });
      expectProblem(wrong, 401, 'invalid_credentials');
      expect((await open.as(user).get('/v1/users/me')).status).toBe(200);
    });

    test('with If-Match of another version: 412, and the account remains', async () => {
      const user = await open.createUser();
      const init = { headers: { 'if-match': '"old"' } };
      const answer = await open.as(user).send('DELETE', '/v1/users/me', { password: user.password }, init);
      expectProblem(answer, 412, 'version_mismatch');
      expect((await open.as(user).get('/v1/users/me')).status).toBe(200);
    });

    test('another account: 403 for a user, whether or not it exists', async () => {
      const [user, other] = [await open.createUser(), await open.createUser()];
      for (const path of [`/v1/users/${other.id}`, '/v1/users/nobody']) {
        expectProblem(await open.as(user).send('DELETE', path, { password: user.password }), 403, 'forbidden');
      }
    });

    test('the last administrator: 409', async () => {
      expectProblem(await (await open.admin()).delete('/v1/users/me'), 409, 'last_admin');
    });
  });
});

describe('last administrator', () => {
  let server: TestServer;
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let own: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.start({ DATABASE_URL: database.url, ...FULL_HASHES });
    own = new Api(server.url);
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  test('password hash has the OWASP parameters', async () => {
    const rows = await query(database.url, 'SELECT password_hash AS hash FROM users');
    expect(rows).toHaveLength(1);
    expect(rows[0].hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  });

  const activeAdmins = async (): Promise<number> =>
    (await query(database.url, `SELECT FROM users WHERE role = 'admin' AND status = 'active'`)).length;

  /** The ways to remove an administrator. */
  const removals: [string, (as: Api, id: string) => Promise<Answer>][] = [
    ['demoted', (as, id) => as.patch(`/v1/users/${id}`, { role: 'user' })],
    ['disabled', (as, id) => as.patch(`/v1/users/${id}`, { status: 'disabled' })],
    ['deleted', (as, id) => as.delete(`/v1/users/${id}`)],
  ];

  test.each(removals)('409 last_admin when it would be %s', async (_how, remove) => {
    const last = await own.admin();
    // Ordinary users and disabled administrators do not count.
    await own.createUser();
    const disabled = await own.createUser({ role: 'admin' });
    await last.patch(`/v1/users/${disabled.id}`, { status: 'disabled' });
    const before = (await last.get('/v1/users/me')).body;
    expectProblem(await remove(last, before.id), 409, 'last_admin');
    expectProblem(await remove(last, 'me'), 409, 'last_admin');
    expect((await last.get('/v1/users/me')).body).toEqual(before);
    expect((await last.patch('/v1/users/me', { role: 'admin', status: 'active', firstName: 'Ada' })).status).toBe(200);
  });

  test.each(removals)('two administrators, each %s by the other concurrently: one remains', async (_how, remove) => {
    for (let round = 0; round < 3; round++) {
      const [one, two] = await Promise.all([own.createUser({ role: 'admin' }), own.createUser({ role: 'admin' })]);
      const first = (await (await own.admin()).get('/v1/users/me')).body.id;
      await query(database.url, `UPDATE users SET role = 'user' WHERE id = $1`, [first]);
      expect(await activeAdmins()).toBe(2);
      const answers = await Promise.all([remove(own.as(one), two.id), remove(own.as(two), one.id)]);
      expect(await activeAdmins()).toBe(1);
      expect(answers.filter(({ status }) => status === 200 || status === 204)).toHaveLength(1);
      const refused = answers.find(({ status }) => status >= 400);
      // The code depends on when the other request took effect.
      expect(['last_admin', 'forbidden', 'account_disabled', 'invalid_token']).toContain(refused?.body.code);
      await query(database.url, `UPDATE users SET role = 'user' WHERE id = ANY($1)`, [[one.id, two.id]]);
      await query(database.url, `UPDATE users SET role = 'admin' WHERE id = $1`, [first]);
    }
  });

  test('six administrators demote themselves concurrently: one remains', async () => {
    const leaving = await Promise.all(Array.from({ length: 5 }, () => own.createUser({ role: 'admin' })));
    const first = await own.signIn('admin', ADMIN_PASSWORD);
    const all = [...leaving, first];
    const answers = await Promise.all(all.map((account) => own.as(account).patch('/v1/users/me', { role: 'user' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 200, 409]);
    expect(await activeAdmins()).toBe(1);
    await query(database.url, `UPDATE users SET role = 'admin' WHERE id = $1`, [first.user.id]);
  });
});

describe('quotas of a user', () => {
  const path = (user: Account, meter = 'resources'): string => `/v1/users/${user.id}/quotas/${meter}`;

  /** Returns the gauges; quotas.test.ts tests the quotas of calls. */
  const gauges = ({ body }: Answer): any[] =>
    body.data.filter(({ meter }: { meter: string }) => !meter.startsWith('api:'));

  const quotasOf = async (user: Account): Promise<any[]> => gauges(await api.as(user).get('/v1/users/me/quotas'));

  const create = (user: Account): Promise<Answer> => api.as(user).post('/v1/resources', { value: 'x' });

  const unlimited = (meter: string) => ({
    meter,
    window: 'lifetime',
    limit: null,
    used: 0,
    remaining: null,
    resetsAt: null,
    scope: 'user',
  });

  const untouched = ['tasks', 'store.entries', 'store.bytes'].map(unlimited);

  test('PUT, GET, DELETE by an administrator; GET by the user', async () => {
    const user = await api.createUser();
    expect(await quotasOf(user)).toEqual([unlimited('resources'), ...untouched]);
    const set = await admin.put(path(user), { limit: 3, window: 'lifetime' });
    expect(set.status).toBe(200);
    expect(set.body).toEqual({ ...unlimited('resources'), limit: 3, remaining: 3 });
    await create(user);
    const listed = [{ ...set.body, used: 1, remaining: 2 }, ...untouched];
    expect(await quotasOf(user)).toEqual(listed);
    for (const name of [user.id, user.username]) {
      expect(gauges(await admin.get(`/v1/users/${name}/quotas`))).toEqual(listed);
    }
    expect((await admin.delete(`${path(user)}?window=lifetime`)).status).toBe(204);
    expect((await quotasOf(user))[0]).toEqual({ ...unlimited('resources'), used: 1 });
    expect((await admin.delete(path(user))).status).toBe(204);
  });

  test('GET: 403 for other users; PUT, DELETE: 403 for all users', async () => {
    const [user, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    expectProblem(await api.as(stranger).get(`/v1/users/${user.id}/quotas`), 403, 'forbidden');
    for (const account of [user, stranger]) {
      expectProblem(await api.as(account).put(path(user), { limit: 1 }), 403, 'forbidden');
      expectProblem(await api.as(account).delete(path(user)), 403, 'forbidden');
    }
    expect((await quotasOf(user))[0]).toEqual(unlimited('resources'));
  });

  test('null: unlimited; 0: grants nothing', async () => {
    const user = await api.createUser();
    expect((await admin.put(path(user), { limit: 0 })).body).toMatchObject({ limit: 0, remaining: 0 });
    const refused = await create(user);
    expectProblem(refused, 403, 'quota_exceeded');
    const judged = [{ ...unlimited('resources'), limit: 0, remaining: 0 }];
    expect(refused.body).toMatchObject({ limits: judged, violated: judged });
    expect((await admin.put(path(user), { limit: null })).body).toEqual(unlimited('resources'));
    expect((await create(user)).status).toBe(201);
    expect((await quotasOf(user))[0]).toEqual({ ...unlimited('resources'), used: 1 });
  });

  test('PUT applies to the next request, and deletion frees units', async () => {
    const user = await api.createUser();
    await admin.put(path(user), { limit: 1 });
    const { id } = (await create(user)).body;
    expectProblem(await create(user), 403, 'quota_exceeded');
    await admin.put(path(user), { limit: 2 });
    expect((await create(user)).status).toBe(201);
    expectProblem(await create(user), 403, 'quota_exceeded');
    await api.as(user).delete(`/v1/resources/${id}`);
    expect((await create(user)).status).toBe(201);
    await admin.delete(path(user));
    expect((await create(user)).status).toBe(201);
  });

  test('lowered below the usage: deletes nothing and rejects creations', async () => {
    const user = await api.createUser();
    const made = await Promise.all([create(user), create(user), create(user)]);
    expect((await admin.put(path(user), { limit: 1 })).body).toMatchObject({ limit: 1, used: 3, remaining: 0 });
    const refused = await create(user);
    expectProblem(refused, 403, 'quota_exceeded');
    expect(refused.body.limits).toMatchObject([{ limit: 1, used: 3, remaining: 0 }]);
    expect((await api.as(user).get('/v1/resources')).body.data).toHaveLength(3);
    for (const { body } of made.slice(0, 2)) await api.as(user).delete(`/v1/resources/${body.id}`);
    expectProblem(await create(user), 403, 'quota_exceeded');
    await api.as(user).delete(`/v1/resources/${made[2].body.id}`);
    expect((await create(user)).status).toBe(201);
  });

  test('apply to administrators, also when they create for another user', async () => {
    const boss = await api.createUser({ role: 'admin' });
    await api.as(boss).put(path(boss), { limit: 0 });
    expectProblem(await create(boss), 403, 'quota_exceeded');
    const user = await api.createUser();
    await admin.put(path(user), { limit: 1 });
    const give = () => admin.post('/v1/resources', { value: 'x', owner: user.username });
    expect((await give()).body.owner).toBe(user.id);
    expectProblem(await give(), 403, 'quota_exceeded');
  });

  test('quota `tasks` equals the credits', async () => {
    const user = await api.createUser({ credits: 3 });
    expect((await quotasOf(user))[1]).toEqual({ ...unlimited('tasks'), limit: 3, remaining: 3 });
    await admin.put(path(user, 'tasks'), { limit: 5 });
    expect((await read(user.id)).credits).toBe(5);
    await admin.delete(path(user, 'tasks'));
    expect((await read(user.id)).credits).toBeNull();
  });

  test('the largest exact integer is accepted', async () => {
    const user = await api.createUser();
    await create(user);
    const limit = Number.MAX_SAFE_INTEGER;
    expect((await admin.put(path(user), { limit })).body).toMatchObject({ limit, used: 1, remaining: limit - 1 });
  });

  test.each([
    ['a fraction', '{"limit":1.5}'],
    ['a negative number', '{"limit":-1}'],
    ['a string', '{"limit":"5"}'],
    ['2^53', '{"limit":9007199254740992}'],
    ['infinity', '{"limit":1e999}'],
    ['true', '{"limit":true}'],
    ['an array', '{"limit":[5]}'],
    ['an object', '{"limit":{}}'],
    ['nothing', '{}'],
    ['a window alone', '{"window":"lifetime"}'],
  ])('PUT: 400 for %s', async (_case, raw) => {
    const user = await api.createUser();
    await admin.put(path(user), { limit: 4 });
    expectField(await admin.put(path(user), undefined, { raw }), 'limit');
    expect((await quotasOf(user))[0].limit).toBe(4);
  });

  test('PUT, DELETE: 400 for an unknown meter or window', async () => {
    const user = await api.createUser();
    for (const meter of ['unknown', 'RESOURCES', 'resources%20', '%00', 'toString', '__proto__']) {
      expectProblem(await admin.put(path(user, meter), { limit: 1 }), 400, 'validation_failed');
      expectProblem(await admin.delete(path(user, meter)), 400, 'validation_failed');
    }
    for (const window of ['hour', 'LIFETIME', '', null, 7, ['lifetime']]) {
      expectField(await admin.put(path(user), { limit: 1, window }), 'window');
    }
    for (const window of ['forever', '', 'lifetime&window=lifetime']) {
      expectField(await admin.delete(`${path(user)}?window=${window}`), 'window');
    }
    expect(await quotasOf(user)).toEqual([unlimited('resources'), ...untouched]);
  });
});
