import { Api, expectProblem, sendExactly, sharedApi, uniqueName, type Answer } from './support/api.js';
import { TestServer, createDatabase, query } from './support/server.js';

const api = sharedApi();
const PASSWORD = 'Unguessable-7';

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

const register = (body: object): Promise<Answer> => api.post('/v1/auth/register', { password: PASSWORD, ...body });

async function make(body: object): Promise<string> {
  const made = await admin.post('/v1/users', { password: PASSWORD, ...body });
  if (made.status !== 201) throw new Error(made.text);
  return made.body.id;
}

const idsFound = async (text: string): Promise<string[]> =>
  (await admin.get(`/v1/users?query=${encodeURIComponent(text)}`)).body.data.map(({ id }: { id: string }) => id);

/** Equivalent spellings of one e-mail address. `name` is a unique part, so that tests do not collide. */
const SPELLINGS: [what: string, spell: (name: string) => string[]][] = [
  ['final sigma', (name) => [`νικος.παπας.${name}@x.example`, `ΝΙΚΟΣ.ΠΑΠΑΣ.${name.toUpperCase()}@X.example`]],
  ['ß', (name) => [`straße.${name}@x.example`, `STRASSE.${name}@x.example`, `STRAẞE.${name}@x.example`]],
  ['İ', (name) => [`İzmir.${name}@x.example`, `i\u0307zmir.${name}@x.example`]],
  ['composed accents', (name) => [`zoë.${name}@x.example`, `ZOE\u0308.${name}@x.example`]],
  ['Cherokee', (name) => [`ᏣᎳᎩ.${name}@x.example`, `ꮳꮃꭹ.${name}@x.example`]],
  ['the Kelvin sign', (name) => [`\u212a.${name}@x.example`, `k.${name}@x.example`]],
  [
    'the domain',
    (name) => [`a.${name}@münchen.example`, `A.${name}@xn--mnchen-3ya.EXAMPLE`, `a.${name}@MU\u0308NCHEN.example`],
  ],
];

describe('equivalent spellings of an e-mail', () => {
  test.each(SPELLINGS)(
    'POST /v1/auth/register, POST /v1/users: 409 email_taken when only %s differs',
    async (_what, spell) => {
      const [first, ...others] = spell(uniqueName());
      expect((await register({ email: first })).status).toBe(201);
      for (const email of others) {
        expectProblem(await register({ email }), 409, 'email_taken');
        expectProblem(await admin.post('/v1/users', { email, password: PASSWORD }), 409, 'email_taken');
      }
    },
  );

  test.each(SPELLINGS)(
    'POST /v1/auth/register: concurrent requests create one account when only %s differs',
    async (_what, spell) => {
      const spellings = spell(uniqueName());
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_each, i) => register({ email: spellings[i % spellings.length] })),
      );
      expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
      expect(answers.filter(({ body }) => body.code === 'email_taken')).toHaveLength(11);
    },
  );

  test.each(SPELLINGS)(
    'an e-mail in a path, query, body or login: finds the account when only %s differs',
    async (_what, spell) => {
      const spellings = spell(uniqueName());
      const id = await make({ email: spellings[0] });
      for (const email of spellings) {
        const { accessToken } = await api.signIn(email, PASSWORD);
        const path = encodeURIComponent(email);
        expect((await api.as({ accessToken }).get(`/v1/users/${path}`)).body.id).toBe(id);
        expect((await admin.get(`/v1/users/${path}/quotas`)).status).toBe(200);
        expect((await admin.post('/v1/resources', { value: 'x', owner: email })).body.owner).toBe(id);
        expect((await admin.get(`/v1/resources?owner=${path}`)).body.data).not.toHaveLength(0);
        expect((await admin.get(`/v1/store?owner=${path}`)).status).toBe(200);
        expect((await admin.get(`/v1/audit?target=${path}&action=user.create`)).body.data).toHaveLength(1);
        expect((await admin.get(`/v1/metrics/users/${path}`)).status).toBe(200);
        expect(await idsFound(email)).toEqual([id]);
      }
    },
  );

  test('PATCH /v1/users/{user}: 200 for another spelling of the own e-mail, 409 for that of another user', async () => {
    const [first = '', second = ''] = SPELLINGS[0]![1](uniqueName());
    const [one, other] = [await make({ email: first }), await make({ username: uniqueName() })];
    expect((await admin.patch(`/v1/users/${one}`, { email: second })).body.email).toBe(second);
    expectProblem(await admin.patch(`/v1/users/${other}`, { email: first }), 409, 'email_taken');
  });
});

