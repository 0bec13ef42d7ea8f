import { randomUUID } from 'node:crypto';
import { expectProblem, sharedApi, uniqueName, type Account, type Answer, type Api } from './support/api.js';
import { tally } from './support/fleet.js';

const api = sharedApi();

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

const TASK = {
  id: expect.any(String),
  owner: expect.any(String),
  title: null,
  completed: false,
  createdAt: expect.any(String),
  updatedAt: expect.any(String),
};

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

const create = (user: Account, body?: object): Promise<Answer> => api.as(user).post('/v1/tasks', body);

const statuses = async (answers: Promise<Answer>[]): Promise<Record<string, number>> =>
  tally((await Promise.all(answers)).map(({ status }) => String(status)));

const many = (user: Account, count: number): Promise<Record<string, number>> =>
  statuses(Array.from({ length: count }, () => create(user)));

/** Returns the `tasks` quota of a user. */
async function quotaOf(user: Account): Promise<any> {
  const { body } = await api.as(user).get('/v1/users/me/quotas');
  return body.data.find(({ meter }: { meter: string }) => meter === 'tasks');
}

/** Returns all tasks of a list, newest first. */
async function listAll(as: Api, query = '', limit = 100): Promise<any[]> {
  const seen: any[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const { status, body } = await as.get(`/v1/tasks?limit=${limit}${query}${cursor && `&cursor=${cursor}`}`);
    expect(status).toBe(200);
    seen.push(...body.data);
    cursor = body.nextCursor;
  }
  return seen;
}

/** Checks that metrics, quota and list of a user report the same number of tasks. */
async function expectTasks(user: Account, total: number, credits: number | null): Promise<void> {
  const remaining = credits === null ? null : Math.max(0, credits - total);
  expect(await quotaOf(user)).toMatchObject({ used: total, limit: credits, remaining });
  const metrics = (await api.as(user).get('/v1/metrics/users/me')).body;
  expect(metrics).toMatchObject({ tasks: { total }, credits, remainingCredits: remaining });
  expect(await listAll(api.as(user))).toHaveLength(total);
}

