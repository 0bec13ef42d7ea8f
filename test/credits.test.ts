import { expectProblem, sharedApi, uniqueName, type Account, type Answer, type Api } from './support/api.js';
import { tally } from './support/fleet.js';
import { platformMetrics } from './support/metrics.js';
import { query } from './support/server.js';
import { until } from './support/until.js';

const api = sharedApi();
const DATABASE = process.env.TEST_SERVER_DATABASE ?? '';

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

const sql = (text: string, values: unknown[]): Promise<any[]> => query(DATABASE, text, values);

const grant = (user: Account, body: object): Promise<Answer> => admin.post(`/v1/users/${user.id}/credits`, body);

async function granted(user: Account, amount: number, fields: object = {}): Promise<any> {
  const answer = await grant(user, { amount, ...fields });
  expect({ status: answer.status, amount: answer.body.amount }).toEqual({ status: 201, amount });
  return answer.body;
}

/** Expires grants of a user now. Without ids: all of them. */
const expire = (user: Account, ids: string[] | null = null): Promise<any[]> =>
  sql(
    `UPDATE credit_grants SET expires_at = now() - interval '1 ms' WHERE owner_id = $1 AND ($2::uuid[] IS NULL OR id = ANY($2))`,
    [user.id, ids],
  );

/** Creates tasks concurrently and counts the statuses. */
async function many(user: Account, count: number): Promise<Record<string, number>> {
  const answers = await Promise.all(Array.from({ length: count }, () => api.as(user).post('/v1/tasks')));
  return tally(answers.map(({ status }) => String(status)));
}

/** Returns a user's credits. Checks that quotas and metrics show the same. */
async function creditsOf(user: Account): Promise<{ credits: number | null; remaining: number | null; used: number }> {
  const [quotas, metrics] = await Promise.all([
    api.as(user).get('/v1/users/me/quotas'),
    api.as(user).get('/v1/metrics/users/me'),
  ]);
  const { limit, remaining, used } = quotas.body.data.find(({ meter }: { meter: string }) => meter === 'tasks');
  const { credits, remainingCredits, tasks } = metrics.body;
  expect({ credits, remaining: remainingCredits, used: tasks.total }).toEqual({ credits: limit, remaining, used });
  return { credits: limit, remaining, used };
}

/** Waits for an expiry. Reads one response only, because of two one can be from before the expiry. */
const untilCreditsAre = (user: Account, credits: number): Promise<void> =>
  until(async () => (await admin.get(`/v1/metrics/users/${user.id}`)).body.credits === credits);

const listed = async (user: Account): Promise<any[]> => (await api.as(user).get('/v1/users/me/credits')).body.data;

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