describe('look-alike names', () => {
  test.each([
    ['ı and i', 'ı', 'i'],
    ['fullwidth letters', 'ａ', 'a'],
    ['Cyrillic letters', 'а', 'a'],
  ])('%s: two accounts, each found by its own e-mail', async (_what, one, other) => {
    const name = uniqueName();
    const emails = [`${one}.${name}@x.example`, `${other}.${name}@x.example`];
    const ids = [await make({ email: emails[0] }), await make({ email: emails[1] })];
    for (const [i, email] of emails.entries()) {
      expect((await admin.get(`/v1/users/${encodeURIComponent(email)}`)).body.id).toBe(ids[i]);
      expect((await api.signIn(email, PASSWORD)).user.id).toBe(ids[i]);
    }
  });
});

describe('GET /v1/users?query=', () => {
  test('finds an e-mail by a prefix that ends in the domain, in any script', async () => {
    const name = uniqueName();
    const id = await make({ email: `${name}@münchen-x.example` });
    for (const end of [
      '@m',
      '@münchen',
      '@MÜNCHEN-',
      '@mu\u0308nchen-x',
      '@münchen-x.ex',
      '@xn--mnchen-x-65a.example',
    ]) {
      expect({ end, found: await idsFound(name + end) }).toEqual({ end, found: [id] });
    }
    for (const end of ['@munchen', '@münchen-y', '@mün\u00adchen', '@münchen/', '@münchen?', '@münchen@']) {
      expect({ end, found: await idsFound(name + end) }).toEqual({ end, found: [] });
    }
  });

  test('finds an e-mail by a prefix of the local part, in any case', async () => {
    const name = uniqueName();
    const id = await make({ email: `Straße.${name}@x.example` });
    expect(await idsFound(`STRASSE.${name}`)).toEqual([id]);
    expect(await idsFound(`straße.${name}@X`)).toEqual([id]);
  });
});

describe('strings that resemble an account name', () => {
  /** Percent-encoded suffixes and infixes of an e-mail. */
  const ENDS = [
    ...['%2Fx', '%3Fx', '%23x', '%3A80', '%5Cx', '.', '%2E', '%2F', '%40', '%252Fx', '%20', '%09', '%0A', '%00'],
    ...[
      '%C2%AD',
      '%E2%80%8B',
      '%EF%BB%BF',
      '%C2%A0',
      '%2F..',
      '%2F%2E%2E%2Fx',
      '%3Fowner=me',
      '%23',
      '%7F',
      '%2C',
      '%3B',
    ],
  ];

  test.each(ENDS)('GET, DELETE /v1/users/{user}: 404 for an e-mail with %s, and the account remains', async (end) => {
    const name = uniqueName();
    const id = await make({ username: name, email: `${name}@example.com` });
    for (const path of [`${name}@example.com${end}`, name + end, `${name}${end}@example.com`]) {
      for (const [method, below] of [
        ['DELETE', ''],
        ['GET', ''],
        ['GET', '/quotas'],
        ['DELETE', '/totp'],
      ] as const) {
        const answer = await sendExactly(admin, method, `/v1/users/${path}${below}`);
        expect({ path, status: answer.status }).toEqual({ path, status: 404 });
      }
    }
    expect((await admin.get(`/v1/users/${id}`)).status).toBe(200);
  });

  test.each(ENDS)('sign-in, `owner` and recovery: no account found for an e-mail with %s', async (end) => {
    const name = uniqueName();
    await make({ username: name, email: `${name}@example.com` });
    for (const text of [`${name}@example.com`, name].map((each) => each + decodeURIComponent(end))) {
      const signIn = await api.post('/v1/auth/login', { login: text, password: PASSWORD });
      expect({ text, status: signIn.status }).toEqual({ text, status: text.includes('\0') ? 400 : 401 });
      const owned = await admin.post('/v1/resources', { value: 'x', owner: text });
      expect({ text, status: owned.status }).toEqual({ text, status: text.includes('\0') ? 400 : 404 });
      const asked = await api.post('/v1/auth/recovery', { login: text });
      expect(asked.status).toBe(text.includes('\0') ? 400 : 202);
    }
  });

  test('GET /v1/users/{user}: 403 for a string that resembles the name of the caller', async () => {
    const email = `${uniqueName()}@example.com`;
    const user = await api.createUser({ email });
    for (const path of [
      `${email}%2Fx`,
      `${email}%3F`,
      `${email}.`,
      `${user.username}%20`,
      'me%20',
      'm%65%2F',
      encodeURIComponent('ｍｅ'),
    ]) {
      expectProblem(await sendExactly(api.as(user), 'GET', `/v1/users/${path}`), 403, 'forbidden');
    }
    for (const path of ['m%65', 'ME', encodeURIComponent(email), email.replace('@', '%40').toUpperCase()]) {
      expect((await sendExactly(api.as(user), 'GET', `/v1/users/${path}`)).status).toBe(200);
    }
  });

  test.each([
    ...[
      '\u00ad',
      '\u200b',
      '\u200d',
      '\u034f',
      '\ufe0f',
      '\u3164',
      '\u00a0',
      '\u3000',
      '\u0378',
      '"',
      ' ',
      '\u202e',
    ].map((char) => [JSON.stringify(char), (name: string) => `${name}${char}a@example.com`] as const),
    ['a trailing dot', (name: string) => `${name}@example.com.`],
    ['an invisible character in the domain', (name: string) => `${name}@exam\u00adple.com`],
    ['fullwidth letters in the domain', (name: string) => `${name}@ｅxample.com`],
    ['an address of IPv4', (name: string) => `${name}@127.0.0.1`],
    ['digits that IDNA maps to an address', (name: string) => `${name}@example.²²`],
    ['punycode of ASCII', (name: string) => `${name}@xn--example-.com`],
    ['punycode of nothing', (name: string) => `${name}@xn--a.com`],
    ['a label of 64 bytes', (name: string) => `${name}@${'ü'.repeat(59)}.com`],
    ['a percent-encoded domain', (name: string) => `${name}@ex%61mple.com`],
  ] as const)('POST /v1/auth/register: 400 for an e-mail with %s', async (_what, spell) => {
    const answer = await register({ email: spell(uniqueName()) });
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors).toEqual([{ pointer: '/email', detail: 'must be an e-mail address' }]);
  });
});

