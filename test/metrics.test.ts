import pg from 'pg';
import { Api, expectProblem, inOne, inOneMinute, uniqueName, type Account } from './support/api.js';
import { chargedEarlier } from './support/clock.js';
import { Fleet, call, expectDone } from './support/fleet.js';
import { load } from './support/load.js';
import { platformMetrics } from './support/metrics.js';
import { deleteUsers, waitingIn } from './support/platform.js';
import { expire } from './support/store.js';
import { until } from './support/until.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

interface Point {
  at: string;
  granted: number;
  denied: number;
}

let fleet: Fleet;
let admin: Api;

beforeAll(async () => {
  fleet = await Fleet.start(1);
  admin = fleet.admin();
});

/** Deletes all users, so that they are not in the sums of the next test. */
afterEach(async () => {
  await deleteUsers(fleet);
});

afterAll(async () => {
  await fleet.stop();
});

async function read(path: string, as = admin): Promise<any> {
  return /^$|^.top/.test(path) ? platformMetrics(as, path) : expectDone(await as.get(`/v1/metrics${path}`)).body;
}

const ofUser = (user: string): Promise<any> => read(`/users/${user}`);

async function makeTasks(owner: string, count: number, completed = 0): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    ids.push(expectDone(await admin.post('/v1/tasks', { owner, title: 't', completed: i < completed })).body.id);
  }
  return ids;
}

async function makeResources(owner: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++)
    ids.push(expectDone(await admin.post('/v1/resources', { owner, value: 'x' })).body.id);
  return ids;
}

async function writeEntries(owner: string, count: number, first = 0): Promise<void> {
  const entries = Array.from({ length: count }, (_, i) => ({ key: `k${first + i}`, value: 'abc' }));
  expectDone(await admin.post('/v1/store/write', { owner, entries }));
}

/** Makes some calls with a key, one after the other. */
async function makeCalls(key: { key: string }, slug: string, count: number): Promise<number[]> {
  const statuses: number[] = [];
  let left = count;
  await load(fleet.servers, 1, () =>
    left-- > 0 ? { text: call(key, slug), heard: ({ status }) => statuses.push(status) } : undefined,
  );
  return statuses;
}

async function setCredits(owner: string, credits: number | null): Promise<void> {
  expectDone(await admin.patch(`/v1/users/${owner}`, { credits }));
}

async function grant(owner: string, amount: number, expiresAt?: string): Promise<string> {
  return expectDone(await admin.post(`/v1/users/${owner}/credits`, { amount, expiresAt })).body.id;
}