describe('Credit grants', () => {
  test('POST /v1/users/{user}/credits: 201 with amount, reason and expiry, and the credits increase', async () => {
    const user = await api.createUser({ credits: 1 });
    const made = await grant(user, { amount: 2, reason: 'Thanks ✓', expiresAt: '2999-01-31T12:00:00+02:00' });
    expect(made.status).toBe(201);
    expect(made.body).toEqual({
      ...{ id: expect.any(String), amount: 2, reason: 'Thanks ✓', expiresAt: '2999-01-31T10:00:00.000Z' },
      createdAt: expect.any(String),
    });
    expect(await listed(user)).toEqual([made.body]);
    expect(await creditsOf(user)).toEqual({ credits: 3, remaining: 3, used: 0 });
    // The credits that are set on the user stay the same.
    expect((await api.as(user).get('/v1/users/me')).body.credits).toBe(1);
    expect(await many(user, 6)).toEqual({ 201: 3, 402: 3 });
    const refused = await api.as(user).post('/v1/tasks');
    expectProblem(refused, 402, 'credits_exhausted');
    expect(refused.body.violated).toMatchObject([{ scope: 'user', meter: 'tasks', limit: 3, used: 3, remaining: 0 }]);
    await granted(user, 1);
    expect(await many(user, 6)).toEqual({ 201: 1, 402: 5 });
    expect(await creditsOf(user)).toEqual({ credits: 4, remaining: 0, used: 4 });
  });

  test('POST with an amount only: 201', async () => {
    const user = await api.createUser({ credits: 0 });
    for (const fields of [{}, { reason: null, expiresAt: null }]) {
      expect(await granted(user, 5, fields)).toMatchObject({ amount: 5, reason: null, expiresAt: null });
    }
    expect(await creditsOf(user)).toMatchObject({ credits: 10 });
  });

  test('grant on top of plan or own credits: kept when these change', async () => {
    const plan = await api.createPlan([{ meter: 'tasks', limit: 2 }]);
    const user = await api.createUser({ plan });
    const path = `/v1/users/${user.id}`;
    await granted(user, 3);
    expect(await creditsOf(user)).toMatchObject({ credits: 5 });
    await admin.patch(path, { credits: 1 });
    expect(await creditsOf(user)).toMatchObject({ credits: 4 });
    await admin.patch(path, { credits: 0 });
    expect(await creditsOf(user)).toMatchObject({ credits: 3 });
    await admin.delete(`${path}/quotas/tasks`);
    await admin.patch(`/v1/plans/${plan}`, { limits: [{ meter: 'tasks', limit: 4 }] });
    expect(await creditsOf(user)).toMatchObject({ credits: 7 });
    expect((await admin.put(`${path}/quotas/tasks`, { limit: 6 })).body).toMatchObject({ limit: 9, remaining: 9 });
    expect(await many(user, 12)).toEqual({ 201: 9, 402: 3 });
  });

  test('grant to a user with unlimited credits: no effect until the credits are limited', async () => {
    const user = await api.createUser();
    await granted(user, 2);
    expect(await creditsOf(user)).toEqual({ credits: null, remaining: null, used: 0 });
    expect(await many(user, 4)).toEqual({ 201: 4 });
    await admin.patch(`/v1/users/${user.id}`, { credits: 3 });
    expect(await creditsOf(user)).toEqual({ credits: 5, remaining: 1, used: 4 });
    expect(await many(user, 4)).toEqual({ 201: 1, 402: 3 });
    await admin.patch(`/v1/users/${user.id}`, { credits: null });
    expect(await creditsOf(user)).toEqual({ credits: null, remaining: null, used: 5 });
    expect(await many(user, 4)).toEqual({ 201: 4 });
  });

  test('GET /v1/users/{user}/credits as the user or an administrator: pages, newest first', async () => {
    const user = await api.createUser({ credits: 0 });
    const made: any[] = [];
    for (let amount = 1; amount <= 7; amount++) made.unshift(await granted(user, amount));
    await expire(user, [made[3].id]);
    const path = `/v1/users/${user.id}/credits`;
    const seen: any[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await api.as(user).get(`${path}?limit=3${cursor && `&cursor=${cursor}`}`);
      expect(body.data.length).toBeLessThanOrEqual(3);
      seen.push(...body.data);
      cursor = body.nextCursor;
    }
    // The list includes expired grants.
    made[3].expiresAt = seen[3].expiresAt;
    expect(Date.parse(seen[3].expiresAt)).toBeLessThan(Date.now());
    expect(seen).toEqual(made);
    for (const name of [user.id, user.username]) {
      expect((await admin.get(`/v1/users/${name}/credits`)).body.data).toEqual(seen);
    }
    const { nextCursor } = (await api.as(user).get(`${path}?limit=3`)).body;
    const other = await api.createUser();
    expectField(await api.as(other).get(`/v1/users/me/credits?cursor=${nextCursor}`), '/cursor');
    expect(await listed(other)).toEqual([]);
  });

  test('GET as another user, and POST as any user: 403', async () => {
    const [user, stranger] = await Promise.all([api.createUser({ credits: 0 }), api.createUser()]);
    const path = `/v1/users/${user.id}/credits`;
    expectProblem(await api.get(path), 401, 'unauthenticated');
    expectProblem(await api.post(path, { amount: 1 }), 401, 'unauthenticated');
    for (const name of [user.id, user.username, crypto.randomUUID(), 'nosuchuser']) {
      expectProblem(await api.as(stranger).get(`/v1/users/${name}/credits`), 403, 'forbidden');
      expectProblem(await api.as(stranger).post(`/v1/users/${name}/credits`, { amount: 1 }), 403, 'forbidden');
    }
    expectProblem(await api.as(user).post(path, { amount: 1 }), 403, 'forbidden');
    expectProblem(await api.as(user).post('/v1/users/me/credits', { amount: 1 }), 403, 'forbidden');
    expectProblem(await admin.post('/v1/users/nosuchuser/credits', { amount: 1 }), 404, 'not_found');
    expect(await listed(user)).toEqual([]);
    expect(await creditsOf(user)).toMatchObject({ credits: 0 });
  });

  test.each([
    ['amount', 0],
    ['amount', -1],
    ['amount', 0.5],
    ['amount', 2 ** 53],
    ['amount', 1e300],
    ['amount', '5'],
    ['amount', null],
    ['amount', undefined],
    ['reason', ''],
    ['reason', 'x'.repeat(501)],
    ['reason', 'a\u0000'],
    ['reason', 7],
    ['expiresAt', '2020-01-01T00:00:00Z'],
    ['expiresAt', '2999-01-01'],
    ['expiresAt', '2999-01-01T00:00:00'],
    ['expiresAt', '2999-02-30T00:00:00Z'],
    ['expiresAt', '9999-12-31T23:59:59-01:00'],
    ['expiresAt', 'tomorrow'],
    ['expiresAt', 32_503_680_000_000],
    ['owner', 'admin'],
  ])('POST with an invalid %s, %p: 400, and no grant', async (field, value) => {
    const user = await api.createUser({ credits: 1 });
    expectField(await grant(user, { amount: 1, [field]: value }), `/${field}`);
    expect(await listed(user)).toEqual([]);
    expect(await creditsOf(user)).toMatchObject({ credits: 1 });
  });

  test('POST with expiresAt in the past: 400; one minute from now: 201', async () => {
    const user = await api.createUser({ credits: 0 });
    expectField(await grant(user, { amount: 1, expiresAt: new Date(Date.now() - 1).toISOString() }), '/expiresAt');
    expect((await grant(user, { amount: 1, expiresAt: new Date(Date.now() + 60_000).toISOString() })).status).toBe(201);
  });

  test('grants above the largest safe integer: the user sees that integer', async () => {
    const user = await api.createUser({ credits: Number.MAX_SAFE_INTEGER });
    await granted(user, Number.MAX_SAFE_INTEGER);
    await granted(user, Number.MAX_SAFE_INTEGER);
    const { body } = await api.as(user).get('/v1/users/me/quotas');
    expect(body.data).toContainEqual(expect.objectContaining({ meter: 'tasks', limit: Number.MAX_SAFE_INTEGER }));
    expect((await api.as(user).get('/v1/metrics/users/me')).body.credits).toBe(Number.MAX_SAFE_INTEGER);
    expect(await many(user, 2)).toEqual({ 201: 2 });
    const { granted: sum } = (await platformMetrics(admin)).credits;
    expect(sum).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
    expect((await admin.delete(`/v1/users/${user.id}`)).status).toBe(204);
  });

  test('DELETE of the user: grants are deleted', async () => {
    const user = await api.createUser({ credits: 1 });
    await granted(user, 2);
    expect((await admin.delete(`/v1/users/${user.id}`)).status).toBe(204);
    expectProblem(await admin.get(`/v1/users/${user.id}/credits`), 404, 'not_found');
    expectProblem(await grant(user, { amount: 1 }), 404, 'not_found');
    expect(await sql('SELECT FROM credit_grants WHERE owner_id = $1', [user.id])).toEqual([]);
  });

  test('20 concurrent POST with one Idempotency-Key: one grant', async () => {
    const user = await api.createUser({ credits: 0 });
    const init = { headers: { 'idempotency-key': uniqueName() } };
    const send = (): Promise<Answer> => admin.post(`/v1/users/${user.id}/credits`, { amount: 3 }, init);
    const answers = await Promise.all(Array.from({ length: 20 }, send));
    for (const { status } of answers) expect([201, 409]).toContain(status);
    expect((await send()).headers.get('idempotency-replayed')).toBe('true');
    expect(await listed(user)).toHaveLength(1);
    expect(await creditsOf(user)).toMatchObject({ credits: 3 });
  });
});

