import pg from 'pg';
import { expectProblem, uniqueName, type Answer } from './support/api.js';
import { Fleet, expectDone, tally } from './support/fleet.js';
import { platformMetrics } from './support/metrics.js';
import { deadlocksIn, deleteUsers, expectSound, waitingIn } from './support/platform.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

/** ROUNDS: races of two changes that together exceed the bound. BOUNDS: changes of the bound under load. */
const { ROUNDS, BOUNDS } = sizesOf('overprovisioning');

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(2);
});

afterAll(async () => {
  await fleet.stop();
});

afterEach(async () => {
  await set({ totalObjects: null, creditOverprovisioning: false, defaultPlan: null });
  await deleteUsers(fleet);
  await fleet.query('DELETE FROM plans');
  await expectSound(fleet);
});

const set = async (changes: object): Promise<void> => {
  expectDone(await fleet.admin().patch('/v1/platform', changes));
};

const settings = async (): Promise<any> => expectDone(await fleet.admin(1).get('/v1/platform')).body;

const granted = async (): Promise<number> => (await platformMetrics(fleet.admin(1))).credits.granted;

const makeUser = (fields: object, turn = 0): Promise<Answer> =>
  fleet.admin(turn).post('/v1/users', { username: uniqueName(), password: 'Unguessable-7', ...fields });

const userOf = async (fields: object): Promise<string> => expectDone(await makeUser(fields)).body.id;

const patch = (user: string, changes: object, turn = 0): Promise<Answer> =>
  fleet.admin(turn).patch(`/v1/users/${user}`, changes);

const putQuota = (user: string, limit: number | null, turn = 0): Promise<Answer> =>
  fleet.admin(turn).put(`/v1/users/${user}/quotas/tasks`, { limit });

const unsetQuota = (user: string, turn = 0): Promise<Answer> =>
  fleet.admin(turn).delete(`/v1/users/${user}/quotas/tasks`);

const grant = (user: string, amount: number, turn = 0, fields: object = {}): Promise<Answer> =>
  fleet.admin(turn).post(`/v1/users/${user}/credits`, { amount, ...fields });

const tasksOf = (limit: number | null): object => ({ limits: [{ meter: 'tasks', limit }] });

const patchPlan = (plan: string, changes: object, turn = 0): Promise<Answer> =>
  fleet.admin(turn).patch(`/v1/plans/${plan}`, changes);

/** Checks that the request was rejected and changed nothing. */
async function expectRefused(answer: Answer, sum: number): Promise<void> {
  expectProblem(answer, 409, 'credits_overprovisioned');
  expect(await granted()).toBe(sum);
  await expectSound(fleet);
}

async function expectTaken(answer: Answer, sum: number): Promise<void> {
  expect({ status: answer.status, granted: await granted() }).toEqual({ status: expect.any(Number), granted: sum });
  expect([200, 201, 204]).toContain(answer.status);
}

