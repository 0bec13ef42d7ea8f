import pg from 'pg';
import { Api, expectProblem, uniqueName, type Answer } from './support/api.js';
import { Fleet, expectDone, tally } from './support/fleet.js';
import { platformMetrics } from './support/metrics.js';
import { deleteUsers, expectSound, objectsIn, recounted, total, waitingIn } from './support/platform.js';
import { Random } from './support/random.js';
import { TestServer } from './support/server.js';
import { expire, withoutSweeper } from './support/store.js';
import { SEED, sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

/** ROOM: objects that fit under the bound. ROUNDS: first bounds set under load. */
const { ROOM, ROUNDS } = sizesOf('platform');

const PASSWORD = 'Unguessable-7';

const DEFAULTS = {
  ...{ registration: 'open', totalObjects: null, creditOverprovisioning: false },
  ...{ defaultPlan: null, selfDeletion: false },
};

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(3);
});

afterAll(async () => {
  await fleet.stop();
});

/** After each test: checks the sums against the rows, then removes everything but the administrator. */
afterEach(async () => {
  await expectSound(fleet);
  await set(DEFAULTS);
  await deleteUsers(fleet);
  await expectSound(fleet);
});

async function set(changes: object, turn = 0): Promise<any> {
  return expectDone(await fleet.admin(turn).patch('/v1/platform', changes)).body;
}

async function settings(turn = 0): Promise<any> {
  return expectDone(await fleet.admin(turn).get('/v1/platform')).body;
}

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

const register = (turn = 0, fields: object = {}): Promise<Answer> =>
  new Api(fleet.servers[turn % fleet.servers.length]!.url).post('/v1/auth/register', {
    username: uniqueName(),
    password: PASSWORD,
    ...fields,
  });

const makeUser = (turn = 0, fields: object = {}): Promise<Answer> =>
  fleet.admin(turn).post('/v1/users', { username: uniqueName(), password: PASSWORD, ...fields });

const makeTask = (owner: string, turn = 0): Promise<Answer> => fleet.admin(turn).post('/v1/tasks', { owner });

const makeResource = (owner: string, turn = 0): Promise<Answer> =>
  fleet.admin(turn).post('/v1/resources', { value: 'x', owner });

const put = (owner: string, key: string, turn = 0): Promise<Answer> =>
  fleet.admin(turn).put(`/v1/store/${key}?owner=${owner}`, 1);

const writeAll = (owner: string, keys: string[], fields: object = {}, turn = 0): Promise<Answer> =>
  fleet.admin(turn).post('/v1/store/write', { entries: keys.map((key) => ({ key, value: 1 })), owner, ...fields });

const count = async (): Promise<number> => total(await objectsIn(fleet));

/** Sets the bound so that `more` further objects fit. */
const leaveRoom = async (more: number, turn = 0): Promise<number> => {
  const bound = (await count()) + more;
  expect(await set({ totalObjects: bound }, turn)).toMatchObject({ totalObjects: bound });
  return bound;
};

/** Checks that the platform bound rejected the request and is reported as violated. */
function expectFull(answer: Answer, bound: number, used = bound): void {
  expectProblem(answer, 403, 'quota_exceeded');
  const full = {
    ...{ scope: 'platform', meter: 'objects', window: 'lifetime', limit: bound, used },
    ...{ remaining: Math.max(0, bound - used), resetsAt: null },
  };
  expect(answer.body.violated).toEqual([full]);
  expect(answer.body.limits).toContainEqual(full);
}