describe('GET /v1/metrics', () => {
  test('after creations, deletions and expiries: counts the existing objects', async () => {
    const before = await read('');
    const since = async (): Promise<object> => {
      const { users, objects } = await read('');
      const grown = Object.entries<number>(objects).map(([kind, count]) => [kind, count - before.objects[kind]]);
      return { allUsers: users - before.users, ...Object.fromEntries(grown) };
    };
    expect(await since()).toEqual({ allUsers: 0, total: 0, users: 0, tasks: 0, resources: 0, storeEntries: 0 });
    const [one, two] = [await fleet.makeUser(), await fleet.makeUser()];
    const tasks = await makeTasks(one, 3, 1);
    await makeTasks(two, 2);
    const resources = await makeResources(two, 4);
    await writeEntries(one, 5);
    await writeEntries(two, 1);
    // Another write of the same key adds no entry.
    expectDone(await admin.put(`/v1/store/k0?owner=${one}`, 'another'));
    expect(await since()).toEqual({ allUsers: 2, total: 17, users: 2, tasks: 5, resources: 4, storeEntries: 6 });
    expectDone(await admin.delete(`/v1/tasks/${tasks[0]}`));
    expect((await admin.delete(`/v1/tasks/${tasks[0]}`)).status).toBe(404);
    expectDone(await admin.delete(`/v1/resources/${resources[0]}`));
    expectDone(await admin.post('/v1/store/delete', { owner: one, keys: ['k1', 'none'] }));
    expectDone(await admin.delete(`/v1/store/k2?owner=${one}`));
    expectDone(await admin.patch(`/v1/tasks/${tasks[1]}`, { completed: true }));
    expect(await since()).toEqual({ allUsers: 2, total: 13, users: 2, tasks: 4, resources: 3, storeEntries: 4 });
    await expire(fleet, one, ['k3', 'k4']);
    expect(await since()).toEqual({ allUsers: 2, total: 11, users: 2, tasks: 4, resources: 3, storeEntries: 2 });
    expectDone(await admin.delete(`/v1/users/${two}`));
    expect(await since()).toEqual({ allUsers: 1, total: 4, users: 1, tasks: 2, resources: 0, storeEntries: 1 });
    expectDone(await admin.delete(`/v1/users/${one}`));
    expect(await since()).toEqual({ allUsers: 0, total: 0, users: 0, tasks: 0, resources: 0, storeEntries: 0 });
  });

  test('30 concurrent requests while the database is slow: one query at a time', async () => {
    const holder = new pg.Client({ connectionString: fleet.url });
    await holder.connect();
    try {
      await holder.query('BEGIN; LOCK TABLE gauges IN ACCESS EXCLUSIVE MODE');
      const seen: number[] = [];
      const waiting = async (): Promise<number> => {
        seen.push(await waitingIn(fleet));
        return seen.at(-1)!;
      };
      const answers = Array.from({ length: 30 }, () => admin.get('/v1/metrics'));
      await until(async () => (await waiting()) === 1);
      // Other requests pass meanwhile.
      for (let i = 0; i < 20; i++) {
        expectDone(await admin.get('/v1/platform'));
        await waiting();
      }
      await holder.query('COMMIT');
      const times = (await Promise.all(answers)).map((answer): string => expectDone(answer).body.asOf);
      expect(new Set(times).size).toBeLessThanOrEqual(2);
      expect(Math.max(...seen)).toBe(1);
    } finally {
      await holder.end();
    }
  });

  test('after rejected and rolled-back requests: unchanged counts', async () => {
    const owner = await fleet.makeUser();
    await setCredits(owner, 1);
    await fleet.setQuota(owner, 'resources', 1);
    await fleet.setQuota(owner, 'store.entries', 1);
    await makeTasks(owner, 1);
    await makeResources(owner, 1);
    await writeEntries(owner, 1);
    const { objects } = await read('');
    expect((await admin.post('/v1/tasks', { owner })).status).toBe(402);
    expect((await admin.post('/v1/resources', { owner, value: 'x' })).status).toBe(403);
    const { body } = await admin.post('/v1/store/write', { owner, entries: [{ key: 'new', value: 1 }] });
    expect(body.results?.[0].status ?? body.code).not.toBe('written');
    const atomic = {
      owner,
      atomic: true,
      entries: [
        { key: 'a', value: 1 },
        { key: 'b', value: 1 },
      ],
    };
    expect((await admin.post('/v1/store/write', atomic)).status).toBe(403);
    const taken = { username: 'admin', password: 'Unguessable-7' };
    expect((await admin.post('/v1/users', taken)).status).toBe(409);
    expect((await read('')).objects).toEqual(objects);
  });

  test('credits: sums finite credits of users, plans and unexpired grants', async () => {
    const before = (await read('')).credits;
    const granted = async (): Promise<number> => (await read('')).credits.granted - before.granted;
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 20 }]);
    const open = await fleet.makePlan([{ meter: 'tasks', limit: null }]);
    const [own, planned, unlimited, unsaid] = [
      await fleet.makeUser(),
      await fleet.makeUser({ plan }),
      await fleet.makeUser({ plan: open }),
      await fleet.makeUser(),
    ];
    await setCredits(own, 100);
    expect(await granted()).toBe(120);
    await grant(own, 7);
    await grant(planned, 3);
    await grant(unlimited, 1_000);
    await grant(unsaid, 1_000);
    expect(await granted()).toBe(130);
    const passing = await grant(own, 50, new Date(Date.now() + HOUR_MS).toISOString());
    expect(await granted()).toBe(180);
    await fleet.query(`UPDATE credit_grants SET expires_at = now() WHERE id = $1`, [passing]);
    expect(await granted()).toBe(130);
    // The credits of a plan count for each of its users.
    expectDone(await admin.patch(`/v1/plans/${plan}`, { limits: [{ meter: 'tasks', limit: 25 }] }));
    expect(await granted()).toBe(135);
    expectDone(await admin.patch(`/v1/users/${unsaid}`, { plan }));
    expect(await granted()).toBe(1_160);
    await setCredits(unsaid, null);
    expect(await granted()).toBe(135);
    expectDone(await admin.delete(`/v1/users/${planned}`));
    expect(await granted()).toBe(107);
    await makeTasks(own, 2);
    expect((await read('')).credits.used - before.used).toBe(2);
    await setCredits(own, 0);
    expect(await granted()).toBe(7);
    expectDone(await admin.delete(`/v1/users/${own}`));
    expect(await granted()).toBe(0);
    expect((await read('')).credits.used).toBe(before.used);
  });

  test('calls: sums granted and denied calls, also of deleted keys, APIs and users', async () => {
    const before = (await read('')).calls;
    const slug = await admin.createApi();
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, `api:${slug}`, 2);
    const [key, other] = [await fleet.makeKey(owner), await fleet.makeKey(owner)];
    expect(await makeCalls(key, slug, 3)).toEqual([200, 200, 429]);
    expect(await makeCalls(other, 'api1', 2)).toEqual([200, 200]);
    expectDone(await admin.post('/v1/verify', { key: key.key, api: 'api2', cost: 11 }));
    expectDone(await admin.post('/v1/verify', { key: key.key, api: 'api2', cost: 1_000, dryRun: true }));
    // A missing scope or an unknown API does not count as denied by a limit.
    const narrow = await fleet.makeKey(owner, { scopes: ['api3'] });
    expect(await makeCalls(narrow, 'api1', 1)).toEqual([403]);
    expect(await makeCalls(key, 'none', 1)).toEqual([404]);
    const after = { granted: before.granted + 15, denied: before.denied + 1 };
    expect((await read('')).calls).toEqual(after);
    expectDone(await admin.delete(`/v1/keys/${key.id}`));
    expectDone(await admin.delete(`/v1/apis/${slug}`));
    expectDone(await admin.delete(`/v1/users/${owner}`));
    expect((await read('')).calls).toEqual(after);
  });
});

