import { Api, expectProblem, type Account, type Answer } from './support/api.js';
import { Fleet, tally } from './support/fleet.js';
import { overloadedAgain } from './support/overloaded.js';
import { TestServer } from './support/server.js';
import { codeOf, enableTotp, prepareTotp, wrongCodes } from './support/totp.js';
import { until } from './support/until.js';

let fleet: Fleet;
let apis: Api[];
/** The first of two processes. */
let api: Api;

beforeAll(async () => {
  fleet = await Fleet.start(2, undefined, { TRUST_PROXY: '127.0.0.1' });
  apis = fleet.servers.map(({ url }) => new Api(url));
  api = apis[0]!;
});

afterAll(async () => {
  await fleet.stop();
});

const signIn = ({ username, password }: Account, code?: string, turn = 0): Promise<Answer> =>
  apis[turn % 2]!.post('/v1/auth/login', { login: username, password, ...(code === undefined ? {} : { code }) });

describe('two-factor sign-in', () => {
  test.concurrent('POST /v1/auth/totp/confirm: sign-in needs no code before, and needs one after', async () => {
    const user = await api.createUser();
    expectProblem(await api.as(user).post('/v1/auth/totp', { password: 'wrong' }), 401, 'invalid_credentials');
    expectProblem(await api.as(user).post('/v1/auth/totp/confirm', { code: '123456' }), 404, 'not_found');
    const [old, secret] = [await prepareTotp(api, user), await prepareTotp(api, user)];
    expect(secret).not.toBe(old);
    expect((await signIn(user)).status).toBe(200);
    for (const code of [codeOf(old), codeOf(secret, 5), 'abcdef']) {
      expectProblem(await api.as(user).post('/v1/auth/totp/confirm', { code }), 401, 'invalid_totp');
    }
    expect((await signIn(user)).status).toBe(200);
    const { status, body } = await api.as(user).post('/v1/auth/totp/confirm', { code: codeOf(secret) });
    expect(status).toBe(200);
    expect(body.recoveryCodes).toHaveLength(10);
    expectProblem(await signIn(user), 401, 'totp_required');
    for (const path of ['/v1/auth/totp', '/v1/auth/totp/confirm']) {
      const answer = await api
        .as(user)
        .post(path, path.endsWith('totp') ? { password: user.password } : { code: '123456' });
      expectProblem(answer, 409, 'totp_enabled');
    }
  });

  test.concurrent('POST /v1/auth/totp/confirm: ends all other sessions', async () => {
    const user = await api.createUser();
    const other = (await signIn(user, undefined, 1)).body;
    await enableTotp(api, user);
    expectProblem(await apis[1]!.as(other).get('/v1/users/me'), 401, 'invalid_token');
    expectProblem(await api.post('/v1/auth/refresh', { refreshToken: other.refreshToken }), 401, 'invalid_token');
    expect((await apis[1]!.as(user).get('/v1/users/me')).status).toBe(200);
  });

  test.concurrent('POST /v1/auth/login with a wrong password: same 401 with and without a code', async () => {
    const user = await api.createUser();
    const { secret } = await enableTotp(api, user);
    for (const code of [undefined, codeOf(secret, 1), '000000']) {
      expectProblem(await signIn({ ...user, password: 'wrong' }, code), 401, 'invalid_credentials');
    }
    expect((await signIn(user, codeOf(secret, 1))).status).toBe(200);
  });

  test.concurrent('code used again or older: 401 at both processes', async () => {
    const user = await api.createUser();
    const { secret, used } = await enableTotp(api, user);
    // The code that enabled TOTP is used up.
    expectProblem(await signIn(user, used), 401, 'invalid_totp');
    const code = codeOf(secret, 1);
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => signIn(user, code, i)));
    expect(tally(answers.map(({ status, body }) => `${status} ${String(body.code)}`))).toEqual({
      '200 undefined': 1,
      '401 invalid_totp': 7,
    });
    expectProblem(await signIn(user, used), 401, 'invalid_totp');
  });

  test.concurrent('wrong codes: 429 after ten, like wrong passwords', async () => {
    const user = await api.createUser();
    const { secret } = await enableTotp(api, user);
    const from = { headers: { 'x-forwarded-for': '198.51.100.7' } };
    const guess = (code: string, turn: number): Promise<Answer> =>
      overloadedAgain(() =>
        apis[turn % 2]!.post('/v1/auth/login', { login: user.username, password: user.password, code }, from),
      );
    const answers = await Promise.all([1, 2, 3].flatMap(() => wrongCodes(secret, 10)).map(guess));
    const codes = tally(answers.map(({ body }) => body.code ?? 'in'));
    expect(codes).toEqual({ invalid_totp: 10, too_many_attempts: 20 });
    expectProblem(await guess(codeOf(secret, 1), 1), 429, 'too_many_attempts');
    expect((await signIn(user, codeOf(secret, 1))).status).toBe(200);
  });

  test.concurrent('POST /v1/auth/totp/confirm: 429 after ten wrong codes', async () => {
    const user = await api.createUser();
    const secret = await prepareTotp(api, user);
    const guess = (code: string, turn: number): Promise<Answer> =>
      overloadedAgain(() =>
        apis[turn % 2]!.as(user).post(
          '/v1/auth/totp/confirm',
          { code },
          { headers: { 'x-forwarded-for': '198.51.100.8' } },
        ),
      );
    const answers = await Promise.all([1, 2].flatMap(() => wrongCodes(secret, 10)).map(guess));
    expect(tally(answers.map(({ body }) => body.code ?? 'on'))).toEqual({ invalid_totp: 10, too_many_attempts: 10 });
    expectProblem(await guess(codeOf(secret), 1), 429, 'too_many_attempts');
  });

  test.concurrent('sign-in without a code: not counted as a failure', async () => {
    const user = await api.createUser();
    const { secret } = await enableTotp(api, user);
    const from = { headers: { 'x-forwarded-for': '198.51.100.8' } };
    const credentials = { login: user.username, password: user.password };
    for (let i = 0; i < 15; i++) {
      expectProblem(await api.post('/v1/auth/login', credentials, from), 401, 'totp_required');
    }
    expect((await api.post('/v1/auth/login', { ...credentials, code: codeOf(secret, 1) }, from)).status).toBe(200);
  });

  test.concurrent('recovery code: valid once, in any spelling, until new ones are issued', async () => {
    const user = await api.createUser();
    const { secret, recoveryCodes } = await enableTotp(api, user);
    const [one = '', two = '', three = ''] = recoveryCodes;
    const answers = await Promise.all(Array.from({ length: 6 }, (_, i) => signIn(user, one, i)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401, 401, 401]);
    expect((await signIn(user, ` ${two.toUpperCase().replace('-', ' ')} `)).status).toBe(200);
    const { password } = user;
    const renewed = await api.as(user).post('/v1/auth/totp/recovery-codes', { password, code: codeOf(secret, 1) });
    expect(renewed.body.recoveryCodes).toHaveLength(10);
    expectProblem(await signIn(user, three), 401, 'invalid_totp');
    expect((await signIn(user, renewed.body.recoveryCodes[9])).status).toBe(200);
    const other = await api.createUser();
    await enableTotp(api, other);
    expectProblem(await signIn(other, renewed.body.recoveryCodes[8]), 401, 'invalid_totp');
  });

  test.concurrent('POST /v1/auth/totp/disable: requires password and code', async () => {
    const user = await api.createUser();
    const { secret, recoveryCodes } = await enableTotp(api, user);
    const off = (password: string, code: string): Promise<Answer> =>
      api.as(user).post('/v1/auth/totp/disable', { password, code });
    expectProblem(await off('wrong', codeOf(secret, 1)), 401, 'invalid_credentials');
    expectProblem(await off(user.password, wrongCodes(secret, 1)[0]!), 401, 'invalid_totp');
    expectProblem(await signIn(user), 401, 'totp_required');
    expect((await off(user.password, recoveryCodes[0]!)).status).toBe(204);
    expect((await signIn(user)).status).toBe(200);
    expectProblem(await off(user.password, recoveryCodes[1]!), 404, 'not_found');
    const rows = await fleet.query('SELECT FROM totp_recovery_codes WHERE owner_id = $1', [user.id]);
    expect(rows).toHaveLength(0);
  });

  test.concurrent('DELETE /v1/users/{user}/totp: allowed for administrators, 403 on themselves', async () => {
    const [user, boss] = [await api.createUser(), await api.createUser({ role: 'admin' })];
    for (const account of [user, boss]) await enableTotp(api, account);
    expectProblem(await api.as(boss).delete(`/v1/users/${boss.username}/totp`), 403, 'forbidden');
    expect((await api.as(boss).delete(`/v1/users/${user.username}/totp`)).status).toBe(204);
    expect((await signIn(user)).status).toBe(200);
    expectProblem(await api.as(boss).delete(`/v1/users/${user.username}/totp`), 404, 'not_found');
    expectProblem(await api.as(user).delete(`/v1/users/${boss.id}/totp`), 403, 'forbidden');
  });

  test.concurrent('database stores neither secret nor recovery codes in plain text', async () => {
    const user = await api.createUser();
    const { secret, recoveryCodes } = await enableTotp(api, user);
    const rows = JSON.stringify(
      await fleet.query(
        `SELECT t::text, c::text FROM totp_secrets t JOIN totp_recovery_codes c USING (owner_id) WHERE owner_id = $1`,
        [user.id],
      ),
    );
    for (const text of [secret, ...recoveryCodes]) {
      expect(rows).not.toContain(text);
      expect(rows).not.toContain(Buffer.from(text).toString('hex'));
    }
    // The encryption is bound to the owner: a secret copied from another user cannot be decrypted.
    const thief = await api.createUser();
    await enableTotp(api, thief);
    await fleet.query(
      `UPDATE totp_secrets SET secret_sealed = (SELECT secret_sealed FROM totp_secrets WHERE owner_id = $1) WHERE owner_id = $2`,
      [thief.id, user.id],
    );
    expect((await signIn(user, codeOf(secret, 1))).status).toBe(500);
  });
});