describe('USERNAME_POLICY=extended', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: TestServer;
  let extended: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.start({ DATABASE_URL: database.url, USERNAME_POLICY: 'extended' });
    extended = new Api(server.url);
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  const registerThere = (username: unknown): Promise<Answer> =>
    extended.post('/v1/auth/register', { username, password: PASSWORD });

  test.each(['john.doe', 'john-doe', 'john_doe', 'J.R.R-T_x', '1.2', 'a-1'])(
    'allows %s, and finds the account by it',
    async (username) => {
      const made = await registerThere(username);
      expect(made.body).toMatchObject({ username });
      expect((await registerThere(username.toUpperCase())).status).toBe(409);
      const { accessToken } = await extended.signIn(username.toUpperCase(), PASSWORD);
      expect((await extended.as({ accessToken }).get(`/v1/users/${username}`)).body.id).toBe(made.body.id);
      const boss = await extended.admin();
      expect((await boss.get(`/v1/users/${username.toUpperCase()}`)).body.id).toBe(made.body.id);
      expect((await boss.get(`/v1/users?query=${username.toUpperCase()}`)).body.data).toHaveLength(1);
      expect((await boss.patch(`/v1/users/${username}`, { username: `${username}.x` })).status).toBe(200);
    },
  );

  const FORM = 'must have 2 to 64 letters and digits (A–Z, a–z, 0–9), with single ., - or _ between them';

  test.each<[string, string]>([
    ['me', 'must not be "me"'],
    ['ME', 'must not be "me"'],
    ['019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c', 'must not have the form of an id'],
    ['019AA5D2_7C1E_7B1A_9D54_3F0F5A1F2B3C', 'must not have the form of an id'],
    ...['.john', 'john.', '-john', 'john-', '_x', 'jo..hn', 'jo.-hn'].map((name): [string, string] => [name, FORM]),
    ...['john@doe', 'john doe', 'jöhn', 'x', '..', 'a/b', '', 'john\n'].map((name): [string, string] => [name, FORM]),
  ])('POST /v1/auth/register: 400 for %j', async (username, detail) => {
    const answer = await registerThere(username);
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors).toEqual([{ pointer: '/username', detail }]);
  });

  test('is not the default; existing extended names still sign in under the default policy', async () => {
    const username = `${uniqueName()}.x`;
    expect((await registerThere(username)).status).toBe(201);
    const refusal = await register({ username });
    expect(refusal.body.errors).toEqual([
      { pointer: '/username', detail: 'must have 2 to 64 letters and digits (A–Z, a–z, 0–9)' },
    ]);
    const strict = await TestServer.start({ DATABASE_URL: database.url });
    expect((await new Api(strict.url).signIn(username, PASSWORD)).user).toMatchObject({ username });
    await strict.stop();
  });

  test('stores the case-folded name in the database', async () => {
    const username = `J.${uniqueName()}`;
    await registerThere(username);
    const rows = await query(database.url, 'SELECT username_key AS key FROM users WHERE username = $1', [username]);
    expect(rows).toEqual([{ key: username.toLowerCase() }]);
  });
});
