import {
  constants,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  randomUUID,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { hash } from '@node-rs/argon2';
import { Api, expectProblem, sharedApi, uniqueName, type Account, type Answer } from './support/api.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { Wire } from './support/wire.js';

const api = sharedApi();

const PASSWORD = 'Unguessable-7';

const register = (body: object): Promise<Answer> => api.post('/v1/auth/register', { password: PASSWORD, ...body });

const login = (name: string, password = PASSWORD): Promise<Answer> =>
  api.post('/v1/auth/login', { login: name, password });

const refresh = (refreshToken: string): Promise<Answer> => api.post('/v1/auth/refresh', { refreshToken });

const me = (account: { accessToken: string }): Promise<Answer> => api.as(account).get('/v1/users/me');

/** Signs the same user in again. */
async function another(account: Account): Promise<Account> {
  return { ...account, ...(await api.signIn(account.username, account.password)) };
}

function sql(text: string, values: unknown[]): Promise<any[]> {
  return query(process.env.TEST_SERVER_DATABASE ?? '', text, values);
}

function expectField(answer: Answer, name: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors).toEqual(
    expect.arrayContaining([{ pointer: `/${name}`, detail: expect.stringMatching(/\S/) }]),
  );
}

function statuses(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, body } of answers) {
    const key = body.code === undefined ? String(status) : `${status} ${body.code}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

describe('POST /v1/auth/register', () => {
  test('a valid body: 201 with an active account of role user, without the password', async () => {
    const username = uniqueName();
    const answer = await register({ username, email: `${username}@Example.com`, firstName: 'Ada', lastName: 'King' });
    expect(answer.status).toBe(201);
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/),
      username,
      email: `${username}@Example.com`,
      firstName: 'Ada',
      lastName: 'King',
      role: 'user',
      status: 'active',
      plan: null,
      credits: null,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      updatedAt: answer.body.createdAt,
      lastLoginAt: null,
    });
  });

  test('a username or an e-mail alone: 201; neither: 400', async () => {
    const name = uniqueName();
    expect((await register({ username: name })).body).toMatchObject({ username: name, email: null });
    const email = `${uniqueName()}@example.com`;
    expect((await register({ email })).body).toMatchObject({ username: null, email });
    expectField(await register({}), 'username');
  });

  test.each([
    ['one character', 'x'],
    ['65 characters', 'x'.repeat(65)],
    ['nothing', ''],
    ['a hyphen', 'ada-king'],
    ['an underscore', 'ada_king'],
    ['a space', 'ada king'],
    ['a space at the end', 'ada '],
    ['a line break at the end', 'adaking\n'],
    ['a letter that is not ASCII', 'adá'],
    ['digits that are not ASCII', 'ada٣'],
    ['an at sign', 'ada@example.com'],
    ['"me"', 'me'],
    ['"ME"', 'ME'],
    ['"Me"', 'Me'],
    ['null', null],
    ['a number', 12345],
  ])('a username of %s: 400', async (_case, username) => {
    expectField(await register({ username, email: `${uniqueName()}@example.com` }), 'username');
  });

  test('usernames of 2 and of 64 letters and digits: accepted', async () => {
    const long = uniqueName().padEnd(64, 'X9');
    expect((await register({ username: long })).body.username).toBe(long);
    // An earlier run may have taken the name of two characters; 409 also shows that its length is valid.
    expect(['201', '409 username_taken']).toContain(Object.keys(statuses([await register({ username: 'q2' })]))[0]);
  });

  test.each([
    ['no at sign', 'ada.example.com'],
    ['no host', 'ada@'],
    ['no name', '@example.com'],
    ['a space', 'ada king@example.com'],
    ['two at signs', 'ada@king@example.com'],
    ['a host without a dot', 'ada@localhost'],
    ['a display name', 'Ada <ada@example.com>'],
    ['a line break', 'ada@example.com\nbcc: eve@example.com'],
    ['nothing', ''],
    ['null', null],
    ['an array', ['ada@example.com']],
  ])('an e-mail with %s: 400', async (_case, email) => {
    expectField(await register({ email, username: uniqueName() }), 'email');
  });

  test('an e-mail of 254 characters: 201; of 255: 400', async () => {
    const email = (length: number): string => {
      const start = `${uniqueName()}@`;
      const end = '.example.com';
      const host = Array.from({ length: length - start.length - end.length }, (_, i) => (i % 50 === 49 ? '.' : 'h'));
      return start + host.join('').replace(/\.$/, 'h') + end;
    };
    expect(email(254)).toHaveLength(254);
    expect((await register({ email: email(254) })).status).toBe(201);
    expectField(await register({ email: email(255) }), 'email');
  });

  test.each([
    ...[
      'Ada',
      'Zoë',
      "O'Neill",
      'O’Neill',
      'Jean-Luc',
      'Anna Maria',
      'Martin Luther King Jr.',
      'J. R. R.',
      'Li',
      'Ярослава',
    ],
    ...[
      '明子',
      'فاطمة',
      'Nguyễn',
      'अनीता',
      '李',
      '김',
      'あ',
      'ア',
      'ｱ',
      '𠮷',
      'Łukasz',
      'Ng',
      'Ó Briain',
      'ʻAkahi',
      'D’Arcy-O’Hara',
      'Gal·la',
      'メアリー・アン',
      'ג\u05f3ורג\u05f3',
      'רש\u05f4י',
      'علی\u200cرضا',
      'ක්\u200dෂමා',
    ],
  ])('the name %s: accepted unchanged', async (name) => {
    const answer = await register({ username: uniqueName(), firstName: name, lastName: name });
    expect(answer.body).toMatchObject({ firstName: name, lastName: name });
  });

  test('names of 32 composed characters, in any Unicode form: 201; of 33: 400', async () => {
    for (const name of ['𐐀'.repeat(32), 'é'.normalize('NFD').repeat(32), '김'.normalize('NFD').repeat(32)]) {
      expect((await register({ username: uniqueName(), firstName: name })).body.firstName).toBe(name);
    }
    expectField(await register({ username: uniqueName(), firstName: 'é'.normalize('NFD').repeat(33) }), 'firstName');
    expectField(await register({ username: uniqueName(), firstName: 'é'.normalize('NFD') }), 'firstName');
    expect((await register({ username: uniqueName(), firstName: '김'.normalize('NFD') })).status).toBe(201);
  });

  test('a name with spaces at its ends: trimmed', async () => {
    const names = { firstName: '  Ada \t', lastName: '\u00a0Ó  Briain\n' };
    expect((await register({ username: uniqueName(), ...names })).body).toMatchObject({
      firstName: 'Ada',
      lastName: 'Ó  Briain',
    });
    expectField(await register({ username: uniqueName(), firstName: ' A ' }), 'firstName');
  });

  test.each([
    ['one letter', 'A'],
    ['33 letters', 'a'.repeat(33)],
    ['a digit', 'Ada2'],
    ['a digit of another script', 'Ada٣'],
    ['a letter of Greek', 'Ω'],
    ['an accented letter', 'Á'],
    ['an ideographic number, which is no letter', '〇'],
    ['the mark of Kana alone', 'ー'],
    ['no letter', "-'"],
    ['marks without a letter', '\u0301\u0301'],
    ['a dot alone', '..'],
    ['a zero width space', 'Ada\u200bKing'],
    ['a letter and U+0000', 'Ada\0'],
    ['a joiner at its end', 'علی\u200c'],
    ['a joiner at its start', '\u200dක්'],
    ['a joiner beside a space', 'ක් \u200dෂමා'],
    ['two joiners in a row', 'ක්\u200c\u200dෂමා'],
    ['a bidirectional control', 'Ada\u202eKing'],
    ['a direction mark', 'Ada\u200fKing'],
    ['a word joiner', 'Ada\u2060King'],
    ['a middle dot alone', '··'],
    ['a lone surrogate', 'Ada\ud800'],
    ['spaces only', '   '],
    ['an underscore', 'Ada_King'],
    ['markup', '<b>Ada</b>'],
    ['a line break', 'Ada\nKing'],
    ['a tabulator', 'Ada\tKing'],
    ['an emoji', 'Ada 🙂'],
    ['nothing', ''],
    ['null', null],
  ])('a name of %s: 400', async (_case, name) => {
    const answer = await register({ username: uniqueName(), firstName: name, lastName: name });
    expectField(answer, 'firstName');
    expectField(answer, 'lastName');
  });

  test.each([
    ['7 characters', 'Aa1-xyz'],
    ['65 characters', `Aa1-${'x'.repeat(61)}`],
    ['no lower case', 'UNGUESSABLE-7'],
    ['no upper case', 'unguessable-7'],
    ['no digit', 'Unguessable-'],
    ['no special character', 'Unguessable7'],
    ['a space as its only special character', 'Unguessable 7'],
    ['a common word', 'Password1!'],
    ['U+0000', 'Unguessable-7\0'],
    ['a lone surrogate', 'Unguessable-7\ud800'],
    ['nothing', ''],
  ])('a password with %s: 400, and no account is created', async (_case, password) => {
    const username = uniqueName();
    const answer = await register({ username, password });
    expectField(answer, 'password');
    expect(answer.text).not.toContain(JSON.stringify(password));
    expectProblem(await login(username, password), 401, 'invalid_credentials');
  });

  test('a weak password: 400 with all missing requirements in one sentence', async () => {
    const { body } = await register({ username: uniqueName(), password: 'x' });
    const detail = 'must have 8 to 64 characters, an upper-case letter (A–Z), a digit (0–9) and a special character';
    expect(body.errors).toEqual([{ pointer: '/password', detail }]);
    expect(body.detail).toBe(`password ${detail}.`);
  });

  test.each([
    ['register', { username: 'a', password: 'short' }, '/username'],
    ['register', { username: 'a', password: 'Password1!' }, '/username'],
    ['password', { currentPassword: 7, newPassword: 'short' }, '/currentPassword'],
  ])('POST /v1/auth/%s %j: 400 that names both members', async (path, body, other) => {
    const user = await api.createUser();
    const answer = await api.as(user).post(`/v1/auth/${path}`, body);
    expectProblem(answer, 400, 'validation_failed');
    const pointer = path === 'register' ? '/password' : '/newPassword';
    const errors = answer.body.errors.map((error: { pointer: string }) => error.pointer);
    expect(errors.sort()).toEqual([other, pointer].sort());
  });

  test('passwords of 8 and of 64 characters: 201', async () => {
    for (const password of ['Aa1-wxyz', `Aa1-${'xy'.repeat(30)}`]) {
      const username = uniqueName();
      expect((await register({ username, password })).status).toBe(201);
      expect((await login(username, password)).status).toBe(200);
    }
  });

  test.each(['role', 'status', 'plan', 'credits', 'id', 'passwordHash'])('a body with %s: 400', async (field) => {
    expectField(await register({ username: uniqueName(), [field]: 'admin' }), field);
  });

  test('a username or e-mail that is taken, in any letter case: 409', async () => {
    const username = uniqueName();
    expect((await register({ username, email: `${username}@example.com` })).status).toBe(201);
    expectProblem(await register({ username: username.toUpperCase() }), 409, 'username_taken');
    expectProblem(await register({ email: `${username.toUpperCase()}@EXAMPLE.com` }), 409, 'email_taken');
  });

  const inSomeCase = (text: string, i: number): string =>
    [...text].map((letter, at) => ((i >> (at % 6)) & 1 ? letter.toUpperCase() : letter)).join('');

  test('50 concurrent requests for one username in different letter case: one 201', async () => {
    const username = `abcdef${uniqueName()}`;
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => register({ username: inSomeCase(username, i) })),
    );
    expect(statuses(answers)).toEqual({ '201': 1, '409 username_taken': 49 });
    expect((await (await api.admin()).get(`/v1/users?query=${username}`)).body.data).toHaveLength(1);
  });

  test('50 concurrent requests for one e-mail in different letter case: one 201', async () => {
    const email = `abcdef${uniqueName()}@example.com`;
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => register({ email: inSomeCase(email, i) })));
    expect(statuses(answers)).toEqual({ '201': 1, '409 email_taken': 49 });
    expect((await (await api.admin()).get(`/v1/users?query=${email}`)).body.data).toHaveLength(1);
  });
});

describe('Passwords with accents', () => {
  const [NFC, NFD] = ['Pássw0rd-Ålesund'.normalize('NFC'), 'Pássw0rd-Ålesund'.normalize('NFD')];
  const MIXED = 'P\u00e1ssw0rd-A\u030alesund';

  const hashOf = async (username: string): Promise<string> =>
    (await sql('SELECT password_hash AS hash FROM users WHERE username = $1', [username]))[0].hash;

  test.each([
    ['NFD', NFD],
    ['NFC', NFC],
    ['mixed', MIXED],
  ])('sign-in with every Unicode form of a password that was set as %s: 200', async (_form, set) => {
    const username = uniqueName();
    expect((await register({ username, password: set })).status).toBe(201);
    for (const form of [NFC, NFD, MIXED]) expect((await login(username, form)).status).toBe(200);
    expectProblem(await login(username, NFC.replace('á', 'a')), 401, 'invalid_credentials');
    expectProblem(await login(username, NFC.replace('á', 'à')), 401, 'invalid_credentials');
  });

  test('POST /v1/auth/password with the current password in another form: 204', async () => {
    const user = await api.createUser({ password: NFD });
    const changed = { currentPassword: NFC, newPassword: `${NFD}-2` };
    expect((await api.as(user).post('/v1/auth/password', changed)).status).toBe(204);
    expect((await login(user.username, `${NFC}-2`)).status).toBe(200);
  });

  test.each([
    ['NFD', NFD],
    ['mixed', MIXED],
  ])('sign-in with an old hash of the form %s: 200, and the hash is renewed', async (_form, set) => {
    const username = uniqueName();
    await register({ username });
    const old = await hash(set, { memoryCost: 1_024, timeCost: 1, parallelism: 1 });
    await sql('UPDATE users SET password_hash = $2 WHERE username = $1', [username, old]);
    expectProblem(await login(username, 'Wrong-Password-1'), 401, 'invalid_credentials');
    expect(await hashOf(username)).toBe(old);
    expect((await login(username, set)).status).toBe(200);
    const renewed = await hashOf(username);
    expect(renewed).not.toBe(old);
    for (const form of [NFC, NFD, MIXED]) expect((await login(username, form)).status).toBe(200);
    expect(await hashOf(username)).toBe(renewed);
  });

  test('registration: counts composed characters', async () => {
    const start = 'Aa1-';
    const make = (accents: number): Promise<Answer> =>
      register({ username: uniqueName(), password: start + 'e\u0301'.repeat(accents) });
    expect((await make(60)).status).toBe(201);
    expectField(await make(61), 'password');
    expectField(await make(3), 'password');
  });
});

describe('POST /v1/auth/login', () => {
  test('a username or e-mail in any letter case: 200 with tokens and the user', async () => {
    const username = uniqueName();
    const made = await register({ username, email: `${username}@example.com` });
    const before = (): Promise<any[]> =>
      sql(
        `UPDATE users SET last_login_at = now() - interval '1 minute' WHERE id = $1 RETURNING last_login_at AS last`,
        [made.body.id],
      );
    for (const name of [username, username.toUpperCase(), `${username}@example.com`, `${username}@EXAMPLE.com`]) {
      // Sets the last sign-in back by a minute, because two sign-ins can fall into one millisecond.
      const [{ last }] = await before();
      const answer = await login(name);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.body).toEqual({
        accessToken: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        tokenType: 'Bearer',
        expiresIn: 1800,
        refreshToken: expect.stringMatching(/^\S{40,}$/),
        user: { ...made.body, lastLoginAt: expect.any(String) },
      });
      expect(Date.parse(answer.body.user.lastLoginAt)).toBeGreaterThanOrEqual(last.getTime() + 60_000);
    }
  });

  test('an unknown login or a wrong password: the same 401', async () => {
    const user = await api.createUser();
    const answers = await Promise.all([
      login(user.username, 'Wrong-Password-1'),
      login(uniqueName(), 'Wrong-Password-1'),
      login(`${uniqueName()}@example.com`, 'Wrong-Password-1'),
      login(user.id, user.password),
      login('me', user.password),
      login(`${user.username} `, user.password),
    ]);
    for (const answer of answers) expectProblem(answer, 401, 'invalid_credentials');
    const shape = ({ text, body, headers }: Answer) => ({
      text: text.replace(body.requestId, ''),
      headers: [...headers].filter(([name]) => !['x-request-id', 'date', 'content-length'].includes(name)),
    });
    for (const answer of answers) expect(shape(answer)).toEqual(shape(answers[0]));
    expect((await me(user)).body.lastLoginAt).toEqual(expect.any(String));
  });

  test('a wrong password: account and sessions stay unchanged', async () => {
    const user = await api.createUser();
    const before = (await me(user)).body;
    await login(user.username, 'Wrong-Password-1');
    expect((await me(user)).body).toEqual(before);
    expect((await api.as(user).get('/v1/auth/sessions')).body.data).toHaveLength(1);
  });
});

interface Jwt {
  header: Record<string, unknown>;
  claims: Record<string, any>;
  signed: string;
  signature: Buffer;
}

function decode(token: string): Jwt {
  const [header = '', claims = '', signature = ''] = token.split('.');
  const parse = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString());
  return {
    header: parse(header),
    claims: parse(claims),
    signed: `${header}.${claims}`,
    signature: Buffer.from(signature, 'base64url'),
  };
}

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

function forge(header: object, claims: object, seal: (signed: Buffer) => Buffer | string): { accessToken: string } {
  const signed = `${encode(header)}.${encode(claims)}`;
  return { accessToken: `${signed}.${Buffer.from(seal(Buffer.from(signed))).toString('base64url')}` };
}

/** Unseals the server's private key as the server does, to sign tokens that the server never issues. */
async function serverKey(): Promise<KeyObject> {
  const [row] = await sql('SELECT kid, private_key_sealed AS sealed FROM signing_keys', []);
  const secret = 'a secret of thirty-two characters, only for tests';
  const key = Buffer.from(hkdfSync('sha256', secret, 'quartermaster', 'signing-key', 32));
  const opener = createDecipheriv('aes-256-gcm', key, row.sealed.subarray(0, 12))
    .setAAD(Buffer.from(row.kid))
    .setAuthTag(row.sealed.subarray(12, 28));
  const der = Buffer.concat([opener.update(row.sealed.subarray(28)), opener.final()]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

describe('Access token', () => {
  test('is an RS256 JWT with a lifetime of 30 minutes that the published keys verify', async () => {
    const user = await api.createUser();
    const { header, claims, signed, signature } = decode(user.accessToken);
    const { keys } = (await api.get('/.well-known/jwks.json')).body;
    expect(keys).toEqual([
      { kty: 'RSA', n: expect.any(String), e: 'AQAB', kid: expect.any(String), alg: 'RS256', use: 'sig' },
    ]);
    expect(header).toEqual({ alg: 'RS256', typ: 'JWT', kid: keys[0].kid });
    expect(claims).toEqual({
      iss: 'quartermaster',
      aud: 'quartermaster',
      sub: user.id,
      sid: (await api.as(user).get('/v1/auth/sessions')).body.data[0].id,
      jti: expect.stringMatching(/^\S{16,}$/),
      iat: expect.any(Number),
      exp: claims.iat + 1800,
    });
    const key = createPublicKey({ key: keys[0], format: 'jwk' });
    expect(verify('RSA-SHA256', Buffer.from(signed), key, signature)).toBe(true);
    const again = decode((await another(user)).accessToken).claims;
    expect(again.jti).not.toBe(claims.jti);
    expect(again.sid).not.toBe(claims.sid);
  });

  test('with altered claims or signature: 401', async () => {
    const [user, victim] = await Promise.all([api.createUser(), api.createUser()]);
    const [header = '', , signature = ''] = user.accessToken.split('.');
    const { claims } = decode(user.accessToken);
    const flipped = `${signature.slice(0, 100)}${signature[100] === 'A' ? 'B' : 'A'}${signature.slice(101)}`;
    const tokens = [
      `${header}.${encode({ ...claims, sub: victim.id })}.${signature}`,
      `${header}.${encode({ ...claims, sub: victim.id, sid: decode(victim.accessToken).claims.sid })}.${signature}`,
      `${header}.${encode({ ...claims, exp: claims.exp + 1 })}.${signature}`,
      `${header}.${encode({ ...claims, role: 'admin' })}.${signature}`,
      user.accessToken.replace(signature, flipped),
      user.accessToken.replace(signature, ''),
      user.accessToken.replace(`.${signature}`, ''),
      `${user.accessToken}.`,
      user.accessToken.slice(0, -10),
      user.accessToken.replace(signature, decode(victim.accessToken).signature.toString('base64url')),
    ];
    for (const accessToken of tokens) expectProblem(await me({ accessToken }), 401, 'invalid_token');
    expect((await me(user)).status).toBe(200);
  });

  test('unsigned, or signed with another key: 401', async () => {
    const user = await api.createUser();
    const { header, claims } = decode(user.accessToken);
    const [jwk] = (await api.get('/.well-known/jwks.json')).body.keys;
    const published = createPublicKey({ key: jwk, format: 'jwk' });
    const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const hmac = (secret: string | Buffer) => (signed: Buffer) => createHmac('sha256', secret).update(signed).digest();
    const tokens = [
      ...['none', 'None', 'NONE', ''].map((alg) => forge({ ...header, alg }, claims, () => '')),
      forge({ alg: 'none' }, claims, () => ''),
      forge({ typ: 'JWT' }, claims, () => ''),
      forge({ ...header, alg: 'HS256' }, claims, hmac(published.export({ type: 'spki', format: 'pem' }))),
      forge({ ...header, alg: 'HS256' }, claims, hmac(published.export({ type: 'spki', format: 'der' }))),
      forge({ ...header, alg: 'HS256' }, claims, hmac(JSON.stringify(jwk))),
      forge({ ...header, alg: 'HS256' }, claims, hmac('')),
      forge(header, claims, (signed) => sign('RSA-SHA256', signed, own.privateKey)),
      forge({ ...header, jwk: own.publicKey.export({ format: 'jwk' }) }, claims, (signed) =>
        sign('RSA-SHA256', signed, own.privateKey),
      ),
      forge(header, { ...claims, iat: claims.iat - 7200, exp: claims.exp - 7200 }, (signed) =>
        sign('RSA-SHA256', signed, own.privateKey),
      ),
    ];
    for (const token of tokens) expectProblem(await me(token), 401, 'invalid_token');
  });

  test('expired, or with other claims or algorithms than the server uses: 401', async () => {
    const user = await api.createUser();
    const { header, claims } = decode(user.accessToken);
    const key = await serverKey();
    const signed = (changes: object, alg = 'RS256', algorithm = 'RSA-SHA256') =>
      forge({ ...header, alg }, { ...claims, ...changes }, (text) => sign(algorithm, text, key));
    // Control: with valid claims the same signature is accepted.
    expect((await me(signed({ jti: randomUUID() }))).status).toBe(200);
    const now = Math.floor(Date.now() / 1_000);
    const refused = [
      signed({ iat: now - 1801, exp: now - 1 }),
      signed({ exp: undefined }),
      signed({ exp: 'never' }),
      signed({ nbf: now + 600 }),
      signed({ iss: 'another' }),
      signed({ iss: undefined }),
      signed({ aud: 'another' }),
      signed({ aud: undefined }),
      signed({ sub: undefined }),
      signed({ sub: 'admin' }),
      signed({ sub: randomUUID() }),
      signed({ sid: undefined }),
      signed({ sid: randomUUID() }),
      signed({ sid: { $ne: null } }),
      signed({}, 'RS512', 'RSA-SHA512'),
      forge({ ...header, alg: 'PS256' }, claims, (text) =>
        sign('RSA-SHA256', text, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
      ),
    ];
    for (const token of refused) expectProblem(await me(token), 401, 'invalid_token');
  });

  test('in place of a refresh token, or the reverse: 401', async () => {
    const user = await api.createUser();
    expectProblem(await me({ accessToken: user.refreshToken }), 401, 'invalid_token');
    expectProblem(await refresh(user.accessToken), 401, 'invalid_token');
    expect((await me(user)).status).toBe(200);
    expect((await refresh(user.refreshToken)).status).toBe(200);
  });
});

describe('POST /v1/auth/logout', () => {
  test('ends both tokens of the session, and no other session', async () => {
    const user = await api.createUser();
    const elsewhere = await another(user);
    expect((await me(user)).status).toBe(200);
    expect((await api.as(user).post('/v1/auth/logout')).status).toBe(204);
    expectProblem(await me(user), 401, 'invalid_token');
    expectProblem(await api.as(user).post('/v1/auth/logout'), 401, 'invalid_token');
    expectProblem(await refresh(user.refreshToken), 401, 'invalid_token');
    expect((await me(elsewhere)).status).toBe(200);
  });

  test('after a refresh: ends the new tokens too', async () => {
    const user = await api.createUser();
    const { body: next } = await refresh(user.refreshToken);
    expect((await api.as(user).post('/v1/auth/logout')).status).toBe(204);
    expectProblem(await me(next), 401, 'invalid_token');
    expectProblem(await refresh(next.refreshToken), 401, 'invalid_token');
  });
});

describe('POST /v1/auth/refresh', () => {
  test('a valid token: 200 with new tokens of the same session', async () => {
    const user = await api.createUser();
    const answer = await refresh(user.refreshToken);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.body).toMatchObject({ tokenType: 'Bearer', expiresIn: 1800, user: { id: user.id } });
    expect(answer.body.refreshToken).not.toBe(user.refreshToken);
    expect(answer.body.accessToken).not.toBe(user.accessToken);
    expect(decode(answer.body.accessToken).claims.sid).toBe(decode(user.accessToken).claims.sid);
    expect((await me(answer.body)).body).toEqual(answer.body.user);
    const { data } = (await api.as(answer.body).get('/v1/auth/sessions')).body;
    expect(data).toEqual([expect.objectContaining({ current: true, refreshedAt: expect.any(String) })]);
  });

  test('the same token within ten seconds: the same successor', async () => {
    const user = await api.createUser();
    const first = await refresh(user.refreshToken);
    const second = await refresh(user.refreshToken);
    expect(second.status).toBe(200);
    expect(second.body.refreshToken).toBe(first.body.refreshToken);
    expect((await refresh(first.body.refreshToken)).status).toBe(200);
  });

  test('the token before the previous one: 401, and the session ends', async () => {
    const user = await api.createUser();
    const child = (await refresh(user.refreshToken)).body;
    const grandchild = (await refresh(child.refreshToken)).body;
    expectProblem(await refresh(user.refreshToken), 401, 'invalid_token');
    expectProblem(await refresh(grandchild.refreshToken), 401, 'invalid_token');
    expectProblem(await refresh(child.refreshToken), 401, 'invalid_token');
    for (const tokens of [user, child, grandchild]) expectProblem(await me(tokens), 401, 'invalid_token');
  });

  test('the previous token after ten seconds: 401, and the session ends', async () => {
    const user = await api.createUser();
    const next = (await refresh(user.refreshToken)).body;
    await sql(`UPDATE sessions SET rotated_at = now() - interval '11 seconds' WHERE owner_id = $1`, [user.id]);
    expectProblem(await refresh(user.refreshToken), 401, 'invalid_token');
    expectProblem(await refresh(next.refreshToken), 401, 'invalid_token');
    expectProblem(await me(next), 401, 'invalid_token');
  });

  test('reuse of a token: ends no other session of the user', async () => {
    const user = await api.createUser();
    const elsewhere = await another(user);
    const child = (await refresh(user.refreshToken)).body;
    await refresh(child.refreshToken);
    expectProblem(await refresh(user.refreshToken), 401, 'invalid_token');
    expect((await me(elsewhere)).status).toBe(200);
    expect((await refresh(elsewhere.refreshToken)).status).toBe(200);
  });

  test('20 concurrent requests with one token: the same successor for all', async () => {
    const user = await api.createUser();
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(user.refreshToken)));
    expect(statuses(answers)).toEqual({ '200': 20 });
    expect(new Set(answers.map(({ body }) => body.refreshToken)).size).toBe(1);
    expect(new Set(await Promise.all(answers.map(async ({ body }) => (await me(body)).status)))).toEqual(
      new Set([200]),
    );
    expect((await refresh(answers[0]!.body.refreshToken)).status).toBe(200);
  });

  test('a forged token: 401, and the session continues', async () => {
    const [user, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    const token = user.refreshToken;
    const at = (i: number) => `${token.slice(0, i)}${token[i] === 'A' ? 'B' : 'A'}${token.slice(i + 1)}`;
    const forged = [
      at(10),
      at(40),
      at(60),
      at(token.length - 5),
      token.slice(0, -1),
      `${token}A`,
      `${token}=`,
      token.slice(0, 40) + stranger.refreshToken.slice(40),
      token.replace('qmr_', ''),
      'qmr_',
      '',
      'null',
    ];
    for (const refreshToken of forged) expectProblem(await refresh(refreshToken), 401, 'invalid_token');
    expect((await me(user)).status).toBe(200);
    expect((await refresh(token)).status).toBe(200);
  });

  test('a disabled account: 403, and the token stays valid', async () => {
    const user = await api.createUser();
    const admin = await api.admin();
    await admin.patch(`/v1/users/${user.id}`, { status: 'disabled' });
    expectProblem(await refresh(user.refreshToken), 403, 'account_disabled');
    // The client got no successor and retries after the ten seconds.
    await sql(`UPDATE sessions SET rotated_at = now() - interval '11 seconds' WHERE owner_id = $1`, [user.id]);
    await admin.patch(`/v1/users/${user.id}`, { status: 'active' });
    expect((await refresh(user.refreshToken)).status).toBe(200);
  });
});

describe('Sessions', () => {
  test('GET /v1/auth/sessions: pages of sessions, newest first, with the current one marked', async () => {
    const user = await api.createUser();
    const second = await another(user);
    const third = await another(user);
    const sid = (account: Account): string => decode(account.accessToken).claims.sid;
    const { body, headers } = await api.as(second).get('/v1/auth/sessions');
    expect(body).toEqual({
      nextCursor: null,
      data: [third, second, user].map((account) => ({
        id: sid(account),
        current: account === second,
        createdAt: expect.any(String),
        refreshedAt: null,
        expiresAt: expect.any(String),
        ip: expect.stringMatching(/^10\./),
        userAgent: expect.any(String),
      })),
    });
    expect(headers.get('link')).toBeNull();

    const seen: string[] = [];
    let path: string | undefined = '/v1/auth/sessions?limit=1';
    while (path !== undefined) {
      const page: Answer = await api.as(user).get(path);
      expect(page.body.data).toHaveLength(1);
      seen.push(page.body.data[0].id);
      path = /^<(.+)>; rel="next"$/.exec(page.headers.get('link') ?? '')?.[1];
      expect(page.body.nextCursor === null).toBe(path === undefined);
    }
    expect(seen).toEqual([third, second, user].map(sid));
  });

  test('DELETE /v1/auth/sessions/{id}: 204 for the owner, 404 for other users', async () => {
    const [user, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    const elsewhere = await another(user);
    const id = decode(elsewhere.accessToken).claims.sid;
    const foreign = await api.as(stranger).delete(`/v1/auth/sessions/${id}`);
    const missing = await api.as(stranger).delete(`/v1/auth/sessions/${randomUUID()}`);
    expectProblem(foreign, 404, 'not_found');
    expect({ ...foreign.body, instance: '', requestId: '' }).toEqual({ ...missing.body, instance: '', requestId: '' });
    expect((await me(elsewhere)).status).toBe(200);

    expect((await api.as(user).delete(`/v1/auth/sessions/${id.toUpperCase()}`)).status).toBe(204);
    expectProblem(await me(elsewhere), 401, 'invalid_token');
    expectProblem(await refresh(elsewhere.refreshToken), 401, 'invalid_token');
    expectProblem(await api.as(user).delete(`/v1/auth/sessions/${id}`), 404, 'not_found');
    expect((await api.as(user).get('/v1/auth/sessions')).body.data).toHaveLength(1);
  });

  test('DELETE /v1/auth/sessions/{id} of the current session: 204', async () => {
    const user = await api.createUser();
    const { sid } = decode(user.accessToken).claims;
    expect((await api.as(user).delete(`/v1/auth/sessions/${sid}`)).status).toBe(204);
    expectProblem(await me(user), 401, 'invalid_token');
  });

  test('an expired session: 401 for its tokens, and not listed', async () => {
    const user = await api.createUser();
    const old = await another(user);
    const { sid } = decode(old.accessToken).claims;
    await sql(`UPDATE sessions SET expires_at = now() - interval '1 second' WHERE owner_id = $1 AND id = $2`, [
      user.id,
      sid,
    ]);
    expectProblem(await me(old), 401, 'invalid_token');
    expectProblem(await refresh(old.refreshToken), 401, 'invalid_token');
    expectProblem(await api.as(user).delete(`/v1/auth/sessions/${sid}`), 404, 'not_found');
    expect((await api.as(user).get('/v1/auth/sessions')).body.data).toHaveLength(1);
  });
});

describe('Sessions of a user', () => {
  test('an administrator: lists and ends them, which is in the audit log', async () => {
    const user = await api.createUser();
    const elsewhere = await another(user);
    const admin = await api.admin();
    const [own, seen] = await Promise.all([
      api.as(user).get('/v1/auth/sessions'),
      admin.get(`/v1/users/${user.username}/sessions`),
    ]);
    expect(seen.body.data).toEqual(own.body.data.map((each: object) => ({ ...each, current: false })));
    const { sid } = decode(elsewhere.accessToken).claims;
    expect((await admin.delete(`/v1/users/${user.id}/sessions/${sid}`)).status).toBe(204);
    expectProblem(await me(elsewhere), 401, 'invalid_token');
    expect((await me(user)).status).toBe(200);
    expectProblem(await admin.delete(`/v1/users/${user.id}/sessions/${sid}`), 404, 'not_found');
    const { data } = (await admin.get(`/v1/audit?action=session.end&target=${sid}`)).body;
    expect(data).toHaveLength(1);
  });

  test('pages; unknown users and sessions of another user: 404', async () => {
    const [user, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    await another(user);
    const admin = await api.admin();
    const page = (await admin.get(`/v1/users/${user.id}/sessions?limit=1`)).body;
    expect(page.data).toHaveLength(1);
    const rest = await admin.get(`/v1/users/${user.id}/sessions?limit=1&cursor=${page.nextCursor}`);
    expect(rest.body).toMatchObject({ data: [{ current: false }], nextCursor: null });
    expectProblem(await admin.get(`/v1/users/${randomUUID()}/sessions`), 404, 'not_found');
    const { sid } = decode(user.accessToken).claims;
    expectProblem(await admin.delete(`/v1/users/${stranger.id}/sessions/${sid}`), 404, 'not_found');
    expectProblem(await admin.delete(`/v1/users/${user.id}/sessions/none`), 404, 'not_found');
    expect((await me(user)).status).toBe(200);
  });
});

describe('GET /v1/auth/policy', () => {
  test('the settings of the server, without a token', async () => {
    expect((await api.get('/v1/auth/policy')).body).toEqual({
      ...{ registration: 'open', usernamePolicy: 'strict', passwordPolicy: 'classes', recovery: 'administrator' },
    });
    expectProblem(await api.get('/v1/auth/policy?x=1'), 400, 'validation_failed');
  });

  test('other settings, and registration as the platform sets it', async () => {
    const database = await createDatabase();
    const server = await TestServer.start({
      ...{ DATABASE_URL: database.url, USERNAME_POLICY: 'extended', PASSWORD_POLICY: 'length' },
      ...{ SMTP_URL: 'smtp://127.0.0.1:9' },
    });
    try {
      const here = new Api(server.url);
      await (await here.admin()).patch('/v1/platform', { registration: 'closed' });
      expect((await here.get('/v1/auth/policy')).body).toEqual({
        ...{ registration: 'closed', usernamePolicy: 'extended', passwordPolicy: 'length', recovery: 'email' },
      });
    } finally {
      await server.stop();
      await database.drop();
    }
  });
});

describe('POST /v1/auth/password', () => {
  const change = (account: Account, currentPassword: string, newPassword: string): Promise<Answer> =>
    api.as(account).post('/v1/auth/password', { currentPassword, newPassword });

  test('a valid body: 204, ends every other session and keeps the current one', async () => {
    const user = await api.createUser();
    const others = [await another(user), await another(user)];
    expect((await change(user, user.password, 'Unguessable-8')).status).toBe(204);
    expect((await me(user)).status).toBe(200);
    expect((await refresh(user.refreshToken)).status).toBe(200);
    for (const other of others) {
      expectProblem(await me(other), 401, 'invalid_token');
      expectProblem(await refresh(other.refreshToken), 401, 'invalid_token');
    }
    expectProblem(await login(user.username, user.password), 401, 'invalid_credentials');
    expect((await login(user.username, 'Unguessable-8')).status).toBe(200);
  });

  test('a wrong current password: 401; a weak new password: 400', async () => {
    const user = await api.createUser();
    const other = await another(user);
    expectProblem(await change(user, 'Wrong-Password-1', 'Unguessable-8'), 401, 'invalid_credentials');
    for (const weak of ['Aa1-xyz', 'unguessable-7', 'Password1!', `Aa1-${'x'.repeat(61)}`, '']) {
      expectField(await change(user, user.password, weak), 'newPassword');
    }
    expect((await login(user.username)).status).toBe(200);
    expect((await me(other)).status).toBe(200);
  });

  test('three concurrent changes: one 204', async () => {
    const user = await api.createUser();
    const wanted = ['Unguessable-8', 'Unguessable-9', 'Unguessable-10'];
    const answers = await Promise.all(wanted.map((password) => change(user, user.password, password)));
    expect(statuses(answers)).toEqual({ '204': 1, '401 invalid_credentials': 2 });
    const winner = wanted[answers.findIndex(({ status }) => status === 204)]!;
    expect((await login(user.username, winner)).status).toBe(200);
  });
});

describe('Disabled account', () => {
  test('sign-in and requests: 403 until the account is active again', async () => {
    const user = await api.createUser();
    const admin = await api.admin();
    expect((await me(user)).status).toBe(200);
    expect((await admin.patch(`/v1/users/${user.id}`, { status: 'disabled' })).body.status).toBe('disabled');
    expectProblem(await me(user), 403, 'account_disabled');
    expectProblem(await api.as(user).post('/v1/resources', { value: 'x' }), 403, 'account_disabled');
    expectProblem(await login(user.username), 403, 'account_disabled');
    expectProblem(await login(user.username, 'Wrong-Password-1'), 401, 'invalid_credentials');
    expect((await admin.patch(`/v1/users/${user.id}`, { status: 'active' })).body.status).toBe('active');
    expect((await me(user)).status).toBe(200);
    expect((await login(user.username)).status).toBe(200);
    expect((await api.as(user).get('/v1/resources')).body.data).toEqual([]);
  });
});

describe('Role of a user', () => {
  test('after a change: applies to the next request with the same token', async () => {
    const user = await api.createUser();
    const admin = await api.admin();
    expectProblem(await api.as(user).get('/v1/users'), 403, 'forbidden');
    await admin.patch(`/v1/users/${user.id}`, { role: 'admin' });
    expect((await api.as(user).get('/v1/users')).status).toBe(200);
    await admin.patch(`/v1/users/${user.id}`, { role: 'user' });
    expectProblem(await api.as(user).get('/v1/users'), 403, 'forbidden');
  });
});

test('GET /v1/users/me with two Authorization headers: 401 invalid_token, although both tokens are valid', async () => {
  const { accessToken } = await api.createUser();
  const header = `Authorization: Bearer ${accessToken}\r\n`;
  const wire = new Wire(api.url, `GET /v1/users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${header}${header}\r\n`);
  await wire.over;
  expect(wire.statuses).toEqual([401]);
  expect(wire.text).toContain('"detail":"Send one Authorization header."');
});