describe('sum of finite credits, with a bound and without over-provisioning', () => {
  test('POST, PATCH, DELETE /v1/users: accepts credits up to the bound, 409 beyond it', async () => {
    await set({ totalObjects: 20 });
    const user = await userOf({ credits: 8 });
    await expectTaken(await makeUser({ credits: 7 }), 15);
    await expectRefused(await makeUser({ credits: 6 }), 15);
    await expectTaken(await makeUser({ credits: 5 }), 20);
    await expectRefused(await makeUser({ credits: 1 }), 20);
    // Unlimited credits and zero credits add nothing to the sum.
    await expectTaken(await makeUser({ credits: null }), 20);
    await expectTaken(await makeUser({ credits: 0 }), 20);
    await expectTaken(await makeUser({}), 20);
    await expectRefused(await patch(user, { credits: 9 }), 20);
    await expectRefused(await patch(user, { credits: 9, firstName: 'Ada' }), 20);
    expect((await fleet.admin().get(`/v1/users/${user}`)).body).toMatchObject({ credits: 8, firstName: null });
    await expectTaken(await patch(user, { credits: 8 }), 20);
    await expectTaken(await patch(user, { credits: 3 }), 15);
    await expectTaken(await patch(user, { credits: 8 }), 20);
    await expectTaken(await patch(user, { credits: null }), 12);
    await expectRefused(await patch(user, { credits: 9 }), 12);
    await expectTaken(await patch(user, { credits: 8 }), 20);
    // Deleting a user releases its credits.
    await expectTaken(await fleet.admin().delete(`/v1/users/${user}`), 12);
    await expectTaken(await makeUser({ credits: 8 }), 20);
  });

  test('POST /v1/users: 409 creates no user, with or without an Idempotency-Key', async () => {
    await set({ totalObjects: 10 });
    const body = { username: uniqueName(), password: 'Unguessable-7', credits: 11 };
    for (const headers of [{}, { 'idempotency-key': 'refused' }]) {
      await expectRefused(await fleet.admin().post('/v1/users', body, { headers }), 0);
    }
    expect((await fleet.admin().get(`/v1/users?query=${body.username}`)).body.data).toEqual([]);
    await set({ totalObjects: 11 });
    const made = await fleet.admin(1).post('/v1/users', body, { headers: { 'idempotency-key': 'refused' } });
    await expectTaken(made, 11);
  });

  test('includes plan credits, when a user gets a plan and when the plan changes', async () => {
    await set({ totalObjects: 20 });
    const [plan, other] = [
      await fleet.makePlan([{ meter: 'tasks', limit: 5 }]),
      await fleet.makePlan([{ meter: 'resources', limit: 5 }]),
    ];
    const [one, two] = [await userOf({ plan }), await userOf({ plan })];
    const own = await userOf({ plan, credits: 2 });
    expect(await granted()).toBe(12);
    await expectTaken(await patchPlan(plan, tasksOf(9)), 20);
    await expectRefused(await patchPlan(plan, tasksOf(10)), 20);
    expect((await fleet.admin().get(`/v1/plans/${plan}`)).body).toMatchObject(tasksOf(9));
    await expectRefused(await patchPlan(plan, { slug: uniqueName(), ...tasksOf(10) }), 20);
    await expectRefused(await makeUser({ plan }), 20);
    await expectTaken(await patchPlan(plan, tasksOf(null)), 2);
    await expectTaken(await makeUser({ plan }), 2);
    await expectRefused(await patchPlan(plan, tasksOf(7)), 2);
    await expectTaken(await patchPlan(plan, tasksOf(6)), 20);
    await expectTaken(await patchPlan(plan, { limits: [] }), 2);
    await expectTaken(await patchPlan(plan, tasksOf(6)), 20);

    // Changes of the plan of a user, including to no plan.
    await expectTaken(await patch(one, { plan: other }), 14);
    await expectTaken(await patch(two, { plan: null }), 8);
    await expectTaken(await patch(two, { plan }), 14);
    await expectTaken(await patchPlan(plan, tasksOf(8)), 18);
    await expectRefused(await patch(one, { plan }), 18);
    await expectTaken(await patch(one, { plan, credits: 2 }), 20);
    // The user's own credits override those of the plan.
    await expectRefused(await patch(one, { credits: 3 }), 20);
    await expectRefused(await unsetQuota(one), 20);
    await expectTaken(await patch(own, { plan: null }), 20);
    await expectTaken(await unsetQuota(own), 18);
    // Renaming a plan does not change the sum.
    const renamed = uniqueName();
    await expectTaken(await patchPlan(plan, { slug: renamed, name: 'New' }), 18);
    await expectTaken(await patchPlan(renamed, { slug: plan, ...tasksOf(9) }), 20);
  });

  test('includes the `tasks` quota of a user, which is its credits', async () => {
    await set({ totalObjects: 10 });
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 4 }]);
    const user = await userOf({ plan });
    await expectTaken(await putQuota(user, 10), 10);
    await expectRefused(await putQuota(user, 11), 10);
    await expectTaken(await putQuota(user, 1), 1);
    await expectTaken(await putQuota(user, null), 0);
    await expectTaken(await unsetQuota(user), 4);
    await expectTaken(await putQuota(user, null), 0);
    await expectTaken(await makeUser({ credits: 7 }), 7);
    await expectRefused(await unsetQuota(user), 7);
    // Other meters do not count as credits.
    expectDone(await fleet.admin().put(`/v1/users/${user}/quotas/resources`, { limit: 1_000 }));
    expect(await granted()).toBe(7);
  });

  test('includes bonus credits until they expire, except those of users with unlimited credits', async () => {
    await set({ totalObjects: 10 });
    const [user, free] = [await userOf({ credits: 4 }), await userOf({})];
    await expectTaken(await grant(user, 6, 0, { expiresAt: '2999-01-01T00:00:00Z' }), 10);
    await expectRefused(await grant(user, 1), 10);
    await expectTaken(await grant(free, 1_000), 10);
    expect((await fleet.admin().get(`/v1/users/${user}/credits`)).body.data).toHaveLength(1);
    await expectRefused(await patch(free, { credits: 0 }), 10);
    await fleet.query(`UPDATE credit_grants SET expires_at = now() WHERE owner_id = $1`, [user]);
    expect(await granted()).toBe(4);
    await expectTaken(await grant(user, 6), 10);
    await expectRefused(await makeUser({ credits: 1 }), 10);
    await expectTaken(await fleet.admin().delete(`/v1/users/${user}`), 0);
  });

  test('clock set back: grants that had expired count again', async () => {
    await set({ totalObjects: 20 });
    const user = await userOf({ credits: 4 });
    await expectTaken(await grant(user, 10, 0, { expiresAt: '2999-01-01T00:00:00Z' }), 14);
    // As a change would have left it when the clock was ahead.
    await fleet.query(`UPDATE platform_settings SET credits = credits - 10, credits_at = '3000-01-01'`);
    await expectRefused(await grant(user, 7), 14);
    await expectTaken(await grant(user, 6), 20);
    expect(await fleet.query('SELECT credits::int FROM platform_settings')).toEqual([{ credits: 20 }]);
    // Other settings can be changed while the sum is above the bound.
    await fleet.query(`UPDATE platform_quotas SET limits = with_limit(limits, 1, 10) WHERE meter = 'objects'`);
    await expectTaken(await fleet.admin().patch('/v1/platform', { registration: 'open' }), 20);
  });

  test('PATCH /v1/platform: 409 when the bound would be below the sum, or over-provisioning ends above it', async () => {
    const user = await userOf({ credits: 15 });
    const change = (changes: object): Promise<Answer> => fleet.admin().patch('/v1/platform', changes);
    const expectHeld = async (changes: object): Promise<void> => {
      const before = await settings();
      await expectRefused(await change(changes), 15);
      expect(await settings()).toEqual(before);
    };
    await expectHeld({ totalObjects: 14 });
    await expectHeld({ totalObjects: 14, registration: 'closed' });
    await expectTaken(await change({ totalObjects: 15 }), 15);
    await expectHeld({ totalObjects: 14 });
    await expectHeld({ totalObjects: 0 });
    await expectTaken(await change({ totalObjects: 14, creditOverprovisioning: true }), 15);
    await expectHeld({ creditOverprovisioning: false });
    await expectTaken(await change({ totalObjects: 5 }), 15);
    await expectTaken(await patch(user, { credits: 40 }), 40);
    await expectTaken(await makeUser({ credits: 40 }), 80);
    await expectTaken(await change({ totalObjects: null, creditOverprovisioning: false }), 80);
    await expectTaken(await makeUser({ credits: 20 }), 100);
    expectProblem(await change({ totalObjects: 99 }), 409, 'credits_overprovisioned');
    await expectTaken(await change({ totalObjects: 100 }), 100);
  });

  test('may always be lowered, even when it exceeds the bound', async () => {
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 30 }]);
    const [user, member] = [await userOf({ credits: 30 }), await userOf({ plan })];
    await set({ totalObjects: 100 });
    // The API never lowers the bound below the sum, so the test does it in SQL.
    await fleet.query(`UPDATE platform_quotas SET limits = with_limit(limits, 1, 10) WHERE meter = 'objects'`);
    await expectTaken(await patch(user, { credits: 29 }), 59);
    await expectTaken(await patch(user, { credits: 29, lastName: 'Byron' }), 59);
    await expectTaken(await patchPlan(plan, tasksOf(25)), 54);
    await expectTaken(await putQuota(member, 20), 49);
    await expectRefused(await putQuota(member, 21), 49);
    await expectRefused(await makeUser({ credits: 1 }), 49);
    await expectTaken(await makeUser({}), 49);
    await expectTaken(await patch(user, { credits: null }), 20);
    await expectTaken(
      await unsetQuota(member).then((answer) => (expect(answer.status).toBe(409), putQuota(member, 5))),
      5,
    );
  });
});