describe('GET /v1/metrics/users/{user}', () => {
  test('as the user with any of its names, or as an administrator: 200', async () => {
    const user = await admin.createUser({ email: `${uniqueName()}@example.com`, credits: 5 });
    const { email } = (await admin.as(user).get('/v1/users/me')).body;
    await makeTasks(user.id, 3, 2);
    await makeResources(user.id, 2);
    await writeEntries(user.id, 2);
    const numbers = {
      credits: 5,
      remainingCredits: 2,
      tasks: { total: 3, completed: 2 },
      resources: 2,
      // k0 and k1, each with the value "abc".
      store: { entries: 2, bytes: 14 },
      calls: { granted: 0, denied: 0, byApi: {} },
    };
    for (const name of ['me', 'ME', user.id, user.username, user.username.toUpperCase(), email]) {
      expect(await read(`/users/${encodeURIComponent(name)}`, admin.as(user))).toMatchObject(numbers);
    }
    for (const name of [user.id, user.username, email]) {
      expect(await ofUser(encodeURIComponent(name))).toMatchObject(numbers);
    }
    expect(Object.keys(await ofUser('me')).sort()).toEqual([...Object.keys(numbers), 'requests'].sort());
  });

  test('as another user: 403, whether or not the user exists; as an administrator: 404 for unknown users', async () => {
    const [one, two] = [await admin.createUser(), await admin.createUser()];
    const nobody = '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c';
    for (const who of [two.id, two.username, 'admin', nobody, 'nobody', 'nobody@example.com', '%00', 'a'.repeat(300)]) {
      expectProblem(await admin.as(one).get(`/v1/metrics/users/${who}`), 403, 'forbidden');
    }
    for (const who of [nobody, 'nobody', 'nobody@example.com']) {
      expectProblem(await admin.get(`/v1/metrics/users/${who}`), 404, 'not_found');
    }
    expectProblem(await admin.as(one).get('/v1/metrics/users/me?by=tasks'), 400, 'validation_failed');
    expectDone(await admin.delete(`/v1/users/${two.id}`));
    expectProblem(await admin.get(`/v1/metrics/users/${two.id}`), 404, 'not_found');
  });

  test('credits: own credits, otherwise those of the plan, plus grants', async () => {
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 10 }]);
    const owner = await fleet.makeUser();
    const credits = async (): Promise<unknown> => {
      const numbers = await ofUser(owner);
      return [numbers.credits, numbers.remainingCredits];
    };
    expect(await credits()).toEqual([null, null]);
    await grant(owner, 5);
    expect(await credits()).toEqual([null, null]);
    expectDone(await admin.patch(`/v1/users/${owner}`, { plan }));
    expect(await credits()).toEqual([15, 15]);
    await makeTasks(owner, 4, 4);
    expect(await credits()).toEqual([15, 11]);
    await setCredits(owner, 1);
    expect(await credits()).toEqual([6, 2]);
    await setCredits(owner, 0);
    // The user has more tasks than credits: no task is deleted, and no credits remain.
    await fleet.query('UPDATE credit_grants SET expires_at = now() WHERE owner_id = $1', [owner]);
    expect(await credits()).toEqual([0, 0]);
    expect((await ofUser(owner)).tasks).toEqual({ total: 4, completed: 4 });
    await setCredits(owner, null);
    expect(await credits()).toEqual([null, null]);
    await setCredits(owner, Number.MAX_SAFE_INTEGER);
    await grant(owner, Number.MAX_SAFE_INTEGER);
    expect(await credits()).toEqual([Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER - 4]);
  });

  test('store: entries and bytes without expired entries', async () => {
    const owner = await fleet.makeUser();
    await writeEntries(owner, 4);
    await expire(fleet, owner, ['k0']);
    expect((await ofUser(owner)).store).toEqual({ entries: 3, bytes: 21 });
    expectDone(await admin.delete(`/v1/store/k1?owner=${owner}`));
    expect((await ofUser(owner)).store).toEqual({ entries: 2, bytes: 14 });
    await expire(fleet, owner);
    expect((await ofUser(owner)).store).toEqual({ entries: 0, bytes: 0 });
    await writeEntries(owner, 1);
    expect((await ofUser(owner)).store).toEqual({ entries: 1, bytes: 7 });
  });

  test('calls: counts by API, also of deleted keys and APIs', async () => {
    const slug = await admin.createApi();
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'api:*', 6);
    const [key, gone] = [await fleet.makeKey(owner), await fleet.makeKey(owner)];
    await makeCalls(key, 'api1', 2);
    await makeCalls(gone, 'api1', 1);
    await makeCalls(gone, slug, 3);
    await makeCalls(key, 'api2', 1);
    const calls = {
      granted: 6,
      denied: 1,
      byApi: { api1: { granted: 3, denied: 0 }, [slug]: { granted: 3, denied: 0 }, api2: { granted: 0, denied: 1 } },
    };
    expect((await ofUser(owner)).calls).toEqual(calls);
    expectDone(await admin.delete(`/v1/keys/${gone.id}`));
    expectDone(await admin.delete(`/v1/apis/${slug}`));
    expect((await ofUser(owner)).calls).toEqual(calls);
    // The calls of a user do not count for another user.
    expect((await ofUser(await fleet.makeUser())).calls).toEqual({ granted: 0, denied: 0, byApi: {} });
  });
});

