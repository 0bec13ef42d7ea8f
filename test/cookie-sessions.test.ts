import { Api, expectProblem, sharedApi, type Account, type Answer } from './support/api.js';
import { ADMIN_PASSWORD, TestServer, query } from './support/server.js';
import { codeOf, enableTotp } from './support/totp.js';

const api = sharedApi();

const DAYS_30 = 30 * 86_400;

/** The cookie of a response: its value and its attributes, in the order of their names. */
function cookieOf({ headers }: Answer): { value: string; attributes: string[] } {
  const [pair = '', ...attributes] = headers.get('set-cookie')!.split('; ');
  expect(pair).toMatch(/^qm_refresh=/);
  return { value: pair.slice('qm_refresh='.length), attributes: attributes.sort() };
}

const CLEARED = { value: '', attributes: ['HttpOnly', 'Max-Age=0', 'Path=/v1/auth', 'SameSite=Strict'] };

/** A session whose refresh token is in a cookie. */
interface CookieSession {
  accessToken: string;
  cookie: string;
}

const signIn = ({ username, password }: Account, more: object = {}, headers = {}): Promise<Answer> =>
  api.post('/v1/auth/login', { login: username, password, session: 'cookie', ...more }, { headers });

function sessionOf(answer: Answer): CookieSession {
  expect(answer.status).toBe(200);
  expect(answer.body).toEqual({
    accessToken: expect.any(String),
    tokenType: 'Bearer',
    expiresIn: 1800,
    user: expect.objectContaining({ id: expect.any(String) }),
  });
  return { accessToken: answer.body.accessToken, cookie: cookieOf(answer).value };
}

async function startSession(account: Account): Promise<CookieSession> {
  return sessionOf(await signIn(account));
}

const refresh = ({ cookie }: { cookie: string }, body?: unknown, headers = {}): Promise<Answer> =>
  api.post('/v1/auth/refresh', body, { headers: { cookie: `qm_refresh=${cookie}`, ...headers } });

const me = (account: { accessToken: string }): Promise<Answer> => api.as(account).get('/v1/users/me');

function sql(text: string, values: unknown[]): Promise<any[]> {
  return query(process.env.TEST_SERVER_DATABASE ?? '', text, values);
}

describe('POST /v1/auth/login with session "cookie"', () => {
  test('200 with a cookie for as long as the session lasts, and no refresh token in the body', async () => {
    const answer = await signIn(await api.createUser());
    expect(cookieOf(answer)).toEqual({
      value: expect.stringMatching(/^qmr_[\w-]{40,}$/),
      attributes: ['HttpOnly', `Max-Age=${DAYS_30}`, 'Path=/v1/auth', 'SameSite=Strict'],
    });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect((await me(sessionOf(answer))).status).toBe(200);
  });

  test('over TLS: the cookie is Secure', async () => {
    const user = await api.createUser();
    const secure = { 'x-forwarded-proto': 'https' };
    const answer = await signIn(user, {}, secure);
    expect(cookieOf(answer).attributes).toContain('Secure');
    expect(cookieOf(await refresh(sessionOf(answer), undefined, secure)).attributes).toContain('Secure');
    expect(cookieOf(await signIn(user, {}, { 'x-forwarded-proto': 'http' })).attributes).not.toContain('Secure');
  });

  test('TRUST_PROXY unset: ignores X-Forwarded-Proto', async () => {
    const server = await TestServer.start({ DATABASE_URL: process.env.TEST_SERVER_DATABASE! });
    const body = { login: 'admin', password: ADMIN_PASSWORD, session: 'cookie' };
    const headers = { 'x-forwarded-proto': 'https' };
    const answer = await new Api(server.url).post('/v1/auth/login', body, { headers });
    expect(cookieOf(answer).attributes).not.toContain('Secure');
    expect(await server.stop()).toBe(0);
  });

  test('session "token", and none: a refresh token in the body, and no cookie', async () => {
    const { username: login, password } = await api.createUser();
    for (const session of [{ session: 'token' }, {}]) {
      const answer = await api.post('/v1/auth/login', { login, password, ...session });
      expect(answer.body.refreshToken).toMatch(/^qmr_/);
      expect(answer.headers.get('set-cookie')).toBeNull();
    }
  });

  test('a wrong password, or another session: refused without a cookie', async () => {
    const user = await api.createUser();
    const wrong = await signIn(user, { password: 'Wrong-Password-1' });
    expectProblem(wrong, 401, 'invalid_credentials');
    const unknown = await signIn(user, { session: 'storage' });
    expectProblem(unknown, 400, 'validation_failed');
    expect(unknown.body.errors).toEqual([{ pointer: '/session', detail: 'must be one of: token, cookie' }]);
    for (const { headers } of [wrong, unknown]) expect(headers.get('set-cookie')).toBeNull();
  });

  test('with two-factor sign-in: 401 without a code, and a cookie with one', async () => {
    const user = await api.createUser();
    const { secret } = await enableTotp(api, user);
    const refused = await signIn(user);
    expectProblem(refused, 401, 'totp_required');
    expect(refused.headers.get('set-cookie')).toBeNull();
    const session = sessionOf(await signIn(user, { code: codeOf(secret, 1) }));
    expect((await me(session)).status).toBe(200);
    expect((await refresh(session)).status).toBe(200);
  });
});