describe('/v1/platform', () => {
  test('PATCH by an administrator: changes only the given settings, visible on every node at once', async () => {
    expect(await settings()).toEqual(DEFAULTS);
    const plan = await fleet.makePlan([]);
    let expected: object = DEFAULTS;
    for (const [i, change] of [
      { registration: 'closed' },
      { totalObjects: 1_000 },
      { creditOverprovisioning: true },
      { defaultPlan: plan },
      { selfDeletion: true },
      {},
      { totalObjects: 2_000, registration: 'open' },
      { totalObjects: null },
      { totalObjects: Number.MAX_SAFE_INTEGER },
      { defaultPlan: null, creditOverprovisioning: false, totalObjects: null, selfDeletion: false },
    ].entries()) {
      expected = { ...expected, ...change };
      expect(await set(change, i)).toEqual(expected);
      expect(await settings(i + 1)).toEqual(expected);
    }
  });

  test.each([
    ['registration', 'shut'],
    ['registration', null],
    ['registration', true],
    ['totalObjects', -1],
    ['totalObjects', 0.5],
    ['totalObjects', 2 ** 53],
    ['totalObjects', '100'],
    ['totalObjects', true],
    ['creditOverprovisioning', null],
    ['creditOverprovisioning', 'true'],
    ['creditOverprovisioning', 0],
    ['selfDeletion', null],
    ['selfDeletion', 'true'],
    ['defaultPlan', 'nosuchplan'],
    ['defaultPlan', ''],
    ['defaultPlan', 7],
    ['defaultPlan', 'x'.repeat(65)],
    ['defaultPlan', 'a\u0000'],
    ['total', 7],
  ])('PATCH: 400 for %s %p, and nothing changes', async (field, value) => {
    expectField(await fleet.admin().patch('/v1/platform', { totalObjects: 500, [field]: value }), `/${field}`);
    expect(await settings()).toEqual(DEFAULTS);
  });

  test('GET, PATCH: 401 without credentials, 403 for a user', async () => {
    const user = await fleet.admin().createUser();
    for (const [who, status, code] of [
      [new Api(fleet.servers[0]!.url), 401, 'unauthenticated'],
      [fleet.admin().as(user), 403, 'forbidden'],
    ] as const) {
      expectProblem(await who.get('/v1/platform'), status, code);
      expectProblem(await who.patch('/v1/platform', { totalObjects: 0 }), status, code);
    }
    expect(await settings()).toEqual(DEFAULTS);
  });
});

describe('setting `registration`', () => {
  test('applies to the next request on every node', async () => {
    for (let turn = 0; turn < 6; turn++) {
      await set({ registration: 'closed' }, turn);
      expectProblem(await register(turn + 1), 403, 'forbidden');
      expect((await makeUser(turn + 1)).status).toBe(201);
      await set({ registration: 'open' }, turn);
      expect((await register(turn + 2)).status).toBe(201);
    }
  });

  test('defaults to REGISTRATION until an administrator sets it', async () => {
    await fleet.query('UPDATE platform_settings SET registration = NULL');
    const server = await TestServer.start({ DATABASE_URL: fleet.url, REGISTRATION: 'closed' });
    const closed = new Api(server.url, fleet.admin().token);
    const attempt = (): Promise<Answer> =>
      new Api(server.url).post('/v1/auth/register', { username: uniqueName(), password: PASSWORD });
    expect((await closed.get('/v1/platform')).body.registration).toBe('closed');
    expect(await settings()).toMatchObject({ registration: 'open' });
    expectProblem(await attempt(), 403, 'forbidden');
    expect((await register()).status).toBe(201);
    // A change of another setting keeps the default.
    await set({ creditOverprovisioning: true });
    expectProblem(await attempt(), 403, 'forbidden');
    await set({ registration: 'open' });
    expect((await closed.get('/v1/platform')).body.registration).toBe('open');
    expect((await attempt()).status).toBe(201);
    expect(await server.stop()).toBe(0);
  });
});