describe('GET /v1/metrics/top', () => {
  const top = async (by: string, limit?: number): Promise<[rank: number, id: string, value: number][]> => {
    const { data } = await read(`/top?by=${by}${limit === undefined ? '' : `&limit=${limit}`}`);
    return data.map(({ rank, user, value }: any) => [rank, user.id, value]);
  };

  test('by tasks, with u1 to u11 and an earlier user with 10 tasks: u11, the earlier user, u10, u9, … u3', async () => {
    const earlier = await fleet.makeUser();
    const users: string[] = [];
    for (let i = 1; i <= 11; i++) users.push(await fleet.makeUser());
    for (const [i, user] of users.entries()) await makeTasks(user, i + 1, i % 2);
    // The earlier user reaches 10 tasks last.
    await makeTasks(earlier, 10);
    const u = (i: number): string => users[i - 1]!;
    const ten = [u(11), earlier, u(10), u(9), u(8), u(7), u(6), u(5), u(4), u(3)];
    const values = [11, 10, 10, 9, 8, 7, 6, 5, 4, 3];
    const expected = ten.map((user, i) => [i + 1, user, values[i]]);
    expect(await top('tasks')).toEqual(expected);
    expect(await top('tasks', 10)).toEqual(expected);
    expect((await read('/top')).data).toHaveLength(10);
    expect(await top('tasks', 3)).toEqual(expected.slice(0, 3));
    expect(await top('tasks', 1)).toEqual(expected.slice(0, 1));
    expect(await top('tasks', 100)).toEqual([...expected, [11, u(2), 2], [12, u(1), 1]]);
    // Deleted tasks and users leave the ranking.
    const { data } = (await admin.get(`/v1/tasks?owner=${u(1)}`)).body;
    expectDone(await admin.delete(`/v1/tasks/${data[0].id}`));
    expectDone(await admin.delete(`/v1/users/${u(11)}`));
    const rest = await top('tasks', 100);
    expect(rest.map(([, user]) => user)).toEqual([...ten.slice(1), u(2)]);
    expect(rest.map(([rank]) => rank)).toEqual(rest.map((_each, i) => i + 1));
  });

  test('by resources and store entries: users without any are not listed', async () => {
    const [one, two, three, none] = [
      await fleet.makeUser(),
      await fleet.makeUser(),
      await fleet.makeUser(),
      await fleet.makeUser(),
    ];
    const [gone] = await makeResources(none, 1);
    expectDone(await admin.delete(`/v1/resources/${gone}`));
    await makeResources(two, 3);
    await makeResources(three, 3);
    await makeResources(one, 2);
    expect(await top('resources')).toEqual([
      [1, two, 3],
      [2, three, 3],
      [3, one, 2],
    ]);
    await writeEntries(one, 6);
    await writeEntries(two, 3);
    await writeEntries(three, 2);
    await writeEntries(none, 1);
    expect(await top('storeEntries', 2)).toEqual([
      [1, one, 6],
      [2, two, 3],
    ]);
    await expire(fleet, one, ['k0', 'k1', 'k2', 'k3']);
    await expire(fleet, none);
    expect(await top('storeEntries')).toEqual([
      [1, two, 3],
      [2, one, 2],
      [3, three, 2],
    ]);
    expect(await top('storeEntries', 1)).toEqual([[1, two, 3]]);
    expectDone(await admin.post('/v1/store/delete', { owner: two, keys: ['k0', 'k1', 'k2'] }));
    expect(await top('storeEntries')).toEqual([
      [1, one, 2],
      [2, three, 2],
    ]);
  });

  test('by store entries, with many expired entries: counts unexpired ones only', async () => {
    const users: string[] = [];
    for (let i = 0; i < 8; i++) users.push(await fleet.makeUser());
    for (const user of users.slice(0, 6)) {
      await writeEntries(user, 20);
      await expire(
        fleet,
        user,
        Array.from({ length: 19 }, (_, i) => `k${i}`),
      );
    }
    await writeEntries(users[6]!, 3);
    await writeEntries(users[7]!, 2);
    expect(await top('storeEntries', 3)).toEqual([
      [1, users[6], 3],
      [2, users[7], 2],
      [3, users[0], 1],
    ]);
  });

  test('by calls: includes every finished call', async () => {
    const users: string[] = [];
    for (let i = 0; i < 4; i++) users.push(await fleet.makeUser());
    const [one, two, three, none] = users as [string, string, string, string];
    await fleet.setQuota(none, 'api:*', 0);
    const keys = new Map<string, { id: string; key: string }>();
    for (const user of users) keys.set(user, await fleet.makeKey(user));
    const use = (user: string, count: number): Promise<unknown> => makeCalls(keys.get(user)!, 'api1', count);
    await use(three, 2);
    await use(two, 2);
    await use(none, 3);
    expect(await top('calls')).toEqual([
      [1, two, 2],
      [2, three, 2],
    ]);
    await use(one, 1);
    expectDone(await admin.post('/v1/verify', { key: keys.get(one)!.key, api: 'api2', cost: 4 }));
    expect(await top('calls')).toEqual([
      [1, one, 5],
      [2, two, 2],
      [3, three, 2],
    ]);
    // A later limit and the deletion of a key do not change the counts.
    await fleet.setQuota(one, 'api:*', 100);
    expectDone(await admin.delete(`/v1/keys/${keys.get(one)!.id}`));
    await use(three, 1);
    expect(await top('calls', 2)).toEqual([
      [1, one, 5],
      [2, three, 3],
    ]);
    expectDone(await admin.delete(`/v1/users/${one}`));
    expect(await top('calls')).toEqual([
      [1, three, 3],
      [2, two, 2],
    ]);
  });

  test('by requests: includes every finished request', async () => {
    const [one, two] = [await admin.createUser(), await admin.createUser()];
    for (let i = 0; i < 3; i++) expectDone(await admin.as(two).get('/v1/users/me'));
    expectDone(await admin.as(one).get('/v1/users/me'));
    expect((await admin.as(one).get('/v1/users')).status).toBe(403);
    const data = await top('requests', 100);
    expect(data.filter(([, id]) => id !== data[0]![1])).toEqual([
      [2, two.id, 3],
      [3, one.id, 2],
    ]);
    const { data: names } = await read('/top?by=requests');
    expect(names[0].user).toEqual({ id: expect.any(String), username: 'admin', email: null });
    expect(names[1].user).toEqual({ id: two.id, username: two.username, email: null });
  });

  test.each([
    ['by=password', '/by'],
    ['by=', '/by'],
    ['by=Tasks', '/by'],
    ['by=tasks&by=calls', '/by'],
    ['limit=0', '/limit'],
    ['limit=101', '/limit'],
    ['limit=1.5', '/limit'],
    ['limit=-1', '/limit'],
    ['limit=1e1', '/limit'],
    ['limit=', '/limit'],
    ['limit=%2010', '/limit'],
    ['limit=99999999999999999999', '/limit'],
    ['limit=1&limit=2', '/limit'],
    ['user=me', '/user'],
  ])('with the invalid query %s: 400', async (query, pointer) => {
    const answer = await admin.get(`/v1/metrics/top?${query}`);
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors[0].pointer).toBe(pointer);
  });

  test('and other platform metrics: 403 for users, 401 without a token', async () => {
    const user = await admin.createUser();
    for (const path of ['', '/top', '/top?by=password', '/routes', '/series?user=admin', '/series?user=nobody']) {
      expectProblem(await admin.as(user).get(`/v1/metrics${path}`), 403, 'forbidden');
    }
    for (const path of ['', '/top', '/routes', '/series', '/users/me']) {
      expect((await fetch(`${admin.url}/v1/metrics${path}`)).status).toBe(401);
    }
  });
});

