import { Api, uniqueName, type Account } from './support/api.js';
import { enableTotp } from './support/totp.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { Random } from './support/random.js';
import { SEED, sizesOf } from './support/sizes.js';

const { ROUNDS } = sizesOf('deletionRaces');
const random = new Random(SEED);

let database: Awaited<ReturnType<typeof createDatabase>>;
let server: TestServer;
let api: Api;
let root: Api;

beforeAll(async () => {
  database = await createDatabase();
  server = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'error', TRUST_PROXY: '127.0.0.1' });
  api = new Api(server.url);
  root = await api.admin();
  // Platform limits, so that requests lock platform rows.
  await root.patch('/v1/platform', { totalObjects: 1_000_000, creditOverprovisioning: true });
  for (const meter of ['resources', 'tasks', 'store.entries', 'store.bytes', 'api:*', 'api:api1']) {
    await root.put(`/v1/platform/quotas/${meter}`, { limit: 1_000_000 });
  }
});

afterAll(async () => {
  await server.stop();
  await database.drop();
});

/** All requests that lock rows of an account, or platform rows for it. */
async function everything(of: Account, keyId: string, key: string): Promise<(() => Promise<{ status: number }>)[]> {
  const me = api.as(of);
  const path = `/v1/users/${of.id}`;
  const again = { currentPassword: of.password, newPassword: of.password };
  const { recoveryCodes } = await enableTotp(api, of);
  const [login, disable] = recoveryCodes;
  return [
    () => me.post('/v1/resources', { value: 'x' }),
    () => me.post('/v1/tasks', { title: 'x' }),
    () => me.put('/v1/store/kept', 1),
    () => me.post('/v1/store/write', { entries: [{ key: 'a', value: 1 }] }, { headers: { 'idempotency-key': 'a' } }),
    () => me.post('/v1/resources', { value: 'x' }, { headers: { 'idempotency-key': 'b' } }),
    () => api.call('api1', { key }),
    () => me.post('/v1/keys', { name: 'x', scopes: ['*'], limits: [{ meter: 'api:api1', window: 'day', limit: 5 }] }),
    () => me.patch(`/v1/keys/${keyId}`, { name: 'y', limits: [{ meter: 'api:api1', window: 'hour', limit: 5 }] }),
    () => me.put(`/v1/keys/${keyId}/quotas/api:api2`, { limit: 5 }),
    () => me.post(`/v1/keys/${keyId}/rotate`, { graceSeconds: 60 }),
    () => me.patch('/v1/users/me', { username: uniqueName(), email: `${uniqueName()}@example.com` }),
    () => me.post('/v1/auth/password', again),
    () => me.post('/v1/auth/signing-keys', { name: 'x' }),
    () => api.post('/v1/auth/login', { login: of.username, password: of.password, code: login }),
    () => api.post('/v1/auth/refresh', { refreshToken: of.refreshToken }),
    () => me.post('/v1/auth/totp/disable', { password: of.password, code: disable }),
    () => root.post(`${path}/credits`, { amount: 5 }),
    () => root.patch(path, { credits: 7, role: 'user' }),
    () => root.put(`${path}/quotas/resources`, { limit: 1_000 }),
    () => root.put(`${path}/quotas/tasks`, { limit: 1_000 }),
    () => root.post(`${path}/reset-link`),
  ];
}

test.each(['user', 'admin'])(
  `DELETE of an account with role %s, concurrent with its requests: no 5xx, and the account is gone (SEED=${SEED})`,
  async (role) => {
    for (let round = 0; round < ROUNDS; round++) {
      const account = await api.createUser({ role });
      const { id, key } = await api.as(account).createKey();
      const works = random.shuffled(await everything(account, id, key));
      works.splice(random.below(works.length), 0, () => root.delete(`/v1/users/${account.id}`));
      const answers = await Promise.all(works.map((work) => work()));
      expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
      expect((await root.get(`/v1/users/${account.id}`)).status).toBe(404);
    }
    expect(server.output).not.toContain('request failed');
  },
);

test(`concurrent self-deletions, sign-ins and changes of administrators: no 5xx (SEED=${SEED})`, async () => {
  for (let round = 0; round < ROUNDS; round++) {
    const admins = await Promise.all(Array.from({ length: 4 }, () => api.createUser({ role: 'admin' })));
    const works = admins.flatMap((account) => {
      const { id, username, password } = account;
      const me = api.as(account);
      return [
        () => me.delete('/v1/users/me'),
        () => api.post('/v1/auth/login', { login: username, password }),
        () => me.post('/v1/keys', { name: 'x', scopes: ['*'] }),
        () => me.post('/v1/resources', { value: 'x' }),
        () => me.post('/v1/auth/signing-keys', { name: 'x' }),
        () => root.patch(`/v1/users/${id}`, { firstName: 'Ada' }),
        () => root.patch(`/v1/users/${id}`, { role: 'user' }),
      ];
    });
    const answers = await Promise.all(random.shuffled(works).map((work) => work()));
    expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
  }
  expect(server.output).not.toContain('request failed');
});

// A deadlock costs a second, and a request is tried five times: several deadlocks in one deletion make it fail.
test(`deadlocks during these tests: at most two, plus one for each 20 rounds (SEED=${SEED})`, async () => {
  const [row] = await query(
    database.url,
    `SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()`,
  );
  expect(row.deadlocks).toBeLessThanOrEqual(2 + ROUNDS / 20);
});