describe('setting `defaultPlan`', () => {
  test('applies to registrations and to new users without a plan in the request', async () => {
    const [plan, other] = [await fleet.makePlan([{ meter: 'resources', limit: 1 }]), await fleet.makePlan([])];
    await set({ defaultPlan: plan });
    expect((await register()).body).toMatchObject({ plan });
    const made = await makeUser(1);
    expect(made.body).toMatchObject({ plan });
    expect((await makeUser(1, { plan: other })).body).toMatchObject({ plan: other });
    expect((await makeUser(1, { plan: null })).body).toMatchObject({ plan: null });
    expect((await makeResource(made.body.id)).status).toBe(201);
    expectProblem(await makeResource(made.body.id), 403, 'quota_exceeded');
    expect((await fleet.admin().get('/v1/users/admin')).body.plan).toBeNull();
    await set({ defaultPlan: null });
    expect((await register(2)).body.plan).toBeNull();
    expect((await fleet.admin().get(`/v1/users/${made.body.id}`)).body.plan).toBe(plan);
  });

  test('DELETE /v1/plans/{slug}: 409 for the default plan; it may be renamed or replaced', async () => {
    const plan = await fleet.makePlan([]);
    await set({ defaultPlan: plan });
    expectProblem(await fleet.admin(1).delete(`/v1/plans/${plan}`), 409, 'plan_in_use');
    const renamed = uniqueName();
    expect((await fleet.admin(1).patch(`/v1/plans/${plan}`, { slug: renamed })).body.slug).toBe(renamed);
    expect(await settings(2)).toMatchObject({ defaultPlan: renamed });
    expect((await register(2)).body).toMatchObject({ plan: renamed });
    expectField(await fleet.admin().patch('/v1/platform', { defaultPlan: plan }), '/defaultPlan');
    expect(await settings()).toMatchObject({ defaultPlan: renamed });
    await set({ defaultPlan: null });
    // A user has the plan.
    expectProblem(await fleet.admin().delete(`/v1/plans/${renamed}`), 409, 'plan_in_use');
    const unused = await fleet.makePlan([]);
    await set({ defaultPlan: unused });
    await set({ defaultPlan: null });
    expect((await fleet.admin().delete(`/v1/plans/${unused}`)).status).toBe(204);
  });

  test('applies to every new user while the plan is renamed concurrently', async () => {
    const plan = await fleet.makePlan([{ meter: 'tasks', limit: 2 }]);
    await set({ defaultPlan: plan });
    const state = { renaming: true };
    const renaming = (async () => {
      const codes: number[] = [];
      let slug = plan;
      for (let i = 0; state.renaming; i++) {
        const renamed = `${plan}-${String(i)}`;
        codes.push((await fleet.admin(i).patch(`/v1/plans/${slug}`, { slug: renamed })).status);
        slug = renamed;
      }
      return { codes, slug };
    })();
    const lanes = Array.from({ length: 4 }, async (_, lane) => {
      const answers: Answer[] = [];
      for (let i = 0; i < 5; i++) answers.push(await (i % 2 ? makeUser(lane) : register(lane)));
      return answers;
    });
    const made = (await Promise.all(lanes)).flat();
    state.renaming = false;
    const { codes, slug } = await renaming;
    expect(tally(made.map(({ status }) => String(status)))).toEqual({ 201: 20 });
    expect(new Set(codes)).toEqual(new Set([200]));
    expect(await settings()).toMatchObject({ defaultPlan: slug });
    expect(await fleet.query(`SELECT count(*)::int AS users FROM users WHERE plan = $1`, [slug])).toEqual([
      { users: 20 },
    ]);
    expect((await platformMetrics(fleet.admin())).credits.granted).toBe(40);
  });
});

