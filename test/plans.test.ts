import { expectProblem, inOne, sharedApi, uniqueName, type Account, type Answer, type Api } from './support/api.js';

const api = sharedApi();

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

const put = (user: Account, meter: string, body: object): Promise<Answer> =>
  admin.put(`/v1/users/${user.id}/quotas/${meter}`, body);

/** Returns the quota that GET /v1/users/me/quotas lists for a meter and window. */
async function quotaOf(user: Account, meter: string, window = 'lifetime'): Promise<any> {
  const { body } = await api.as(user).get('/v1/users/me/quotas');
  return body.data.find((quota: any) => quota.meter === meter && quota.window === window);
}

describe('/v1/plans', () => {
  test('administrator creates, reads, changes and deletes a plan', async () => {
    const slug = uniqueName();
    const limits = [
      { meter: 'api:*', window: 'month', limit: 1_000 },
      { meter: 'api:api1', window: 'lifetime', limit: null },
      { meter: 'resources', window: 'lifetime', limit: 0 },
    ];
    const made = await admin.post('/v1/plans', { slug, name: 'Free ✓', limits });
    expect(made.status).toBe(201);
    const times = { createdAt: expect.any(String), updatedAt: expect.any(String) };
    expect(made.body).toEqual({ slug, name: 'Free ✓', limits, ...times });
    expect((await admin.get(`/v1/plans/${slug}`)).body).toEqual(made.body);
    expectProblem(await admin.post('/v1/plans', { slug, name: 'x' }), 409, 'slug_taken');

    const named = await admin.patch(`/v1/plans/${slug}`, { name: 'New' });
    expect(named.body).toEqual({ ...made.body, name: 'New', ...times });
    const fewer = [{ meter: 'api:api1', window: 'day', limit: 5 }];
    expect((await admin.patch(`/v1/plans/${slug}`, { limits: fewer })).body.limits).toEqual(fewer);
    expect((await admin.patch(`/v1/plans/${slug}`, {})).body).toMatchObject({ name: 'New', limits: fewer });
    expect((await admin.patch(`/v1/plans/${slug}`, { limits: [] })).body.limits).toEqual([]);

    expect((await admin.delete(`/v1/plans/${slug}`)).status).toBe(204);
    expectProblem(await admin.get(`/v1/plans/${slug}`), 404, 'not_found');
    expectProblem(await admin.delete(`/v1/plans/${slug}`), 404, 'not_found');
    expectProblem(await admin.patch(`/v1/plans/${slug}`, { name: 'x' }), 404, 'not_found');
  });

  test('POST: limits are optional, and their default window is lifetime', async () => {
    const slug = uniqueName();
    expect((await admin.post('/v1/plans', { slug, name: 'x' })).body.limits).toEqual([]);
    const limits = [{ meter: 'tasks', limit: 5 }];
    expect((await admin.patch(`/v1/plans/${slug}`, { limits })).body.limits).toEqual([
      { meter: 'tasks', window: 'lifetime', limit: 5 },
    ]);
  });

  test('user may read plans; 403 for POST, PATCH and DELETE', async () => {
    const slug = await api.createPlan();
    const user = api.as(await api.createUser());
    expect((await user.get(`/v1/plans/${slug}`)).body).toEqual((await admin.get(`/v1/plans/${slug}`)).body);
    expect((await user.get('/v1/plans?limit=100')).status).toBe(200);
    expectProblem(await user.post('/v1/plans', { slug: uniqueName(), name: 'x' }), 403, 'forbidden');
    expectProblem(await user.patch(`/v1/plans/${slug}`, { limits: [] }), 403, 'forbidden');
    expectProblem(await user.delete(`/v1/plans/${slug}`), 403, 'forbidden');
  });

  test('GET: newest first, in pages, with limits', async () => {
    const made: string[] = [];
    for (const limit of [1, 2, 3]) made.unshift(await api.createPlan([{ meter: 'tasks', window: 'lifetime', limit }]));
    const seen: any[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body } = await admin.get(`/v1/plans?limit=7${cursor && `&cursor=${cursor}`}`);
      seen.push(...body.data);
      cursor = body.nextCursor;
    }
    const mine = seen.filter(({ slug }) => made.includes(slug));
    expect(mine.map(({ slug }) => slug)).toEqual(made);
    expect(mine.map(({ limits }) => limits[0].limit)).toEqual([3, 2, 1]);
    expect(new Set(seen.map(({ slug }) => slug)).size).toBe(seen.length);
  });

  test('PATCH of the slug: the users keep the plan', async () => {
    const slug = await api.createPlan([{ meter: 'resources', limit: 0 }]);
    const user = await api.createUser({ plan: slug });
    const renamed = uniqueName();
    expect((await admin.patch(`/v1/plans/${slug}`, { slug: renamed })).body).toMatchObject({
      ...{ slug: renamed, limits: [{ meter: 'resources', limit: 0 }] },
    });
    expect((await api.as(user).get('/v1/users/me')).body.plan).toBe(renamed);
    expectProblem(await api.as(user).post('/v1/resources', { value: 'x' }), 403, 'quota_exceeded');
    expectProblem(await admin.get(`/v1/plans/${slug}`), 404, 'not_found');
    const taken = await api.createPlan();
    expectProblem(await admin.patch(`/v1/plans/${renamed}`, { slug: taken }), 409, 'slug_taken');
  });

  test('DELETE: 409 while a user has the plan', async () => {
    const slug = await api.createPlan();
    const user = await api.createUser({ plan: slug });
    expectProblem(await admin.delete(`/v1/plans/${slug}`), 409, 'plan_in_use');
    await admin.patch(`/v1/users/${user.id}`, { plan: null });
    expect((await admin.delete(`/v1/plans/${slug}`)).status).toBe(204);
  });

  test.each([
    ['slug', ''],
    ['slug', 'Free'],
    ['slug', 'a b'],
    ['slug', '-a'],
    ['slug', 'a'.repeat(65)],
    ['slug', null],
    ['slug', 7],
    ['name', ''],
    ['name', 'x'.repeat(101)],
    ['name', null],
    ['name', '\u0000'],
    ['limits', null],
    ['limits', {}],
    ['limits', 'x'],
    ['limits', Array.from({ length: 101 }, () => ({ meter: 'tasks', limit: 1 }))],
    ['price', 5],
  ])('POST, PATCH: 400 for %s %p', async (field, value) => {
    const slug = uniqueName();
    expectField(await admin.post('/v1/plans', { slug, name: 'x', [field]: value }), `/${field}`);
    expectProblem(await admin.get(`/v1/plans/${slug}`), 404, 'not_found');
    const known = await api.createPlan([{ meter: 'tasks', limit: 1 }]);
    expectField(await admin.patch(`/v1/plans/${known}`, { [field]: value }), `/${field}`);
    expect((await admin.get(`/v1/plans/${known}`)).body).toMatchObject({ name: known, limits: [{ limit: 1 }] });
  });

  test.each([
    ['meter', { meter: 'unknown', limit: 1 }],
    ['meter', { meter: 'api:nosuchapi', limit: 1 }],
    ['meter', { meter: 'api:', limit: 1 }],
    ['meter', { meter: null, limit: 1 }],
    ['meter', { limit: 1 }],
    ['window', { meter: 'api:api1', limit: 1, window: 'year' }],
    ['window', { meter: 'resources', limit: 1, window: 'day' }],
    ['window', { meter: 'tasks', limit: 1, window: 'month' }],
    ['limit', { meter: 'tasks', limit: -1 }],
    ['limit', { meter: 'tasks', limit: 0.5 }],
    ['limit', { meter: 'tasks', limit: 2 ** 53 }],
    ['limit', { meter: 'tasks', limit: '1' }],
    ['limit', { meter: 'tasks' }],
    ['scope', { meter: 'tasks', limit: 1, scope: 'user' }],
  ])('POST, PATCH: 400 for a limit with a wrong %s: %p', async (field, limit) => {
    const slug = uniqueName();
    const limits = [{ meter: 'api:*', limit: 1 }, limit];
    expectField(await admin.post('/v1/plans', { slug, name: 'x', limits }), `/limits/1/${field}`);
    expectProblem(await admin.get(`/v1/plans/${slug}`), 404, 'not_found');
    const known = await api.createPlan();
    expectField(await admin.patch(`/v1/plans/${known}`, { name: 'new', limits }), `/limits/1/${field}`);
    expect((await admin.get(`/v1/plans/${known}`)).body).toMatchObject({ name: known, limits: [] });
  });

  test('POST: 400 when two limits have the same meter and window', async () => {
    const limits = ['lifetime', undefined].map((window) => ({ meter: 'tasks', limit: 1, window }));
    expectField(await admin.post('/v1/plans', { slug: uniqueName(), name: 'x', limits }), '/limits/1/meter');
  });
});