describe('sum of credits, with over-provisioning', () => {
  test('may exceed the bound, which then applies when tasks are created', async () => {
    await set({ totalObjects: 6, creditOverprovisioning: true });
    const [one, two] = [await userOf({ credits: 10 }), await userOf({ credits: 10 })];
    await expectTaken(await grant(one, 10), 30);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => fleet.admin(i).post('/v1/tasks', { owner: i % 4 < 2 ? one : two })),
    );
    expect(tally(answers.map(({ status }) => String(status)))).toEqual({ 201: 3, 403: 17 });
    const refused = answers.find(({ status }) => status === 403)!;
    expectProblem(refused, 403, 'quota_exceeded');
    expect(refused.body.violated).toMatchObject([{ scope: 'platform', meter: 'objects', limit: 6, used: 6 }]);
    await deleteUsers(fleet);
  });
});

describe('concurrent changes that together exceed the bound', () => {
  /** For each pair: the two changes, sent to different processes, and the statement that undoes both. */
  const pairs: Record<string, () => Promise<{ work: (() => Promise<Answer>)[]; undo: () => Promise<unknown> }>> = {
    'PATCH and PATCH of credits': async () => {
      const [one, two] = [await userOf({ credits: 0 }), await userOf({ credits: 0 })];
      return {
        work: [() => patch(one, { credits: 6 }, 0), () => patch(two, { credits: 6 }, 1)],
        undo: () => Promise.all([patch(one, { credits: 0 }), patch(two, { credits: 0 }, 1)]),
      };
    },
    'PUT of a quota and PATCH of a plan': async () => {
      const plan = await fleet.makePlan([]);
      const [one] = [await userOf({ credits: 0 }), await userOf({ plan }), await userOf({ plan })];
      return {
        work: [() => putQuota(one, 6, 0), () => patchPlan(plan, tasksOf(3), 1)],
        undo: () => Promise.all([putQuota(one, 0), patchPlan(plan, { limits: [] }, 1)]),
      };
    },
    'a grant and the choice of a plan': async () => {
      const plan = await fleet.makePlan([{ meter: 'tasks', limit: 6 }]);
      const [one, two] = [await userOf({ credits: 0 }), await userOf({})];
      return {
        work: [() => grant(one, 6, 0), () => patch(two, { plan }, 1)],
        undo: async () => {
          await patch(two, { plan: null }, 1);
          await fleet.query('UPDATE credit_grants SET expires_at = now() WHERE owner_id = $1 AND expires_at IS NULL', [
            one,
          ]);
        },
      };
    },
    'PATCH of credits and of the platform': async () => {
      const [one] = [await userOf({ credits: 0 }), await userOf({ credits: 4 })];
      return {
        work: [() => patch(one, { credits: 6 }, 0), () => fleet.admin(1).patch('/v1/platform', { totalObjects: 9 })],
        undo: async () => {
          await patch(one, { credits: 0 });
          await set({ totalObjects: 10 });
        },
      };
    },
  };

  test.each(Object.keys(pairs))('exactly one succeeds: %s', async (name) => {
    await set({ totalObjects: 10 });
    const { work, undo } = await pairs[name]!();
    for (let round = 0; round < ROUNDS; round++) {
      const [first, second] = await Promise.all(
        round % 2 ? work.map((each) => each()) : work.toReversed().map((each) => each()),
      );
      const statuses = [first!, second!].map(({ status, body }) => (status < 300 ? 'done' : `${status} ${body.code}`));
      expect(statuses.sort()).toEqual(['409 credits_overprovisioned', 'done']);
      const { totalObjects } = await settings();
      expect(await granted()).toBeLessThanOrEqual(totalObjects);
      await undo();
    }
    await expectSound(fleet);
  });

  test('wait for a first bound that is being set, and do not deadlock with each other', async () => {
    const users = await Promise.all([1, 2, 3].map(() => userOf({ credits: 0 })));
    const before = await deadlocksIn(fleet);
    const client = new pg.Client({ connectionString: fleet.url });
    await client.connect();
    try {
      // Setting the first bound counts all objects under a lock that waits for running charges.
      await client.query('BEGIN');
      await client.query('LOCK TABLE gauges IN ROW SHARE MODE');
      const bound = set({ totalObjects: 10 });
      bound.catch(() => undefined);
      await until(async () => (await waitingIn(fleet)) >= 1, bound);
      const changes = users.map((user, i) => patch(user, { credits: 4 }, i));
      await until(async () => (await waitingIn(fleet)) >= 1 + users.length, bound);
      await client.query('COMMIT');
      await bound;
      const answers = await Promise.all(changes);
      expect(tally(answers.map(({ status }) => String(status)))).toEqual({ 200: 2, 409: 1 });
    } finally {
      await client.end();
    }
    expect(await granted()).toBe(8);
    expect((await deadlocksIn(fleet)) - before).toBe(0);
  });

  test('of every kind while the bound is set and removed: the sum never exceeds a bound that is set', async () => {
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 1 }]);
    const users = [await userOf({}), await userOf({ plan }), await userOf({ plan }), await userOf({ credits: 0 })];
    const state = { changing: true };
    const kinds: ((user: string, i: number, turn: number) => Promise<Answer>)[] = [
      (user, i, turn) => patch(user, { credits: i % 7 }, turn),
      (user, i, turn) => putQuota(user, i % 5, turn),
      (user, _i, turn) => unsetQuota(user, turn),
      (user, i, turn) => patch(user, { plan: i % 2 ? plan : null }, turn),
      (_user, i, turn) => patchPlan(plan, tasksOf(i % 4), turn),
    ];
    const codes: string[] = [];
    const lanes = kinds.map(async (work, lane) => {
      for (let i = 0; state.changing; i++) {
        const { status, body } = await work(users[(i + lane) % users.length]!, i * 3 + lane, i + lane);
        codes.push(`${status} ${body.code ?? ''}`.trim());
      }
    });
    const changing = Promise.all(lanes);
    const bounds: string[] = [];
    try {
      for (let i = 0; i < BOUNDS; i++) {
        const { status, body } = await fleet.admin(i).patch('/v1/platform', { totalObjects: i % 3 ? 12 : null });
        bounds.push(`${status} ${body.code ?? ''}`.trim());
        // Every bound stays until some changes have run under it.
        const before = codes.length;
        await until(async () => {
          // Both values come from one snapshot.
          const [{ sum, bound }] = await fleet.query(
            `SELECT all_credits(now())::int AS sum, (SELECT limits[1]::int FROM platform_quotas WHERE meter = 'objects') AS bound`,
          );
          expect(sum).toBeLessThanOrEqual(bound ?? Infinity);
          return codes.length >= before + kinds.length;
        }, changing);
      }
    } finally {
      state.changing = false;
    }
    await changing;
    const strange = (code: string): boolean => !['200', '204', '409 credits_overprovisioned'].includes(code);
    expect([...codes, ...bounds].filter(strange)).toEqual([]);
    await expectSound(fleet);
  });
});