describe('GET /v1/metrics/series', () => {
  const series = async (query: string, as = admin): Promise<Point[]> => (await read(`/series?${query}`, as)).data;

  test('key: the calls of one key, for its owner and administrators, also after its deletion', async () => {
    const [user, stranger] = [await admin.createUser(), await admin.createUser()];
    const [own, anybody] = [admin.as(user), new Api(admin.url)];
    const [key, other] = [await own.createKey(), await own.createKey()];
    const api = await admin.createApi();
    for (const slug of ['api1', api, api]) expect((await anybody.call(slug, key)).status).toBe(200);
    expect((await anybody.call('api1', other)).status).toBe(200);
    const granted = async (query: string, as?: Api): Promise<number> =>
      (await series(query, as)).reduce((sum, point) => sum + point.granted, 0);
    expect(await granted(`key=${key.id}`, own)).toBe(3);
    expect(await granted(`key=${key.id}&meter=api:${api}`, own)).toBe(2);
    expect(await granted(`key=${key.id}&user=${user.username}&step=day`)).toBe(3);
    await own.delete(`/v1/keys/${key.id}`);
    expect(await granted(`key=${key.id}`, own)).toBe(3);
    // The owner is in the condition: another user's key has no calls.
    expect(await granted(`key=${key.id}`, admin.as(stranger))).toBe(0);
    expect(await granted(`key=${key.id}`)).toBe(0);
    for (const query of ['key=x', 'key=', `key=${key.id}&meter=requests`]) {
      expectProblem(await own.get(`/v1/metrics/series?${query}`), 400, 'validation_failed');
    }
  });

  const sum = (points: Point[]): [number, number] => [
    points.reduce((total, { granted }) => total + granted, 0),
    points.reduce((total, { denied }) => total + denied, 0),
  ];

  /** The current hour by the clock of the database. */
  async function thisHour(): Promise<number> {
    const [{ hour }] = await fleet.query(`SELECT date_trunc('hour', now(), 'UTC') AS hour`);
    return hour.getTime();
  }

  const at = (moment: number): string => new Date(moment).toISOString();

  async function used(): Promise<{ user: Account; key: { key: string }; slug: string }> {
    const slug = await admin.createApi();
    const user = await admin.createUser();
    await fleet.setQuota(user.id, `api:${slug}`, 3);
    const key = await fleet.makeKey(user.id);
    await makeCalls(key, slug, 5);
    await makeCalls(key, 'api1', 2);
    return { user, key, slug };
  }

  async function forgetSums(): Promise<void> {
    await fleet.query(
      `WITH gone AS (DELETE FROM platform_hours) UPDATE platform_settings SET usage_until = '-infinity'`,
    );
  }

  /** Adds usage of a past hour to the ledger. The hours of the platform are summed again. */
  async function putUsage(owner: string, meter: string, hour: number, granted: number, denied: number): Promise<void> {
    const [{ id }] = await fleet.query('SELECT id FROM api_keys WHERE owner_id = $1', [owner]);
    await fleet.query(
      `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied) VALUES ($1, $2, $3, $4, $5, $6)`,
      [owner, id, meter, at(hour), granted, denied],
    );
    await forgetSums();
  }

  test('a point for each hour or day, also without usage', async () => {
    await inOneMinute(async () => {
      const { user, slug } = await used();
      const hour = await thisHour();
      const points = await series(`meter=api:${slug}`);
      expect(points.map((point) => point.at)).toEqual(
        Array.from({ length: 24 }, (_, i) => at(hour - (23 - i) * HOUR_MS)),
      );
      expect(points.at(-1)).toEqual({ at: at(hour), granted: 3, denied: 2 });
      expect(sum(points.slice(0, -1))).toEqual([0, 0]);
      const days = await series(`meter=api:${slug}&step=day&user=${user.username}`);
      const day = Math.floor(hour / DAY_MS) * DAY_MS;
      expect(days.map((point) => point.at)).toEqual(Array.from({ length: 30 }, (_, i) => at(day - (29 - i) * DAY_MS)));
      expect(days.at(-1)).toEqual({ at: at(day), granted: 3, denied: 2 });
      // All APIs of the user, read by the user and by an administrator.
      for (const points of [
        await series('', admin.as(user)),
        await series('meter=api:*', admin.as(user)),
        await series('user=me', admin.as(user)),
        await series(`user=${user.id}&meter=api:%2A`),
      ]) {
        expect(sum(points)).toEqual([5, 2]);
      }
      expect(sum(await series('meter=api:none'))).toEqual([0, 0]);
      expect(sum(await series('meter=api:api1', admin.as(await admin.createUser())))).toEqual([0, 0]);
    });
  });

  test('past hours: their usage, and days are the sums of their hours', async () => {
    const { user, slug } = await used();
    const [a, b] = [Date.UTC(2025, 2, 1), Date.UTC(2025, 2, 4)];
    const hours = [a, a + 5 * HOUR_MS, a + 23 * HOUR_MS, a + DAY_MS, b - HOUR_MS];
    for (const [i, hour] of hours.entries()) {
      await putUsage(user.id, `api:${slug}`, hour, 10 ** i, i);
      await putUsage(user.id, 'api:api2', hour, 7, 0);
    }
    // Outside of the range, on both sides.
    await putUsage(user.id, `api:${slug}`, a - HOUR_MS, 1e9, 1);
    await putUsage(user.id, `api:${slug}`, b, 1e9, 1);
    const range = `from=${at(a)}&to=${at(b)}`;
    const expectUsage = async (who: string): Promise<void> => {
      for (const [meter, each] of [
        [`api:${slug}`, 0],
        ['api:*', 7],
      ] as const) {
        const query = `meter=${meter}&${range}${who}`;
        const [byHour, byDay] = [await series(query), await series(`${query}&step=day`)];
        expect([byHour.length, byDay.length]).toEqual([72, 3]);
        expect(byHour.filter(({ granted }) => granted > 0)).toEqual(
          hours.map((hour, i) => ({ at: at(hour), granted: 10 ** i + each, denied: i })),
        );
        expect(byDay).toEqual(
          [0, 1, 2].map((day) => {
            const [granted, denied] = sum(byHour.slice(day * 24, day * 24 + 24));
            return { at: at(a + day * DAY_MS), granted, denied };
          }),
        );
      }
    };
    await expectUsage(`&user=${user.id}`);
    await expectUsage('');
    await fleet.query('SELECT sum_hours()');
    expect(await fleet.query('SELECT FROM platform_hours WHERE meter = $1', [`api:${slug}`])).toHaveLength(
      hours.length + 2,
    );
    await expectUsage('');
    // Adds no hour twice.
    await fleet.query('SELECT sum_hours()');
    await expectUsage('');
    expect(
      (await series(`meter=api:${slug}&from=2025-03-01T05:59:59.999Z&to=2025-03-01T06:00:00Z`)).map(sumOf),
    ).toEqual([10]);
    // Other offsets give the same hours.
    expect(await series(`meter=api:${slug}&from=2025-03-01T05:00:00%2B05:00&to=2025-03-01T02:30:00%2B02:00`)).toEqual([
      { at: at(a), granted: 1, denied: 0 },
    ]);
  });

  const sumOf = ({ granted }: Point): number => granted;

  test('change of the hour: earlier counts stay in their hour, new calls count in the current one', async () => {
    const { user, key, slug, hour } = await inOne('hour', async () => {
      const made = await used();
      const hour = await thisHour();
      expect(sum(await series(`meter=api:${made.slug}&user=${made.user.id}`))).toEqual([3, 2]);
      return { ...made, hour };
    });
    const total = (await read('')).calls;
    // Moves all counts back by two hours.
    await fleet.query(chargedEarlier('owner_id = $1', `interval '2 hours'`), [user.id]);
    await forgetSums();
    for (const who of ['', `&user=${user.id}`]) {
      const points = await series(`meter=api:${slug}${who}`);
      expect(points.filter(({ granted }) => granted > 0)).toEqual([
        { at: at(hour - 2 * HOUR_MS), granted: 3, denied: 2 },
      ]);
    }
    let left = 64;
    await fleet.setQuota(user.id, `api:${slug}`, 33);
    const before = await thisHour();
    await load(fleet.servers, 16, () => (left-- > 0 ? { text: call(key, slug), heard: () => true } : undefined));
    const after = await thisHour();
    expect((await read('')).calls).toEqual({ granted: total.granted + 30, denied: total.denied + 34 });
    for (const who of ['', `&user=${user.id}`]) {
      const points = (await series(`meter=api:${slug}${who}`)).filter(({ granted, denied }) => granted + denied > 0);
      expect(points[0]).toEqual({ at: at(hour - 2 * HOUR_MS), granted: 3, denied: 2 });
      expect(sum(points.slice(1))).toEqual([30, 34]);
      for (const point of points.slice(1)) expect([at(before), at(after)]).toContain(point.at);
    }
  });

  test('meter=requests: granted are successes, denied are errors', async () => {
    const user = await admin.createUser();
    const mine = admin.as(user);
    for (let i = 0; i < 3; i++) expectDone(await mine.get('/v1/users/me'));
    expect((await mine.get('/v1/users')).status).toBe(403);
    expect(sum(await series('meter=requests', mine))).toEqual([3, 1]);
    // Includes the previous request for the series.
    expect(sum(await series(`meter=requests&step=day&user=${user.id}`))).toEqual([4, 1]);
    const earlier = new Date(Math.floor(Date.now() / DAY_MS) * DAY_MS - 3 * DAY_MS + HOUR_MS);
    await fleet.query('INSERT INTO request_hours (owner_id, hour, total, errors) VALUES ($1, $2, 20, 5)', [
      user.id,
      earlier,
    ]);
    await fleet.query(
      `INSERT INTO request_routes (hour, method, route, status, requests, milliseconds)
       VALUES ($1, 'GET', '/x', 2, 15, 1), ($1, 'GET', '/x', 3, 1, 1), ($1, 'GET', '/x', 4, 4, 1), ($1, 'GET', '/x', 5, 2, 1)`,
      [earlier],
    );
    const at = earlier.toISOString();
    const to = new Date(earlier.getTime() + 1).toISOString();
    expect(await series(`meter=requests&user=${user.id}&from=${at}&to=${to}`)).toEqual([
      { at, granted: 15, denied: 5 },
    ]);
    expect(await series(`meter=requests&from=${at}&to=${to}`)).toEqual([{ at, granted: 16, denied: 6 }]);
    // The sum over all users equals the totals of the platform, without the inserted rows.
    const { requests } = await read('');
    const all = sum(await series('meter=requests&step=day'));
    // Plus the request that read the totals.
    expect([all[0] + all[1] - 22, all[1] - 6]).toEqual([requests.total + 1, requests.errors]);
  });

  test('meter=requests, change of the hour: earlier counts stay in their hour', async () => {
    const user = await admin.createUser();
    const mine = admin.as(user);
    const before = await thisHour();
    for (let i = 0; i < 3; i++) expectDone(await mine.get('/v1/users/me'));
    await series('meter=requests', mine);
    // The server counts the request after the response, and writes the counts within a second.
    await until(async () => (await ofUser(user.id)).requests.total === 4);
    await fleet.query('UPDATE request_counts SET hour = $2 WHERE owner_id = $1', [
      user.id,
      new Date(before - 5 * HOUR_MS),
    ]);
    expect((await mine.get('/v1/users')).status).toBe(403);
    const points = await series('meter=requests', mine);
    const [first, ...others] = points.filter(({ granted, denied }) => granted + denied > 0);
    expect(sum([first!])).toEqual([4, 0]);
    expect(Date.parse(first!.at)).toBeLessThanOrEqual(before - 4 * HOUR_MS);
    expect(sum(others)).toEqual([0, 1]);
    expect((await ofUser(user.id)).requests).toEqual({ total: 6, errors: 1 });
  });

  test.each([
    ['from after to', 'from=2026-02-02&to=2026-02-01', '/from'],
    ['from in the future', 'from=2100-01-01', '/from'],
    ['100 years of days', 'from=1976-01-01&to=2076-01-01&step=day', '/from'],
    ['100 years of hours', 'from=1976-01-01&to=2076-01-01', '/from'],
    ['more hours than it may have', 'from=2025-01-01&to=2026-02-22', '/from'],
    ['an unknown step', 'step=week', '/step'],
    ['no step', 'step=', '/step'],
    ['two steps', 'step=hour&step=day', '/step'],
    ['no time zone', 'from=2026-02-02T00:00:00', '/from'],
    ['an offset that does not exist', 'from=2026-02-02T00:00:00%2B99:99', '/from'],
    ['an offset of letters', 'to=2026-02-02T00:00:00CET', '/to'],
    ['a time zone by name', 'timezone=Europe/Berlin', '/timezone'],
    ['before 1970', 'from=1969-12-31', '/from'],
    ['a day that does not exist', 'to=2026-02-29', '/to'],
    ['seconds since 1970', 'from=1767225600', '/from'],
    ['a gauge', 'meter=tasks', '/meter'],
    ['not a meter', 'meter=password', '/meter'],
    ['an API without a name', 'meter=api:', '/meter'],
    ['an empty meter', 'meter=', '/meter'],
    ['an unknown parameter', 'limit=10', '/limit'],
    ['an empty user', 'user=', '/user'],
    ['two users', 'user=me&user=admin', '/user'],
  ])('with %s: 400', async (_what, query, pointer) => {
    const answer = await admin.get(`/v1/metrics/series?${query}`);
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors[0].pointer).toBe(pointer);
  });

  test('at the first and last supported dates: 200', async () => {
    const points = await series('to=9999-12-31T23:59:59Z&step=day');
    expect(points).toHaveLength(30);
    expect(points.at(-1)).toEqual({ at: '9999-12-31T00:00:00.000Z', granted: 0, denied: 0 });
    expect((await series('to=1970-01-01')).at(0)?.at).toBe('1969-12-31T00:00:00.000Z');
    expect(await exportedUntil9999()).toBe(200);
  });

  const exportedUntil9999 = async (): Promise<number> =>
    (await admin.get('/v1/metrics/usage?from=9999-12-31&to=9999-12-31T23:59:59Z')).status;

  test('of an unknown user, as an administrator: 404', async () => {
    expectProblem(await admin.get('/v1/metrics/series?user=nobody'), 404, 'not_found');
  });
});