describe('limits of a plan', () => {
  test('apply to each of its users separately, for gauges and calls', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const plan = await api.createPlan([
        { meter: 'resources', limit: 1 },
        { meter: `api:${slug}`, limit: 2, window: 'month' },
      ]);
      for (const user of [await api.createUser({ plan }), await api.createUser({ plan })]) {
        expect((await api.as(user).post('/v1/resources', { value: 'x' })).status).toBe(201);
        const refused = await api.as(user).post('/v1/resources', { value: 'x' });
        expectProblem(refused, 403, 'quota_exceeded');
        const limit = { meter: 'resources', window: 'lifetime', limit: 1, used: 1, remaining: 0, resetsAt: null };
        expect(refused.body).toMatchObject({ limits: [{ scope: 'plan', ...limit }], violated: [{ scope: 'plan' }] });
        expect(await quotaOf(user, 'resources')).toEqual({ ...limit, scope: 'plan' });
        const key = await api.as(user).createKey();
        for (const status of [200, 200, 429]) expect((await api.call(slug, key)).status).toBe(status);
        expect(await quotaOf(user, `api:${slug}`, 'month')).toMatchObject({ limit: 2, used: 2, scope: 'plan' });
        // All keys of a user share the limit.
        expect((await api.call(slug, await api.as(user).createKey())).status).toBe(429);
      }
    }));

  test('POST /v1/resources: 200 concurrent requests create exactly 20', async () => {
    const user = await api.createUser({ plan: await api.createPlan([{ meter: 'resources', limit: 20 }]) });
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => api.as(user).post('/v1/resources', { value: 'x' })),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(20);
    expect(answers.filter(({ status }) => status === 403)).toHaveLength(180);
  });

  test('are overridden by limits of the user, for each meter and window', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const meter = `api:${slug}`;
      const plan = await api.createPlan([
        { meter, limit: 1, window: 'day' },
        { meter, limit: 4, window: 'month' },
        { meter: 'resources', limit: 0 },
      ]);
      const user = await api.createUser({ plan });
      const key = await api.as(user).createKey();
      const call = async (): Promise<number> => (await api.call(slug, key)).status;
      expect(await call()).toBe(200);
      expect(await call()).toBe(429);
      expect((await put(user, meter, { limit: 2, window: 'day' })).body).toMatchObject({
        limit: 2,
        used: 1,
        scope: 'user',
      });
      expect(await call()).toBe(200);
      expect((await api.call(slug, key)).body.violated).toMatchObject([{ scope: 'user', window: 'day' }]);
      // null means unlimited and overrides the plan.
      expect((await put(user, meter, { limit: null, window: 'day' })).body).toMatchObject({
        limit: null,
        scope: 'user',
      });
      expect([await call(), await call()]).toEqual([200, 200]);
      expect((await api.call(slug, key)).body.violated).toMatchObject([{ scope: 'plan', window: 'month', limit: 4 }]);
      expectProblem(await api.as(user).post('/v1/resources', { value: 'x' }), 403, 'quota_exceeded');
      expect((await put(user, 'resources', { limit: null })).status).toBe(200);
      expect((await api.as(user).post('/v1/resources', { value: 'x' })).status).toBe(201);
      // Without a limit of its own, the user has the limit of the plan again.
      await admin.delete(`/v1/users/${user.id}/quotas/resources`);
      expectProblem(await api.as(user).post('/v1/resources', { value: 'x' }), 403, 'quota_exceeded');
      expect(await quotaOf(user, 'resources')).toMatchObject({ limit: 0, used: 1, remaining: 0, scope: 'plan' });
      await admin.delete(`/v1/users/${user.id}/quotas/${meter}?window=day`);
      await put(user, meter, { limit: 100, window: 'month' });
      expect((await api.call(slug, key)).body.violated).toMatchObject([{ scope: 'plan', window: 'day', used: 4 }]);
    }));

  test('null: unlimited; 0: grants nothing', async () => {
    const slug = await api.createApi();
    const plan = await api.createPlan([
      { meter: `api:${slug}`, limit: null },
      { meter: 'api:api1', limit: 0 },
    ]);
    const key = await api.as(await api.createUser({ plan })).createKey();
    const answer = await api.call(slug, key);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('ratelimit')).toBeNull();
    expectProblem(await api.call('api1', key), 429, 'quota_exceeded');
  });

  test('PATCH /v1/plans/{slug}: new limits apply to the next request and include earlier usage', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const meter = `api:${slug}`;
      const plan = await api.createPlan();
      const user = await api.createUser({ plan });
      const key = await api.as(user).createKey();
      const statuses = async (): Promise<number[]> => [
        (await api.call(slug, key)).status,
        (await api.as(user).post('/v1/resources', { value: 'x' })).status,
      ];
      const change = (limit: number): Promise<Answer> =>
        admin.patch(`/v1/plans/${plan}`, {
          limits: [
            { meter, limit, window: 'day' },
            { meter: 'resources', limit },
          ],
        });
      expect(await statuses()).toEqual([200, 201]);
      await change(1);
      expect(await statuses()).toEqual([429, 403]);
      expect(await quotaOf(user, meter, 'day')).toMatchObject({ limit: 1, used: 1, scope: 'plan' });
      await change(2);
      expect(await statuses()).toEqual([200, 201]);
      await change(0);
      expect(await statuses()).toEqual([429, 403]);
      expect(await quotaOf(user, 'resources')).toMatchObject({ limit: 0, used: 2, remaining: 0 });
      await admin.patch(`/v1/plans/${plan}`, { limits: [] });
      expect(await statuses()).toEqual([200, 201]);
    }));

  test('PATCH /v1/users/{user} with another plan: its limits apply to the next request', async () => {
    const [free, paid] = await Promise.all([1, 3].map((limit) => api.createPlan([{ meter: 'resources', limit }])));
    const user = await api.createUser({ plan: free });
    const create = async (): Promise<number> => (await api.as(user).post('/v1/resources', { value: 'x' })).status;
    expect([await create(), await create()]).toEqual([201, 403]);
    await admin.patch(`/v1/users/${user.id}`, { plan: paid });
    expect([await create(), await create(), await create()]).toEqual([201, 201, 403]);
    await admin.patch(`/v1/users/${user.id}`, { plan: null });
    expect(await create()).toBe(201);
    await admin.patch(`/v1/users/${user.id}`, { plan: free });
    expect(await create()).toBe(403);
    expect(await quotaOf(user, 'resources')).toMatchObject({ limit: 1, used: 4, remaining: 0 });
  });
});