describe('POST /v1/auth/refresh with the cookie', () => {
  test.each<[string, unknown, string | undefined]>([
    ['no body', undefined, undefined],
    ['an empty body of type JSON', undefined, 'application/json'],
    ['an empty form', undefined, 'application/x-www-form-urlencoded'],
    ['{}', {}, undefined],
    ['{"session":"cookie"}', { session: 'cookie' }, undefined],
  ])('and %s: 200 with the next cookie of the same session', async (_what, body, type) => {
    const user = await api.createUser();
    const session = await startSession(user);
    const answer = await refresh(session, body, type === undefined ? {} : { 'content-type': type });
    const next = sessionOf(answer);
    expect(next.cookie).not.toBe(session.cookie);
    expect(cookieOf(answer).attributes).toEqual(['HttpOnly', `Max-Age=${DAYS_30}`, 'Path=/v1/auth', 'SameSite=Strict']);
    const { data } = (await api.as(next).get('/v1/auth/sessions')).body;
    expect(data.filter(({ current }: { current: boolean }) => current)).toHaveLength(1);
    expect(data).toHaveLength(2);
    expect((await refresh(next)).status).toBe(200);
  });

  test('among other cookies: 200', async () => {
    const { cookie } = await startSession(await api.createUser());
    const headers = { cookie: `theme=dark; qm_refresh=${cookie}; other="a b"` };
    expect((await api.post('/v1/auth/refresh', undefined, { headers })).status).toBe(200);
  });

  test.each<[string, (cookie: string) => string | undefined]>([
    ['no cookie', () => undefined],
    ['an empty cookie', () => 'qm_refresh='],
    ['another cookie', (cookie) => `session=${cookie}`],
    ['a forged cookie', (cookie) => `qm_refresh=${cookie.slice(0, -3)}AAA`],
    ['a cookie that cannot be decoded', () => 'qm_refresh=%ff%'],
  ])('%s: 401, the cookie is deleted, and the session continues', async (_what, cookieFor) => {
    const session = await startSession(await api.createUser());
    const cookie = cookieFor(session.cookie);
    const answer = await api.post('/v1/auth/refresh', undefined, { headers: cookie === undefined ? {} : { cookie } });
    expectProblem(answer, 401, 'invalid_token');
    expect(cookieOf(answer)).toEqual(CLEARED);
    expect((await me(session)).status).toBe(200);
    expect((await refresh(session)).status).toBe(200);
  });

  test('20 tabs at once: the same next cookie for all, and the session continues', async () => {
    const session = await startSession(await api.createUser());
    const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(session)));
    const sessions = answers.map(sessionOf);
    expect(new Set(sessions.map(({ cookie }) => cookie)).size).toBe(1);
    for (const each of sessions) expect((await me(each)).status).toBe(200);
    expect((await refresh(sessions[0]!)).status).toBe(200);
  });

  test('a cookie that was exchanged twice: 401, and the session ends', async () => {
    const first = await startSession(await api.createUser());
    const second = sessionOf(await refresh(first));
    const third = sessionOf(await refresh(second));
    expect(cookieOf(await refresh(first))).toEqual(CLEARED);
    expectProblem(await refresh(third), 401, 'invalid_token');
    expectProblem(await me(third), 401, 'invalid_token');
  });

  test('session "token" without a refresh token: 400, and the cookie stays valid', async () => {
    const session = await startSession(await api.createUser());
    const answer = await refresh(session, { session: 'token' });
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors).toEqual([{ pointer: '/refreshToken', detail: 'is required' }]);
    expect(answer.headers.get('set-cookie')).toBeNull();
    expect((await refresh(session)).status).toBe(200);
  });

  test.each(['cross-site', 'same-site', 'none'])(
    'Sec-Fetch-Site: %s: 403, and the cookie stays valid',
    async (site) => {
      const session = await startSession(await api.createUser());
      const answer = await refresh(session, undefined, { 'sec-fetch-site': site });
      expectProblem(answer, 403, 'forbidden');
      expect(answer.headers.get('set-cookie')).toBeNull();
      expect((await refresh(session, undefined, { 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    },
  );
});

describe('POST /v1/auth/refresh with a refresh token', () => {
  test('and session "cookie": moves the session into a cookie', async () => {
    const user = await api.createUser();
    const answer = await api.post('/v1/auth/refresh', { refreshToken: user.refreshToken, session: 'cookie' });
    const session = sessionOf(answer);
    expect((await api.as(session).get('/v1/auth/sessions')).body.data).toHaveLength(1);
    expect((await refresh(session)).status).toBe(200);
  });

  test('and a cookie: exchanges the refresh token, and neither uses nor sets the cookie', async () => {
    const [user, other] = await Promise.all([api.createUser(), api.createUser()]);
    const session = await startSession(other);
    const answer = await refresh(session, { refreshToken: user.refreshToken }, { 'sec-fetch-site': 'cross-site' });
    expect(answer.body).toMatchObject({ refreshToken: expect.stringMatching(/^qmr_/), user: { id: user.id } });
    expect(answer.headers.get('set-cookie')).toBeNull();
    const wrong = await refresh(session, { refreshToken: 'wrong' });
    expectProblem(wrong, 401, 'invalid_token');
    expect(wrong.headers.get('set-cookie')).toBeNull();
    expect((await refresh(session)).body.user.id).toBe(other.id);
  });
});

describe('A session in a cookie', () => {
  test('POST /v1/auth/logout: 204, ends the session and deletes the cookie', async () => {
    const session = await startSession(await api.createUser());
    const answer = await api.as(session).post('/v1/auth/logout');
    expect(answer.status).toBe(204);
    expect(cookieOf(answer)).toEqual(CLEARED);
    expectProblem(await refresh(session), 401, 'invalid_token');
    expectProblem(await me(session), 401, 'invalid_token');
  });

  test('is no credential of any other request: 401', async () => {
    const { cookie } = await startSession(await api.createUser());
    const headers = { cookie: `qm_refresh=${cookie}` };
    expectProblem(await api.get('/v1/users/me', { headers }), 401, 'unauthenticated');
    expectProblem(await api.post('/v1/auth/logout', undefined, { headers }), 401, 'unauthenticated');
    expectProblem(await api.get('/v1/auth/sessions', { headers }), 401, 'unauthenticated');
  });

  test('a changed password: ends the other sessions, and keeps the one that changed it', async () => {
    const user = await api.createUser();
    const [own, other] = [await startSession(user), await startSession(user)];
    const body = { currentPassword: user.password, newPassword: 'Unguessable-8' };
    expect((await api.as(own).post('/v1/auth/password', body)).status).toBe(204);
    expect((await refresh(own)).status).toBe(200);
    const refused = await refresh(other);
    expectProblem(refused, 401, 'invalid_token');
    expect(cookieOf(refused)).toEqual(CLEARED);
  });

  test('DELETE /v1/auth/sessions/{id}: its cookie is no longer valid', async () => {
    const user = await api.createUser();
    const session = await startSession(user);
    const { data } = (await api.as(session).get('/v1/auth/sessions')).body;
    const { id } = data.find(({ current }: { current: boolean }) => current);
    expect((await api.as(user).delete(`/v1/auth/sessions/${id}`)).status).toBe(204);
    const refused = await refresh(session);
    expectProblem(refused, 401, 'invalid_token');
    expect(cookieOf(refused)).toEqual(CLEARED);
  });

  test('a disabled account: 403, and the cookie is valid again after the account is enabled', async () => {
    const user = await api.createUser();
    const admin = await api.admin();
    const session = await startSession(user);
    await admin.patch(`/v1/users/${user.id}`, { status: 'disabled' });
    const refused = await refresh(session);
    expectProblem(refused, 403, 'account_disabled');
    expect(refused.headers.get('set-cookie')).toBeNull();
    await admin.patch(`/v1/users/${user.id}`, { status: 'active' });
    expect((await refresh(session)).status).toBe(200);
  });

  test('an expired session: 401, and the cookie is deleted', async () => {
    const user = await api.createUser();
    const session = await startSession(user);
    await sql(`UPDATE sessions SET expires_at = now() - interval '1 second' WHERE owner_id = $1`, [user.id]);
    const refused = await refresh(session);
    expectProblem(refused, 401, 'invalid_token');
    expect(cookieOf(refused)).toEqual(CLEARED);
  });

  test('a deleted account: 401, and the cookie is deleted', async () => {
    const user = await api.createUser();
    const session = await startSession(user);
    expect((await (await api.admin()).delete(`/v1/users/${user.id}`)).status).toBe(204);
    expect(cookieOf(await refresh(session))).toEqual(CLEARED);
  });
});