describe('Expired grant', () => {
  test('POST /v1/tasks after the expiry: 402 until usage is below the credits, and no task is deleted', async () => {
    const user = await api.createUser({ credits: 1 });
    const later = { expiresAt: new Date(Date.now() + 3_600_000).toISOString() };
    const { id: due } = await granted(user, 3, later);
    await granted(user, 1, later);
    expect(await many(user, 4)).toEqual({ 201: 4 });
    await sql(`UPDATE credit_grants SET expires_at = now() + interval '500 ms' WHERE id = $1`, [due]);
    await untilCreditsAre(user, 2);
    expect(await creditsOf(user)).toEqual({ credits: 2, remaining: 0, used: 4 });
    expect(await many(user, 3)).toEqual({ 402: 3 });
    const { data } = (await api.as(user).get('/v1/tasks')).body;
    expect(data).toHaveLength(4);
    for (const { id } of data.slice(0, 3)) expect((await api.as(user).delete(`/v1/tasks/${id}`)).status).toBe(204);
    expect(await many(user, 3)).toEqual({ 201: 1, 402: 2 });
    expect(await creditsOf(user)).toEqual({ credits: 2, remaining: 0, used: 2 });
    expect(await listed(user)).toHaveLength(2);
  });

  test('only the other grants count', async () => {
    const user = await api.createUser({ credits: 0 });
    const grants = [await granted(user, 1), await granted(user, 2), await granted(user, 4)];
    await expire(user, [grants[1].id]);
    expect(await creditsOf(user)).toEqual({ credits: 5, remaining: 5, used: 0 });
    expect(await many(user, 8)).toEqual({ 201: 5, 402: 3 });
    await expire(user);
    expect(await creditsOf(user)).toEqual({ credits: 0, remaining: 0, used: 5 });
    await granted(user, 6);
    expect(await creditsOf(user)).toEqual({ credits: 6, remaining: 1, used: 5 });
    expect(await many(user, 3)).toEqual({ 201: 1, 402: 2 });
  });

  test('concurrent grants, expiries and changes of credits: correct credits', async () => {
    const user = await api.createUser({ credits: 5 });
    const later = { expiresAt: new Date(Date.now() + 3_600_000).toISOString() };
    const kinds: (() => Promise<unknown>)[] = [
      async () => expire(user, [(await granted(user, 10, later)).id]),
      () => admin.patch(`/v1/users/${user.id}`, { credits: 5 }),
    ];
    await Promise.all(Array.from({ length: 8 }, (_, i) => kinds[i % 2]!()));
    expect(await listed(user)).toHaveLength(4);
    expect(await creditsOf(user)).toEqual({ credits: 5, remaining: 5, used: 0 });
  });
});