describe('setting `totalObjects`', () => {
  test('counts existing objects when first set, and again after it was removed', async () => {
    const owner = await fleet.makeUser();
    await makeTask(owner);
    await makeResource(owner);
    await makeResource(owner);
    await writeAll(owner, ['a', 'b', 'c']);
    expect(await objectsIn(fleet)).toEqual({ users: 2, tasks: 1, resources: 2, entries: 3 });
    await set({ totalObjects: 8 });
    expectFull(await makeTask(owner, 1), 8);
    expectFull(await makeResource(owner, 1), 8);
    expectFull(await put(owner, 'd', 1), 8);
    expectFull(await writeAll(owner, ['d', 'e'], {}, 1), 8);
    expectFull(await writeAll(owner, ['d', 'e'], { atomic: true }, 1), 8);
    expectFull(await makeUser(1), 8);
    expectFull(await register(1), 8);
    // Changing or overwriting existing objects needs no room.
    expect((await put(owner, 'a', 1)).status).toBe(200);
    expect((await writeAll(owner, ['a', 'b'], { onConflict: 'replace' })).body.written).toBe(2);
    expect((await fleet.admin().patch(`/v1/users/${owner}`, { firstName: 'Ada' })).status).toBe(200);
    expect((await fleet.admin().get('/v1/platform/quotas')).body.data).toEqual([]);
    await set({ totalObjects: null }, 2);
    expect((await makeTask(owner, 1)).status).toBe(201);
    expect((await put(owner, 'd', 1)).status).toBe(201);
    expect((await makeUser(1)).status).toBe(201);
    await set({ totalObjects: 12 });
    expect((await makeTask(owner, 1)).status).toBe(201);
    expectFull(await makeResource(owner, 2), 12);
    expect(await count()).toBe(12);
    expect((await platformMetrics(fleet.admin())).objects).toEqual({
      ...{ total: 12, users: 3, tasks: 3, resources: 2, storeEntries: 4 },
    });
  });

  test('POST /v1/store/write: writes the entries that fit; an atomic batch writes all or none', async () => {
    const owner = await fleet.makeUser();
    await leaveRoom(5);
    const first = await writeAll(owner, ['a', 'b', 'c'], { atomic: true });
    expect(first.body).toMatchObject({ written: 3 });
    const whole = await writeAll(owner, ['d', 'e', 'f'], { atomic: true });
    expectProblem(whole, 403, 'quota_exceeded');
    const { body } = await writeAll(owner, ['a', 'd', 'e', 'f'], { onConflict: 'replace' });
    expect(body.results.map(({ status, code }: any) => code ?? status)).toEqual([
      ...['written', 'written', 'written', 'quota_exceeded'],
    ]);
    expect(body.written).toBe(3);
  });

  test(`concurrent creations of every kind on three processes reach it exactly; one deletion frees one (SEED=${SEED})`, async () => {
    const owners = [await fleet.makeUser(), await fleet.makeUser(), await fleet.makeUser()];
    // Owns nothing, and exists before the race: new users hash a password first and may all come too late.
    const lonely = await fleet.makeUser();
    const bound = await leaveRoom(ROOM);
    const key = (i: number): object => ({ headers: { 'idempotency-key': `key-${String(i)}` } });
    const kinds: [share: number, make: (i: number, owner: string) => Promise<Answer>][] = [
      [6, (i) => makeUser(i)],
      [4, (i) => register(i)],
      [40, (i, owner) => makeTask(owner, i)],
      [40, (i, owner) => makeResource(owner, i)],
      [40, (i, owner) => put(owner, `single-${String(i)}`, i)],
      [
        8,
        (i, owner) =>
          writeAll(
            owner,
            ['a', 'b', 'c', 'd'].map((name) => `batch-${i}-${name}`),
            {},
            i,
          ),
      ],
      [
        8,
        (i, owner) =>
          writeAll(
            owner,
            ['a', 'b', 'c'].map((name) => `whole-${i}-${name}`),
            { atomic: true },
            i,
          ),
      ],
      // Each Idempotency-Key is sent twice.
      [20, (i) => fleet.admin(i).post('/v1/tasks', { owner: owners[0], title: `${i >> 1}` }, key(i >> 1))],
      [8, (i, owner) => fleet.admin(i).post('/v1/resources', { owner, value: 'once' }, key(10_000 + i))],
      [4, (i, owner) => writeAll(owner, [`once-${i}`], {}, i)],
    ];
    const random = new Random(SEED);
    const shots = kinds
      .flatMap(([share, make]) => Array.from({ length: Math.ceil((share * ROOM) / 60) }, (_, i) => ({ make, i })))
      .map((shot) => ({ ...shot, at: random.below(1_000_000) }))
      .sort((a, b) => a.at - b.at);
    const answers = await Promise.all(shots.map(({ make, i }) => make(i, owners[i % 3]!)));
    const outcomes = tally(answers.map(({ status, body }) => `${status} ${body.code ?? ''}`.trim()));
    expect(Object.keys(outcomes).filter((each) => !/^(200|201|403 quota_exceeded|409 idempotency)/.test(each))).toEqual(
      [],
    );
    const objects = await objectsIn(fleet);
    expect(total(objects)).toBe(bound);
    expect(Object.values(objects).every((each) => each > 0)).toBe(true);
    // The count equals the successes that clients saw.
    const told = answers.reduce((sum, { status, body, headers }) => {
      if (status >= 300 || headers.get('idempotency-replayed') === 'true') return sum;
      return sum + (body.results ? body.written : 1);
    }, 0);
    expect(told).toBe(ROOM);
    for (const [i, owner] of owners.entries()) expectFull(await makeTask(owner, i), bound);

    // A deletion of any kind frees room for one object.
    const [taken] = await fleet.query(`
      SELECT (SELECT id FROM tasks LIMIT 1) AS task, (SELECT id FROM resources LIMIT 1) AS resource,
        (SELECT json_build_array(owner_id, key) FROM store_entries LIMIT 1) AS entry`);
    for (const [i, path] of [
      `/v1/tasks/${taken.task}`,
      `/v1/resources/${taken.resource}`,
      `/v1/store/${taken.entry[1]}?owner=${taken.entry[0]}`,
      `/v1/users/${lonely}`,
    ].entries()) {
      expect((await fleet.admin(i).delete(path)).status).toBe(204);
      const more = await Promise.all(
        Array.from({ length: 6 }, (_, n) => [makeTask, makeResource][n % 2]!(owners[n % 3]!, n)),
      );
      expect(tally(more.map(({ status }) => String(status)))).toEqual({ 201: 1, 403: 5 });
      expect(await count()).toBe(bound);
    }
    await expectSound(fleet);
    const { kept, made } = await recounted(fleet);
    expect(kept).toEqual(made);
  });

  test('DELETE /v1/users/{user}: frees all objects of the user, also under concurrent creations', async () => {
    const [owner, other] = [await fleet.makeUser(), await fleet.makeUser()];
    for (let i = 0; i < 3; i++) {
      await makeTask(owner);
      await makeResource(owner);
    }
    await writeAll(owner, ['a', 'b', 'c', 'd']);
    const bound = await leaveRoom(0);
    expectFull(await makeTask(other), bound);
    expect((await fleet.admin(1).delete(`/v1/users/${owner}`)).status).toBe(204);
    const made = await Promise.all(Array.from({ length: 20 }, (_, i) => makeTask(other, i)));
    expect(tally(made.map(({ status }) => String(status)))).toEqual({ 201: 11, 403: 9 });
    expect(await count()).toBe(bound);
    const leaving = fleet.admin(2).delete(`/v1/users/${other}`);
    const coming = await Promise.all(Array.from({ length: 9 }, (_, i) => makeTask('admin', i)));
    expect((await leaving).status).toBe(204);
    for (const { status } of coming) expect([201, 403]).toContain(status);
    await expectSound(fleet);
    for (const { status, body } of coming) {
      if (status === 201) expectDone(await fleet.admin().delete(`/v1/tasks/${body.id}`));
    }
  });

  test('does not count entries from the moment they expire', async () => {
    const owner = await fleet.makeUser();
    await writeAll(owner, ['a', 'b', 'c', 'd', 'e']);
    const bound = await leaveRoom(0);
    await withoutSweeper(fleet, async () => {
      await expire(fleet, owner, ['a', 'b', 'c', 'd']);
      expect((await makeTask(owner, 1)).status).toBe(201);
      expect((await makeResource(owner, 2)).status).toBe(201);
      expect((await put(owner, 'f')).status).toBe(201);
      expect((await makeUser(1)).status).toBe(201);
      for (const answer of [await makeTask(owner, 1), await makeResource(owner, 2), await put(owner, 'g')]) {
        expectFull(answer, bound);
      }
      expectFull(await makeUser(), bound);
      // Overwriting an expired entry creates a new object.
      expectFull(await put(owner, 'a'), bound);
      expect((await platformMetrics(fleet.admin())).objects.total).toBe(bound);
    });
    await until(async () => (await objectsIn(fleet)).entries <= 2);
    expectFull(await makeTask(owner), bound);
  });

  test('POST /v1/tasks: 403 when the bound is reached, 402 when no credit is left', async () => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'tasks', 1);
    const bound = await leaveRoom(2);
    expect((await makeTask(owner)).status).toBe(201);
    const spent = await makeTask(owner);
    expectProblem(spent, 402, 'credits_exhausted');
    expect(spent.body.violated).toMatchObject([{ scope: 'user', meter: 'tasks', limit: 1, used: 1 }]);
    expect(spent.body.limits).toMatchObject([{ scope: 'user' }, { scope: 'platform', meter: 'objects', limit: bound }]);
    await fleet.setQuota(owner, 'tasks', 2);
    expect((await makeResource(owner)).status).toBe(201);
    const full = await makeTask(owner);
    expectFull(full, bound);
    expect(full.body.limits).toMatchObject([{ scope: 'user', limit: 2, used: 1 }, { scope: 'platform' }]);
    // Both limits are reached: 402 has priority, because deleting the objects of others would not help.
    await fleet.setQuota(owner, 'tasks', 1);
    expectProblem(await makeTask(owner), 402, 'credits_exhausted');
    // With a platform limit on the meter itself as well.
    await fleet.setQuota(owner, 'tasks', null);
    expectDone(await fleet.admin().put('/v1/platform/quotas/tasks', { limit: 1 }));
    await set({ totalObjects: bound + 5 });
    const both = await makeTask(owner);
    expectProblem(both, 403, 'quota_exceeded');
    expect(both.body.violated).toMatchObject([{ scope: 'platform', meter: 'tasks', limit: 1, used: 1 }]);
    expectDone(await fleet.admin().delete('/v1/platform/quotas/tasks'));
    expect((await makeTask(owner)).status).toBe(201);
  });

  test('lowered below the count: deletes nothing and rejects creations', async () => {
    const owner = await fleet.makeUser();
    const tasks: string[] = [];
    for (let i = 0; i < 4; i++) tasks.push((await makeTask(owner, i)).body.id);
    for (const totalObjects of [3, 0, 1]) {
      await set({ totalObjects });
      expectFull(await makeTask(owner), totalObjects, 6);
      expectFull(await makeUser(1), totalObjects, 6);
      expectFull(await put(owner, 'a', 2), totalObjects, 6);
    }
    expect(await count()).toBe(6);
    await set({ totalObjects: 5 });
    expect((await fleet.admin().delete(`/v1/tasks/${tasks[0]}`)).status).toBe(204);
    expectFull(await makeTask(owner), 5);
    expect((await fleet.admin().delete(`/v1/tasks/${tasks[1]}`)).status).toBe(204);
    expect((await makeTask(owner)).status).toBe(201);
    expectFull(await makeTask(owner), 5);
    await set({ totalObjects: 6 });
    expect((await makeTask(owner)).status).toBe(201);
    await set({ totalObjects: null });
    for (let i = 0; i < 5; i++) expect((await makeTask(owner, i)).status).toBe(201);
  });

  test('first set under concurrent writes: counts each object once, and holds from then on', async () => {
    const owners = [await fleet.makeUser(), await fleet.makeUser()];
    for (let round = 0; round < ROUNDS; round++) {
      const state = { writing: true };
      const codes: string[] = [];
      const note = ({ status, body }: Answer): Answer => {
        codes.push(`${status} ${body.code ?? ''}`.trim());
        return { status, body } as Answer;
      };
      const lanes = Array.from({ length: 6 }, async (_, lane) => {
        const [owner, admin] = [owners[lane % 2]!, fleet.admin(lane)];
        for (let i = 0; state.writing; i++) {
          const name = `k-${round}-${lane}-${i}`;
          if (lane === 0) {
            const { status, body } = note(await makeTask(owner, lane));
            if (status === 201 && i % 2) note(await admin.delete(`/v1/tasks/${body.id}`));
          } else if (lane === 1) {
            const { status, body } = note(await makeResource(owner, lane));
            if (status === 201 && i % 2) note(await admin.delete(`/v1/resources/${body.id}`));
          } else if (lane === 2) {
            note(await put(owner, name, lane));
            if (i % 2) note(await admin.delete(`/v1/store/${name}?owner=${owner}`));
          } else if (lane === 3) note(await writeAll(owner, [name, `${name}-2`], { atomic: i % 2 === 0 }, lane));
          else if (lane === 4) note(await admin.post('/v1/store/delete', { keys: [`k-${round}-3-${i}`], owner }));
          else {
            const { status, body } = note(await makeUser(lane));
            if (status === 201 && i % 2) note(await admin.delete(`/v1/users/${body.id}`));
          }
        }
      });
      const writing = Promise.all(lanes);
      const written = (answers: number): Promise<void> => {
        const before = codes.length;
        return until(() => codes.length >= before + answers, writing);
      };
      const seen: number[] = [];
      let bound: number;
      try {
        await written(20 + 10 * round);
        bound = (await count()) + 20;
        await set({ totalObjects: bound }, round);
        for (let i = 0; i < 4; i++) {
          await written(6);
          seen.push(await count());
        }
      } finally {
        state.writing = false;
      }
      await writing;
      expect(Object.keys(tally(codes)).filter((code) => !/^(20[014]|403 quota_exceeded|404)/.test(code))).toEqual([]);
      // Objects created between the count above and the bound remain.
      expect(Math.max(...seen.slice(1))).toBeLessThanOrEqual(Math.max(bound, seen[0]!));
      await expectSound(fleet);
      await set({ totalObjects: null }, round + 1);
    }
    const { kept, made } = await recounted(fleet);
    expect(kept).toEqual(made);
  });

  test.each(['made', 'deleted'])(
    'its row is locked before other quota rows when an object is %s, so that transactions do not deadlock',
    async (how) => {
      const owner = await fleet.makeUser();
      const gauges = ['tasks', 'resources', 'store.entries', 'store.bytes'];
      for (const meter of gauges) expectDone(await fleet.admin().put(`/v1/platform/quotas/${meter}`, { limit: 1_000 }));
      await set({ totalObjects: 1_000 });
      const [task, resource] = [(await makeTask(owner)).body.id, (await makeResource(owner)).body.id];
      await put(owner, 'a');
      // Stores the rows in reverse order: after ANALYZE, PostgreSQL scans so small a table sequentially.
      await fleet.query('CREATE INDEX other_way_round ON platform_quotas (meter DESC)');
      await fleet.query('CLUSTER platform_quotas USING other_way_round');
      await fleet.query('DROP INDEX other_way_round');
      await fleet.query('ANALYZE platform_quotas');
      const works: Record<string, () => Promise<Answer>> = {
        ...(how === 'made'
          ? {
              task: () => makeTask(owner, 1),
              resource: () => makeResource(owner, 1),
              entry: () => put(owner, 'b', 1),
              user: () => makeUser(1),
            }
          : {
              task: () => fleet.admin(1).delete(`/v1/tasks/${task}`),
              resource: () => fleet.admin(1).delete(`/v1/resources/${resource}`),
              entry: () => fleet.admin(1).delete(`/v1/store/a?owner=${owner}`),
              user: () => fleet.admin(1).delete(`/v1/users/${owner}`),
            }),
      };
      const held: string[] = [];
      for (const [kind, work] of Object.entries(works)) {
        const client = new pg.Client({ connectionString: fleet.url });
        await client.connect();
        try {
          await client.query('BEGIN');
          await client.query(`SELECT FROM platform_quotas WHERE meter = 'objects' FOR UPDATE`);
          const done = work();
          // Prevents an unhandled rejection before `done` is awaited.
          done.catch(() => undefined);
          await until(async () => (await waitingIn(fleet)) > 0, done);
          const { rows } = await client.query<{ meter: string }>(
            'SELECT meter FROM platform_quotas WHERE meter = ANY($1) FOR UPDATE SKIP LOCKED',
            [gauges],
          );
          const free = new Set(rows.map(({ meter }) => meter));
          held.push(...gauges.filter((meter) => !free.has(meter)).map((meter) => `${kind}: ${meter}`));
          await client.query('ROLLBACK');
          expect((await done).status).toBe(how === 'deleted' ? 204 : 201);
        } finally {
          await client.end();
        }
      }
      for (const meter of gauges) expectDone(await fleet.admin().delete(`/v1/platform/quotas/${meter}`));
      expect(held).toEqual([]);
    },
  );
});
