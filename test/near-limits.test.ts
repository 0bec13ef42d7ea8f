import { Api, expectProblem, inOne, type Account } from './support/api.js';
import { chargedEarlier } from './support/clock.js';
import { Fleet } from './support/fleet.js';

let fleet: Fleet;
let admin: Api;
let anybody: Api;

beforeAll(async () => {
  fleet = await Fleet.start(1);
  admin = fleet.admin();
  anybody = new Api(admin.url);
});

afterEach(async () => {
  await fleet.query(`DELETE FROM users WHERE username <> 'admin'`);
});

afterAll(async () => {
  await fleet.stop();
});

async function list(query = ''): Promise<any[]> {
  const answer = await admin.get(`/v1/metrics/near-limits${query}`);
  expect(answer.status).toBe(200);
  return answer.body.data;
}

async function createResources(user: Account, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await admin.as(user).post('/v1/resources', { value: 'x' });
}

describe('GET /v1/metrics/near-limits', () => {
  test('limits of a user, of its plan and of a key, highest share first', async () => {
    const plan = await fleet.makePlan([{ meter: 'api:*', window: 'day', limit: 5 }]);
    await inOne('day', async () => {
      await fleet.query(`DELETE FROM users WHERE username <> 'admin'`);
      const user = await admin.createUser({ plan });
      const key = await admin.as(user).createKey({ limits: [{ meter: 'api:api1', window: 'month', limit: 4 }] });
      await fleet.setQuota(user.id, 'resources', 10);
      await createResources(user, 9);
      for (let i = 0; i < 4; i++) expect((await anybody.call('api1', key)).status).toBe(200);
      const whose = { user: { id: user.id, username: user.username, email: null } };
      const ends = { resetsAt: expect.stringMatching(/T00:00:00\.000Z$/) };
      expect(await list()).toEqual([
        {
          ...{ ...whose, ...ends, keyId: key.id, scope: 'key', meter: 'api:api1', window: 'month' },
          ...{ limit: 4, used: 4, remaining: 0, share: 1 },
        },
        {
          ...{ ...whose, resetsAt: null, keyId: null, scope: 'user', meter: 'resources', window: 'lifetime' },
          ...{ limit: 10, used: 9, remaining: 1, share: 0.9 },
        },
        {
          ...{ ...whose, ...ends, keyId: null, scope: 'plan', meter: 'api:*', window: 'day' },
          ...{ limit: 5, used: 4, remaining: 1, share: 0.8 },
        },
      ]);
      expect((await list('?share=0.85')).map(({ share }) => share)).toEqual([1, 0.9]);
      expect((await list('?limit=1')).map(({ share }) => share)).toEqual([1]);
    });
  });

  test('limits of 0, unlimited meters, and users far from their limits: left out', async () => {
    const [user, other] = [await admin.createUser(), await admin.createUser()];
    await fleet.setQuota(user.id, 'tasks', 0);
    await fleet.setQuota(user.id, 'resources', null);
    await fleet.setQuota(other.id, 'resources', 10);
    await createResources(user, 3);
    await createResources(other, 7);
    expect(await list()).toEqual([]);
    expect(await list('?share=0.7')).toHaveLength(1);
    // A lowered limit can be exceeded already.
    await fleet.setQuota(other.id, 'resources', 2);
    expect(await list()).toMatchObject([{ limit: 2, used: 7, remaining: 0, share: 3.5 }]);
  });

  test('bonus credits raise the limit, and expired entries are not used', async () => {
    const user = await admin.createUser({ credits: 2 });
    for (let i = 0; i < 2; i++) await admin.as(user).post('/v1/tasks', { title: 'x' });
    expect(await list()).toMatchObject([{ meter: 'tasks', limit: 2, used: 2 }]);
    await admin.post(`/v1/users/${user.id}/credits`, { amount: 2 });
    expect(await list()).toEqual([]);
    expect(await list('?share=0.5')).toMatchObject([{ meter: 'tasks', limit: 4, used: 2, share: 0.5 }]);
    await fleet.setQuota(user.id, 'tasks', null);
    await fleet.setQuota(user.id, 'store.entries', 2);
    for (const key of ['a', 'b']) await admin.as(user).put(`/v1/store/${key}?ttl=3600`, 1);
    expect(await list()).toMatchObject([{ meter: 'store.entries', limit: 2, used: 2 }]);
    await fleet.query(
      `UPDATE store_entries SET expires_at = now() - interval '1 second' WHERE owner_id = $1 AND key = 'a'`,
      [user.id],
    );
    expect(await list()).toEqual([]);
  });

  test('calls before the limit was set count, and those of an ended window do not', async () => {
    const user = await admin.createUser();
    const key = await admin.as(user).createKey();
    await inOne('day', async () => {
      for (let i = 0; i < 4; i++) expect((await anybody.call('api1', key)).status).toBe(200);
      const [{ used }] = await fleet.query(
        `SELECT counts[4]::int AS used FROM flows WHERE owner_id = $1 AND key_id = $2 AND meter = 'api:api1'`,
        [user.id, key.id],
      );
      await fleet.setQuota(user.id, 'api:api1', used, 'day');
      expect(await list()).toMatchObject([{ meter: 'api:api1', window: 'day', limit: used, used, share: 1 }]);
    });
    await fleet.query(chargedEarlier('owner_id = $1', `interval '25 hours'`), [user.id]);
    expect(await list()).toEqual([]);
  });

  test.each(['share=0', 'share=1.5', 'share=x', 'share=', 'share=1e-1', 'limit=101', 'cursor=x'])(
    '%s: 400',
    async (query) => {
      expectProblem(await admin.get(`/v1/metrics/near-limits?${query}`), 400, 'validation_failed');
    },
  );
});