describe('/v1/tasks', () => {
  test('owner creates, reads, lists, changes and deletes a task', async () => {
    const user = await api.createUser();
    const me = api.as(user);
    const made = await create(user, { title: 'Count the blankets ✓' });
    expect(made.status).toBe(201);
    expect(made.body).toEqual({ ...TASK, owner: user.id, title: 'Count the blankets ✓' });
    expect(made.body.updatedAt).toBe(made.body.createdAt);
    const path = `/v1/tasks/${made.body.id}`;
    expect((await me.get(path)).body).toEqual(made.body);
    expect((await me.get('/v1/tasks')).body).toEqual({ data: [made.body], nextCursor: null });

    const completed = await me.patch(path, { completed: true });
    expect(completed.status).toBe(200);
    expect(completed.body).toEqual({ ...made.body, completed: true, updatedAt: expect.any(String) });
    expect(Date.parse(completed.body.updatedAt)).toBeGreaterThanOrEqual(Date.parse(made.body.createdAt));
    expect((await me.get(path)).body).toEqual(completed.body);
    expect((await me.patch(path, {})).body).toEqual(completed.body);
    expect((await me.patch(path, { title: null })).body).toMatchObject({ title: null, completed: true });
    expect((await me.patch(path, { title: 'x', completed: false })).body).toMatchObject({
      ...{ title: 'x', completed: false, createdAt: made.body.createdAt, owner: user.id },
    });

    expect((await me.delete(path)).status).toBe(204);
    for (const answer of [await me.get(path), await me.patch(path, { title: 'y' }), await me.delete(path)]) {
      expectProblem(answer, 404, 'not_found');
    }
    await expectTasks(user, 0, null);
  });

  test('POST: every field is optional', async () => {
    const user = await api.createUser();
    for (const body of [undefined, {}, { title: null }, { completed: false }]) {
      const { status, body: task } = await create(user, body);
      expect({ status, task }).toEqual({ status: 201, task: { ...TASK, owner: user.id } });
    }
    expect((await create(user, { completed: true })).body.completed).toBe(true);
    const title = 'x'.repeat(256);
    expect((await create(user, { title })).body.title).toBe(title);
  });

  test('GET, PATCH, DELETE by a stranger: the same 404 as for an unknown id, and nothing changes', async () => {
    const [owner, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    const { body: task } = await create(owner, { title: 'mine' });
    const bare = ({ body }: Answer): object => ({ ...body, instance: '', requestId: '' });
    for (const [method, body] of [['GET'], ['PATCH', { completed: true }], ['PATCH', {}], ['DELETE']] as const) {
      const foreign = await api.as(stranger).send(method, `/v1/tasks/${task.id}`, body);
      const missing = await api.as(stranger).send(method, `/v1/tasks/${randomUUID()}`, body);
      expectProblem(foreign, 404, 'not_found');
      expect(bare(foreign)).toEqual(bare(missing));
      expectProblem(await api.send(method, `/v1/tasks/${task.id}`, body), 401, 'unauthenticated');
    }
    expect((await api.as(owner).get(`/v1/tasks/${task.id}`)).body).toEqual(task);
    expect(await listAll(api.as(stranger))).toEqual([]);
  });

  test.each([
    ['title', ''],
    ['title', 'x'.repeat(257)],
    ['title', 'a\u0000'],
    ['title', '\ud800'],
    ['title', 7],
    ['completed', null],
    ['completed', 'true'],
    ['completed', 1],
    ['owner', ''],
    ['owner', null],
    ['id', randomUUID()],
    ['createdAt', '2026-01-01T00:00:00Z'],
  ])('POST, PATCH: 400 for %s %p', async (field, value) => {
    const user = await api.createUser();
    expectField(await create(user, { [field]: value }), `/${field}`);
    expect(await listAll(api.as(user))).toEqual([]);
    const { body: task } = await create(user);
    expectField(await api.as(user).patch(`/v1/tasks/${task.id}`, { [field]: value }), `/${field}`);
    expect((await api.as(user).get(`/v1/tasks/${task.id}`)).body).toEqual(task);
  });

  test('PATCH of the owner: 400, even for administrators', async () => {
    const user = await api.createUser();
    const { body: task } = await create(user);
    expectField(await admin.patch(`/v1/tasks/${task.id}`, { owner: 'admin' }), '/owner');
    expect((await admin.get(`/v1/tasks/${task.id}`)).body).toEqual(task);
  });

  test('administrator creates, reads, changes and deletes tasks of others', async () => {
    const user = await api.createUser({ credits: 2 });
    for (const owner of [user.id, user.username]) {
      const made = await admin.post('/v1/tasks', { title: 'for you', owner });
      expect({ status: made.status, owner: made.body.owner }).toEqual({ status: 201, owner: user.id });
    }
    // Charged to the credits of the owner, not of the administrator.
    expectProblem(await admin.post('/v1/tasks', { owner: user.id }), 402, 'credits_exhausted');
    const [newest, oldest] = await listAll(api.as(user));
    expect((await admin.patch(`/v1/tasks/${newest.id}`, { completed: true })).body).toMatchObject({
      ...{ id: newest.id, owner: user.id, completed: true },
    });
    expect((await admin.get(`/v1/tasks/${oldest.id}`)).body).toEqual(oldest);
    expect((await admin.delete(`/v1/tasks/${newest.id}`)).status).toBe(204);
    await expectTasks(user, 1, 2);
    expectProblem(await admin.post('/v1/tasks', { owner: 'nosuchuser' }), 404, 'not_found');
    expectProblem(await admin.post('/v1/tasks', { owner: randomUUID() }), 404, 'not_found');
    expectProblem(await api.as(user).post('/v1/tasks', { owner: 'admin' }), 403, 'forbidden');
    expect((await api.as(user).post('/v1/tasks', { owner: 'me' })).status).toBe(201);
  });

  test('POST by an administrator: 402 when its own credits are used up', async () => {
    const boss = await api.createUser({ role: 'admin', credits: 1 });
    expect(await many(boss, 5)).toEqual({ 201: 1, 402: 4 });
  });
});

describe('GET /v1/tasks', () => {
  test('newest first, in pages, filtered by `completed`', async () => {
    const user = await api.createUser();
    const me = api.as(user);
    const made: any[] = [];
    for (let i = 0; i < 11; i++) {
      made.unshift((await create(user, { title: String(i), completed: i % 3 === 0 })).body);
    }
    const byState = (completed: boolean): any[] => made.filter((task) => task.completed === completed);
    for (const limit of [1, 2, 3, 11, 100]) {
      expect(await listAll(me, '', limit)).toEqual(made);
      expect(await listAll(me, '&completed=true', limit)).toEqual(byState(true));
      expect(await listAll(me, '&completed=false', limit)).toEqual(byState(false));
      expect(await listAll(admin, `&owner=${user.username}&completed=true`, limit)).toEqual(byState(true));
    }
    const first = await me.get('/v1/tasks?limit=2&completed=true');
    const next = /^<([^>]+)>; rel="next"$/.exec(first.headers.get('link')!)![1]!;
    const { pathname, search } = new URL(next, api.url);
    expect((await me.get(pathname + search)).body.data).toEqual(byState(true).slice(2, 4));
    expect((await me.get('/v1/tasks?limit=11')).headers.get('link')).toBeNull();
  });

  test('cursor: continues at its position despite creations, deletions and changes', async () => {
    const user = await api.createUser();
    const me = api.as(user);
    const made: any[] = [];
    for (let i = 0; i < 6; i++) made.unshift((await create(user, { title: String(i) })).body);
    const { body: first } = await me.get('/v1/tasks?limit=2&completed=false');
    expect(first.data).toEqual(made.slice(0, 2));
    await create(user, { title: 'new' });
    await me.delete(`/v1/tasks/${made[1].id}`);
    await me.patch(`/v1/tasks/${made[2].id}`, { completed: true });
    const { body: second } = await me.get(`/v1/tasks?limit=100&completed=false&cursor=${first.nextCursor}`);
    expect(second).toEqual({ data: made.slice(3), nextCursor: null });
  });

  test('cursor of another list or filter: 400', async () => {
    const [user, other] = await Promise.all([api.createUser(), api.createUser()]);
    for (const each of [user, user, other, other]) await create(each, { completed: true });
    const { nextCursor } = (await api.as(user).get('/v1/tasks?limit=1')).body;
    expect((await api.as(user).get(`/v1/tasks?limit=1&cursor=${nextCursor}`)).status).toBe(200);
    expectField(await api.as(user).get(`/v1/tasks?completed=true&cursor=${nextCursor}`), '/cursor');
    expectField(await api.as(other).get(`/v1/tasks?cursor=${nextCursor}`), '/cursor');
    expectField(await admin.get(`/v1/tasks?owner=*&cursor=${nextCursor}`), '/cursor');
    expectField(await api.as(user).get(`/v1/resources?cursor=${nextCursor}`), '/cursor');
    expect((await admin.get(`/v1/tasks?owner=${user.id}&cursor=${nextCursor}`)).status).toBe(200);
  });

  test('`owner`: other users and * for administrators, 403 for users', async () => {
    const [one, other] = await Promise.all([api.createUser(), api.createUser()]);
    const mine = (await create(one, { title: 'one', completed: true })).body;
    const theirs = (await create(other, { title: 'other', completed: true })).body;
    expect((await admin.get(`/v1/tasks?owner=${one.username}`)).body.data).toEqual([mine]);
    const all = await listAll(admin, '&owner=*&completed=true');
    expect(all).toEqual(expect.arrayContaining([mine, theirs]));
    expect(all.every(({ completed }) => completed)).toBe(true);
    expect(all.map(({ id }) => id)).toEqual(
      all
        .map(({ id }) => id)
        .sort()
        .reverse(),
    );
    expectProblem(await api.as(one).get('/v1/tasks?owner=*'), 403, 'forbidden');
    expectProblem(await api.as(one).get(`/v1/tasks?owner=${other.id}`), 403, 'forbidden');
    expect((await api.as(one).get(`/v1/tasks?owner=${one.id}`)).body.data).toEqual([mine]);
    expectProblem(await admin.get('/v1/tasks?owner=nosuchuser'), 404, 'not_found');
  });

  test.each(['', 'yes', '1', '0', 'TRUE', 'null', 'true&completed=true', 'true,false', '%00'])(
    '400 for completed=%s',
    async (completed) => {
      expectField(await admin.get(`/v1/tasks?completed=${completed}`), '/completed');
    },
  );
});

describe('credits', () => {
  test('POST /v1/tasks: 500 concurrent requests create exactly 100; lowered credits delete nothing and allow no more', async () => {
    const user = await api.createUser({ credits: 100 });
    const answers = await Promise.all(Array.from({ length: 500 }, () => create(user)));
    expect(tally(answers.map(({ status }) => String(status)))).toEqual({ 201: 100, 402: 400 });
    const refused = answers.find(({ status }) => status === 402)!;
    expectProblem(refused, 402, 'credits_exhausted');
    const limit = { scope: 'user', meter: 'tasks', window: 'lifetime', limit: 100, used: 100, remaining: 0 };
    expect(refused.body).toMatchObject({
      violated: [{ ...limit, resetsAt: null }],
      limits: [{ ...limit, resetsAt: null }],
    });
    await expectTasks(user, 100, 100);

    const lowered = await admin.patch(`/v1/users/${user.id}`, { credits: 10 });
    expect({ status: lowered.status, credits: lowered.body.credits }).toEqual({ status: 200, credits: 10 });
    await expectTasks(user, 100, 10);
    expect(await many(user, 20)).toEqual({ 402: 20 });

    // Deleting 95 of 100 leaves five, so five more fit into ten credits.
    const tasks = await listAll(api.as(user));
    expect(await statuses(tasks.slice(0, 95).map(({ id }) => api.as(user).delete(`/v1/tasks/${id}`)))).toEqual({
      204: 95,
    });
    await expectTasks(user, 5, 10);
    expect(await many(user, 50)).toEqual({ 201: 5, 402: 45 });
    await expectTasks(user, 10, 10);
  });

  test('completed tasks keep their credit; deletion refunds it once', async () => {
    const user = await api.createUser({ credits: 2 });
    const me = api.as(user);
    const [one, two] = [(await create(user)).body, (await create(user, { completed: true })).body];
    expect((await me.patch(`/v1/tasks/${one.id}`, { completed: true })).status).toBe(200);
    expectProblem(await create(user), 402, 'credits_exhausted');
    await expectTasks(user, 2, 2);
    expect((await me.get('/v1/metrics/users/me')).body.tasks).toEqual({ total: 2, completed: 2 });
    const deleted = await statuses(Array.from({ length: 10 }, () => me.delete(`/v1/tasks/${two.id}`)));
    expect(deleted).toEqual({ 204: 1, 404: 9 });
    expect(await many(user, 10)).toEqual({ 201: 1, 402: 9 });
  });

  test('exact under concurrent creations, changes and deletions', async () => {
    const user = await api.createUser({ credits: 10 });
    const me = api.as(user);
    let most = 0;
    const lanes = Array.from({ length: 8 }, async (_, lane) => {
      for (let i = 0; i < 12; i++) {
        const made = await create(user, { completed: i % 2 === 0 });
        expect([201, 402]).toContain(made.status);
        if (made.status !== 201) continue;
        most = Math.max(most, (await quotaOf(user)).used);
        if ((lane + i) % 3 === 0) continue;
        expect((await me.patch(`/v1/tasks/${made.body.id}`, { completed: true })).status).toBe(200);
        expect((await me.delete(`/v1/tasks/${made.body.id}`)).status).toBe(204);
      }
    });
    await Promise.all(lanes);
    expect(most).toBeLessThanOrEqual(10);
    const left = await listAll(me);
    await expectTasks(user, left.length, 10);
  });

  test('null: unlimited; 0: no tasks', async () => {
    const user = await api.createUser({ credits: 0 });
    expect((await api.as(user).get('/v1/users/me')).body.credits).toBe(0);
    expect(await many(user, 5)).toEqual({ 402: 5 });
    expect((await admin.patch(`/v1/users/${user.id}`, { credits: null })).body.credits).toBeNull();
    expect(await many(user, 20)).toEqual({ 201: 20 });
    await expectTasks(user, 20, null);
    const free = await api.createUser({ credits: null });
    expect(await many(free, 5)).toEqual({ 201: 5 });
    const silent = await api.createUser();
    expect(await many(silent, 5)).toEqual({ 201: 5 });
  });

  test.each([-1, 0.5, 1e300, 2 ** 53, '5', true, [], {}])('400 for %p', async (credits) => {
    const username = uniqueName();
    const fields = { username, password: 'Unguessable-7', credits };
    expectField(await admin.post('/v1/users', fields), '/credits');
    expect((await admin.get(`/v1/users?query=${username}`)).body.data).toEqual([]);
    const user = await api.createUser({ credits: 3 });
    expectField(await admin.patch(`/v1/users/${user.id}`, { credits }), '/credits');
    expect((await admin.get(`/v1/users/${user.id}`)).body.credits).toBe(3);
  });

  test('the largest exact integer is accepted', async () => {
    const user = await api.createUser({ credits: Number.MAX_SAFE_INTEGER });
    expect((await create(user)).status).toBe(201);
    await expectTasks(user, 1, Number.MAX_SAFE_INTEGER);
  });

  test('set by administrators only; 403 for users', async () => {
    const user = await api.createUser({ credits: 1 });
    expectProblem(await api.as(user).patch('/v1/users/me', { credits: 5 }), 403, 'forbidden');
    expectProblem(await api.as(user).put('/v1/users/me/quotas/tasks', { limit: 5 }), 403, 'forbidden');
    const register = { username: uniqueName(), password: 'Unguessable-7', credits: 5 };
    expect((await api.post('/v1/auth/register', register)).status).toBeGreaterThanOrEqual(400);
    expect((await api.as(user).get('/v1/users/me')).body.credits).toBe(1);
  });

  test('equal the quota `tasks` of the user', async () => {
    const user = await api.createUser({ credits: 1 });
    const path = `/v1/users/${user.id}`;
    expect(await quotaOf(user)).toMatchObject({ limit: 1, scope: 'user' });
    expect((await admin.put(`${path}/quotas/tasks`, { limit: 3 })).body).toMatchObject({
      ...{ meter: 'tasks', window: 'lifetime', limit: 3, used: 0, remaining: 3, scope: 'user' },
    });
    expect((await admin.get(path)).body.credits).toBe(3);
    expect(await many(user, 5)).toEqual({ 201: 3, 402: 2 });
    await admin.patch(path, { credits: 4 });
    expect(await quotaOf(user)).toMatchObject({ limit: 4, used: 3, remaining: 1 });
    expect((await admin.put(`${path}/quotas/tasks`, { limit: null })).body.limit).toBeNull();
    expect((await admin.get(path)).body.credits).toBeNull();
    expect(await many(user, 5)).toEqual({ 201: 5 });
    await admin.patch(path, { credits: 0 });
    expect((await admin.delete(`${path}/quotas/tasks`)).status).toBe(204);
    expect((await admin.get(path)).body.credits).toBeNull();
    await expectTasks(user, 8, null);
  });

  test('default to the `tasks` limit of the plan', async () => {
    const plan = await api.createPlan([{ meter: 'tasks', limit: 2 }]);
    const user = await api.createUser({ plan });
    const path = `/v1/users/${user.id}`;
    expect(await quotaOf(user)).toMatchObject({ limit: 2, scope: 'plan' });
    const answers = await Promise.all(Array.from({ length: 10 }, () => create(user)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(2);
    const refused = answers.find(({ status }) => status !== 201)!;
    expectProblem(refused, 402, 'credits_exhausted');
    expect(refused.body.violated).toMatchObject([{ scope: 'plan', meter: 'tasks', limit: 2, used: 2 }]);

    // The user's own credits override those of the plan.
    await admin.patch(path, { credits: 3 });
    expect(await many(user, 5)).toEqual({ 201: 1, 402: 4 });
    await admin.patch(path, { credits: 1 });
    expectProblem(await create(user), 402, 'credits_exhausted');
    // null means unlimited and overrides the plan.
    await admin.patch(path, { credits: null });
    expect(await many(user, 2)).toEqual({ 201: 2 });
    // Without credits of its own, the user has the limit of the plan again.
    expect((await admin.delete(`${path}/quotas/tasks`)).status).toBe(204);
    await expectTasks(user, 5, 2);
    expect((await create(user)).body.violated).toMatchObject([{ scope: 'plan', limit: 2, used: 5 }]);
    await admin.patch(`/v1/plans/${plan}`, { limits: [{ meter: 'tasks', limit: 6 }] });
    expect(await many(user, 5)).toEqual({ 201: 1, 402: 4 });
    await admin.patch(path, { plan: null });
    expect(await many(user, 2)).toEqual({ 201: 2 });
  });

  test('independent for each user', async () => {
    const [one, other] = await Promise.all([api.createUser({ credits: 5 }), api.createUser({ credits: 3 })]);
    const both = await Promise.all([many(one, 20), many(other, 20)]);
    expect(both).toEqual([
      { 201: 5, 402: 15 },
      { 201: 3, 402: 17 },
    ]);
  });
});

describe('tasks of a deleted user', () => {
  test('404 after the deletion', async () => {
    const user = await api.createUser({ credits: 2 });
    const { body: task } = await create(user);
    expect((await admin.delete(`/v1/users/${user.id}`)).status).toBe(204);
    expectProblem(await admin.get(`/v1/tasks/${task.id}`), 404, 'not_found');
    expectProblem(await admin.patch(`/v1/tasks/${task.id}`, { completed: true }), 404, 'not_found');
    expectProblem(await admin.delete(`/v1/tasks/${task.id}`), 404, 'not_found');
    expectProblem(await admin.get(`/v1/tasks?owner=${user.id}`), 404, 'not_found');
    expectProblem(await admin.post('/v1/tasks', { owner: user.id }), 404, 'not_found');
    expectProblem(await create(user), 401, 'invalid_token');
  });

  test('POST /v1/tasks during the deletion: no task remains', async () => {
    const user = await api.createUser();
    const made = Array.from({ length: 40 }, () => admin.post('/v1/tasks', { owner: user.id }));
    const gone = admin.delete(`/v1/users/${user.id}`);
    const answers = await Promise.all(made);
    expect((await gone).status).toBe(204);
    for (const { status } of answers) expect([201, 404]).toContain(status);
    const tasks = answers.flatMap(({ status, body }) => (status === 201 ? [body.id] : []));
    for (const id of tasks.slice(0, 5)) expectProblem(await admin.get(`/v1/tasks/${id}`), 404, 'not_found');
  });
});

describe('POST /v1/tasks with an Idempotency-Key', () => {
  const withKey = (key: string) => ({ headers: { 'idempotency-key': key } });

  test('repeated: uses one credit', async () => {
    const user = await api.createUser({ credits: 2 });
    const me = api.as(user);
    const send = (title: string, key: string): Promise<Answer> => me.post('/v1/tasks', { title }, withKey(key));
    const first = await send('once', 'a');
    expect(first.status).toBe(201);
    for (let i = 0; i < 3; i++) {
      const again = await send('once', 'a');
      expect({ status: again.status, body: again.body }).toEqual({ status: 201, body: first.body });
      expect(again.headers.get('idempotency-replayed')).toBe('true');
    }
    expectProblem(await send('other', 'a'), 422, 'idempotency_key_reused');
    await expectTasks(user, 1, 2);
    expect((await send('twice', 'b')).status).toBe(201);
    // Rejections are not stored: with a new credit the same request succeeds.
    expectProblem(await send('thrice', 'c'), 402, 'credits_exhausted');
    await me.delete(`/v1/tasks/${first.body.id}`);
    expect((await send('thrice', 'c')).status).toBe(201);
    await expectTasks(user, 2, 2);
  });

  test('concurrent with other requests: stops exactly at the credits', async () => {
    const user = await api.createUser({ credits: 10 });
    const answers = await statuses(
      Array.from({ length: 60 }, (_, i) =>
        api.as(user).post('/v1/tasks', { title: String(i) }, i % 2 ? withKey(String(i)) : {}),
      ),
    );
    expect(answers).toEqual({ 201: 10, 402: 50 });
    await expectTasks(user, 10, 10);
  });
});