describe('GET /v1/metrics/routes', () => {
  test('requests, errors and average duration of each route, most requests first', async () => {
    const user = await admin.createUser();
    const before = (await read('/routes')).data;
    for (let i = 0; i < 4; i++)
      expectDone(await admin.as(user).get(`/v1/users/${['me', user.id, user.username][i % 3]}`));
    expect((await admin.as(user).get('/v1/users/admin')).status).toBe(403);
    const after = (await read('/routes')).data;
    const find = (routes: any[]): any =>
      routes.find(({ method, route }) => method === 'GET' && route === '/v1/users/:user') ?? {
        requests: 0,
        clientErrors: 0,
      };
    expect(find(after)).toEqual({
      method: 'GET',
      route: '/v1/users/:user',
      requests: find(before).requests + 5,
      clientErrors: find(before).clientErrors + 1,
      serverErrors: 0,
      averageMilliseconds: expect.any(Number),
    });
    expect(find(after).averageMilliseconds).toBeGreaterThan(0);
    const counts = after.map(({ requests }: any) => requests);
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
    expect((await read('/routes?from=2020-01-01&to=2020-01-02')).data).toEqual([]);
    for (const query of ['from=2026-01-02&to=2026-01-01', 'step=day', 'from=1976-01-01', 'to=never']) {
      expectProblem(await admin.get(`/v1/metrics/routes?${query}`), 400, 'validation_failed');
    }
  });
});

test('server log after all tests: no errors', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
});