describe('Credits and grants under concurrency', () => {
  test('200 concurrent POST /v1/tasks with 20 credits and 15 granted ones: 35 succeed', async () => {
    const user = await api.createUser({ credits: 20 });
    await granted(user, 10);
    await granted(user, 5, { expiresAt: '2999-01-01T00:00:00Z' });
    await granted(user, 15);
    const { id } = (await listed(user))[0];
    await expire(user, [id]);
    expect(await many(user, 200)).toEqual({ 201: 35, 402: 165 });
    expect(await creditsOf(user)).toEqual({ credits: 35, remaining: 0, used: 35 });
  });

  test('POST /v1/tasks while grants are made: as many tasks as credits in the end', async () => {
    const user = await api.createUser({ credits: 5 });
    const state = { granting: true };
    let [made, asked] = [0, 0];
    const lanes = Array.from({ length: 6 }, async () => {
      for (let last = false; !last;) {
        // Continues after the last grant until no credit is left.
        const wasOver = !state.granting;
        const { status } = await api.as(user).post('/v1/tasks');
        expect([201, 402]).toContain(status);
        asked++;
        if (status === 201) made++;
        last = wasOver && status === 402;
      }
    });
    const making = Promise.all(lanes);
    try {
      for (let i = 0; i < 10; i++) {
        await granted(user, 3);
        const before = asked;
        await until(() => asked >= before + 6, making);
      }
    } finally {
      state.granting = false;
    }
    await making;
    expect(made).toBe(35);
    expect(await creditsOf(user)).toEqual({ credits: 35, remaining: 0, used: 35 });
  });
});