describe('sign-ins while TOTP is being enabled', () => {
  test('no session without a code remains', async () => {
    for (let round = 0; round < 5; round++) {
      const user = await api.createUser();
      const secret = await prepareTotp(api, user);
      const state = { on: false };
      let begun = 0;
      const logins = Array.from({ length: 6 }, async (_, i) => {
        const sessions: string[] = [];
        while (!state.on) {
          const answer = await signIn(user, undefined, i);
          if (answer.status !== 200) continue;
          sessions.push(answer.body.accessToken);
          begun++;
        }
        return sessions;
      });
      const signingIn = Promise.all(logins);
      try {
        await until(() => begun > 0, signingIn);
        const answer = await api.as(user).post('/v1/auth/totp/confirm', { code: codeOf(secret) });
        expect(answer.status).toBe(200);
      } finally {
        state.on = true;
      }
      const tokens = (await signingIn).flat();
      const alive = await Promise.all(
        tokens.map(async (accessToken) => (await apis[1]!.as({ accessToken }).get('/v1/users/me')).status),
      );
      expect(alive.filter((status) => status !== 401)).toEqual([]);
    }
  });
});

describe('REQUIRE_ADMIN_TOTP=on', () => {
  test('administrator without TOTP: 403 totp_setup_required from the next request on', async () => {
    const server = await TestServer.start({
      DATABASE_URL: fleet.url,
      REQUIRE_ADMIN_TOTP: 'on',
      TRUST_PROXY: '127.0.0.1',
    });
    const strict = new Api(server.url);
    const [boss, stranger] = [await api.createUser({ role: 'admin' }), await api.createUser()];
    const { body: resource } = await api.as(stranger).post('/v1/resources', { value: 'x' });
    const tries = async (): Promise<Answer[]> =>
      Promise.all([
        strict.as(boss).get('/v1/users'),
        strict.as(boss).get('/v1/audit'),
        strict.as(boss).get(`/v1/users/${stranger.id}`),
        strict.as(boss).patch('/v1/platform', {}),
      ]);
    for (const answer of await tries()) expectProblem(answer, 403, 'totp_setup_required');
    expectProblem(await strict.as(boss).get(`/v1/resources/${resource.id}`), 404, 'not_found');
    expectProblem(await strict.as(boss).get('/v1/resources?owner=*'), 403, 'forbidden');
    expectProblem(await strict.as(stranger).get('/v1/users'), 403, 'forbidden');
    expect((await strict.as(boss).get('/v1/users/me')).body.role).toBe('admin');
    expect((await strict.as(boss).get('/v1/resources')).status).toBe(200);
    const { secret, recoveryCodes } = await enableTotp(strict, boss);
    for (const answer of await tries()) expect(answer.status).toBe(200);
    expect((await strict.as(boss).get(`/v1/resources/${resource.id}`)).status).toBe(200);
    // Disabling TOTP suspends the rights again.
    const { password } = boss;
    await strict.as(boss).post('/v1/auth/totp/disable', { password, code: recoveryCodes[0] });
    for (const answer of await tries()) expectProblem(answer, 403, 'totp_setup_required');
    expect(secret).toMatch(/^[A-Z2-7]+$/);
    expect(await server.stop()).toBe(0);
  });
});
