import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Api, expectProblem, uniqueName, type Account, type Answer } from './support/api.js';
import { isDistributed } from './support/citus.js';
import { inLanes } from './support/lanes.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { Random } from './support/random.js';
import { SEED, sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

const { CHANGES, ROUNDS, CONTESTS, DELETIONS } = sizesOf('processes');

type Database = Awaited<ReturnType<typeof createDatabase>>;

/** Counts the responses by status and problem code. */
function tally(answers: Answer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, body } of answers) {
    const name = `${String(status)} ${body.code ?? ''}`.trim();
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

interface Use {
  owner: string;
  used: number;
  rows: number;
}

/** The counter and the number of rows of an owner, in one snapshot. */
const USE = `
  SELECT $1::uuid AS owner,
    coalesce((SELECT used::int FROM gauges WHERE owner_id = $1 AND meter = 'resources'), 0) AS used,
    (SELECT count(*)::int FROM resources WHERE owner_id = $1) AS rows`;

/** Reads the usage of users repeatedly while `work` runs, and once after it. `work` gets the snapshots so far. */
async function watching(
  database: Database,
  users: readonly Account[],
  work: (seen: Use[][]) => Promise<unknown>,
): Promise<Use[][]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const look = async (): Promise<Use[]> => {
    const uses: Use[] = [];
    for (const { id } of users) uses.push((await client.query<Use>(USE, [id])).rows[0]!);
    return uses;
  };
  try {
    const seen: Use[][] = [];
    const state = { working: true };
    const done = work(seen).finally(() => (state.working = false));
    // Prevents an unhandled rejection; `done` is awaited below.
    done.catch(() => undefined);
    while (state.working) {
      seen.push(await look());
      await sleep(2);
    }
    await done;
    seen.push(await look());
    return seen;
  } finally {
    await client.end();
  }
}

/** Returns the snapshots in which a counter differs from the number of rows. */
const wrong = (seen: Use[][]): Use[] => seen.flat().filter(({ used, rows }) => used !== rows);

describe('two processes on one database', () => {
  let database: Database;
  let servers: TestServer[];
  let first: Api;
  let second: Api;
  let admin: Api;

  beforeAll(async () => {
    database = await createDatabase();
    servers = await Promise.all([1, 2].map(() => TestServer.start({ DATABASE_URL: database.url })));
    [first, second] = servers.map((server) => new Api(server.url)) as [Api, Api];
    admin = await first.admin();
  });

  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await database.drop();
  });

  /** Alternates between the two processes. */
  const either = (i: number): Api => (i % 2 === 0 ? first : second);

  async function createUser(limit?: number): Promise<Account> {
    const user = await first.createUser();
    if (limit !== undefined) await setLimit(user, limit);
    return user;
  }

  async function setLimit(user: Account, limit: number): Promise<void> {
    const answer = await admin.put(`/v1/users/${user.id}/quotas/resources`, { limit });
    expect(answer.status).toBe(200);
  }

  async function useOf(user: Account): Promise<{ used: number; rows: number }> {
    const [{ used, rows }] = await query(database.url, USE, [user.id]);
    return { used, rows };
  }

  test('POST /v1/resources: 500 concurrent requests create exactly the quota of 50', async () => {
    const user = await createUser(50);
    const answers = await Promise.all(
      Array.from({ length: 500 }, (_, i) =>
        either(i)
          .as(user)
          .post('/v1/resources', { value: String(i) }),
      ),
    );
    expect(tally(answers)).toEqual({ '201': 50, '403 quota_exceeded': 450 });
    expect(await useOf(user)).toEqual({ used: 50, rows: 50 });
  });

  test(`POST, DELETE /v1/resources: counters always match the rows (SEED=${SEED})`, async () => {
    const limits = [5, 40, undefined, undefined];
    const users = await Promise.all(limits.map((limit) => createUser(limit)));
    const known = users.map((): string[] => []);
    const random = new Random(SEED);
    const answers: Answer[] = [];
    const create = async (i: number, who: number): Promise<Answer> => {
      const answer = await either(i)
        .as(users[who]!)
        .post('/v1/resources', { value: String(i) });
      if (answer.status === 201) known[who]?.push(answer.body.id);
      return answer;
    };
    const codes = ['201', '204', '403 quota_exceeded', '404 not_found'];
    const most = (seen: Use[][], who: number): number =>
      Math.max(...seen.flat().map((use) => (use.owner === users[who]?.id ? use.rows : 0)));
    /** Whether every outcome has occurred, and every user had rows. */
    const isEnough = (seen: Use[][]): boolean =>
      seen.length > 10 &&
      codes.every((code) => tally(answers)[code] !== undefined) &&
      users.every((_user, who) => most(seen, who) > 0);
    const seen = await watching(database, users, (looks) =>
      inLanes(
        (i) => i < CHANGES || !isEnough(looks),
        64,
        async (i) => {
          const who = random.below(users.length);
          const id = random.chance(45) ? known[who]?.shift() : undefined;
          if (id === undefined) {
            answers.push(await create(i, who));
            return;
          }
          // Some deletions are sent twice concurrently: exactly one succeeds.
          const deletions = Array.from({ length: 1 + (i % 2) }, (_, turn) =>
            either(i + turn)
              .as(users[who]!)
              .delete(`/v1/resources/${id}`),
          );
          const deleted = await Promise.all(deletions);
          expect(deleted.map((answer) => answer.status).sort()).toEqual([204, 404].slice(0, deleted.length));
          answers.push(...deleted);
        },
      ),
    );
    expect(wrong(seen)).toEqual([]);
    limits.forEach((limit, who) => {
      expect(most(seen, who)).toBeGreaterThan(0);
      expect(most(seen, who)).toBeLessThanOrEqual(limit ?? Infinity);
    });
    expect(Object.keys(tally(answers)).sort()).toEqual(codes);
    for (const [who, user] of users.entries()) expect((await useOf(user)).rows).toBe(known[who]?.length);
  });

  test(`POST /v1/resources: never exceeds the highest limit while an administrator changes it (SEED=${SEED})`, async () => {
    const user = await createUser(20);
    const known: string[] = [];
    const random = new Random(SEED);
    const state = { moving: true };
    let heard = 0;
    const load = (i: number): Promise<void> =>
      (async () => {
        while (state.moving) {
          const id = known.length > 0 && random.chance(30) ? known.shift() : undefined;
          const api = either(i).as(user);
          const answer = await (id === undefined
            ? api.post('/v1/resources', { value: 'x' })
            : api.delete(`/v1/resources/${id}`));
          if (answer.status === 201) known.push(answer.body.id);
          expect([201, 204, 403]).toContain(answer.status);
          heard++;
        }
      })();
    const seen = await watching(database, [user], async () => {
      const loading = Promise.all(Array.from({ length: 20 }, (_, i) => load(i)));
      try {
        for (const limit of [10, 30, 5, 25, 0, 30, 15]) {
          await setLimit(user, limit);
          const before = heard;
          await until(() => heard >= before + 60, loading);
        }
      } finally {
        state.moving = false;
      }
      await loading;
    });
    expect(wrong(seen)).toEqual([]);
    const most = Math.max(...seen.flat().map((use) => (use.owner === user.id ? use.rows : 0)));
    expect(most).toBeLessThanOrEqual(30);
    // Without concurrent changes the last limit is exact; rows above a lowered limit remain.
    await setLimit(user, 40);
    await inLanes(60, 20, (i) => either(i).as(user).post('/v1/resources', { value: 'x' }));
    expect(await useOf(user)).toEqual({ used: 40, rows: 40 });
    await setLimit(user, 10);
    expect((await second.as(user).post('/v1/resources', { value: 'x' })).body.code).toBe('quota_exceeded');
    expect(await useOf(user)).toEqual({ used: 40, rows: 40 });
  });

  test('POST /v1/auth/logout: the other process rejects the token at once, also while it is in use', async () => {
    const user = await createUser();
    const sessions = await inLanes(ROUNDS, 4, (i) => either(i).signIn(user.username, user.password));
    const refused: string[] = [];
    for (const [i, session] of sessions.entries()) {
      const [here, there] = [either(i), either(i + 1)];
      expect((await there.as(session).get('/v1/users/me')).status).toBe(200);
      const meanwhile = [there.as(session).get('/v1/users/me'), there.as(session).get('/v1/auth/sessions')];
      expect((await here.as(session).post('/v1/auth/logout')).status).toBe(204);
      const next = await there.as(session).get('/v1/users/me');
      refused.push(`${String(next.status)} ${next.body.code}`);
      for (const answer of await Promise.all(meanwhile)) expect([200, 401]).toContain(answer.status);
    }
    expect(refused).toEqual(Array(ROUNDS).fill('401 invalid_token'));
  });

  test('PATCH status of a user: the other process applies it at once', async () => {
    const user = await createUser();
    for (let i = 0; i < ROUNDS; i++) {
      const [here, there] = [either(i), either(i + 1)];
      const meanwhile = there.as(user).get('/v1/users/me');
      expect((await here.as(adminAccount()).patch(`/v1/users/${user.id}`, { status: 'disabled' })).status).toBe(200);
      expectProblem(await there.as(user).get('/v1/users/me'), 403, 'account_disabled');
      expect((await here.as(adminAccount()).patch(`/v1/users/${user.id}`, { status: 'active' })).status).toBe(200);
      expect((await there.as(user).get('/v1/users/me')).status).toBe(200);
      expect([200, 403]).toContain((await meanwhile).status);
    }
  });

  test('PATCH role of a user: the other process applies it at once', async () => {
    const user = await createUser();
    for (let i = 0; i < ROUNDS; i++) {
      const [here, there] = [either(i), either(i + 1)];
      expect((await here.as(adminAccount()).patch(`/v1/users/${user.id}`, { role: 'admin' })).status).toBe(200);
      expect((await there.as(user).get('/v1/users?limit=1')).status).toBe(200);
      expect((await here.as(adminAccount()).patch(`/v1/users/${user.id}`, { role: 'user' })).status).toBe(200);
      expectProblem(await there.as(user).get('/v1/users?limit=1'), 403, 'forbidden');
    }
  });

  const adminAccount = (): { accessToken: string } => ({ accessToken: admin.token ?? '' });

  describe('the last administrator remains', () => {
    beforeEach(async () => {
      // Demotes the initial administrator.
      await query(database.url, `UPDATE users SET role = 'user' WHERE role = 'admin'`);
    });

    afterEach(async () => {
      await query(database.url, `UPDATE users SET role = 'admin' WHERE username = 'admin'`);
    });

    async function twoAdmins(): Promise<[Account, Account]> {
      const accounts: Account[] = [];
      for (let i = 0; i < 2; i++) {
        const [username, password] = [uniqueName(), 'Unguessable-7'];
        await first.post('/v1/auth/register', { username, password });
        await query(database.url, `UPDATE users SET role = 'admin' WHERE username = $1`, [username]);
        const { accessToken, refreshToken, user } = await first.signIn(username, password);
        accounts.push({ id: user.id, username, password, accessToken, refreshToken });
      }
      return accounts as [Account, Account];
    }

    const admins = (): Promise<unknown[]> =>
      query(database.url, `SELECT id FROM users WHERE role = 'admin' AND status = 'active'`);

    test.each([
      ['step down', { role: 'user' }],
      ['disable themselves', { status: 'disabled' }],
    ])('when the last two %s concurrently', async (_what, change) => {
      const two = await twoAdmins();
      for (let round = 0; round < CONTESTS; round++) {
        const answers = await Promise.all(two.map((account, i) => either(i).as(account).patch('/v1/users/me', change)));
        expect(tally(answers)).toEqual({ '200': 1, '409 last_admin': 1 });
        expect(await admins()).toHaveLength(1);
        const ids = two.map((account) => account.id);
        await query(database.url, `UPDATE users SET role = 'admin', status = 'active' WHERE id = ANY($1)`, [ids]);
      }
      await query(database.url, `UPDATE users SET role = 'user' WHERE role = 'admin'`);
    });

    test('when the last two demote each other concurrently', async () => {
      const [one, other] = await twoAdmins();
      for (let round = 0; round < CONTESTS; round++) {
        const answers = await Promise.all([
          first.as(one).patch(`/v1/users/${other.id}`, { role: 'user' }),
          second.as(other).patch(`/v1/users/${one.id}`, { role: 'user' }),
        ]);
        expect(answers.map((answer) => answer.status)).toContain(200);
        expect(answers.filter((answer) => answer.status === 200)).toHaveLength(1);
        expect(answers.some(({ status }) => status === 403 || status === 409)).toBe(true);
        expect(await admins()).toHaveLength(1);
        await query(database.url, `UPDATE users SET role = 'admin' WHERE id = ANY($1)`, [[one.id, other.id]]);
      }
    });

    test('when the last two delete themselves or each other concurrently', async () => {
      for (const target of ['themselves', 'each other']) {
        await query(database.url, `UPDATE users SET role = 'user' WHERE role = 'admin'`);
        const two = await twoAdmins();
        const answers = await Promise.all(
          two.map((account, i) => {
            const victim = target === 'themselves' ? account : two[1 - i]!;
            return either(i).as(account).delete(`/v1/users/${victim.id}`);
          }),
        );
        expect(answers.filter((answer) => answer.status === 204)).toHaveLength(1);
        expect(answers.every(({ status }) => [204, 401, 403, 409].includes(status))).toBe(true);
        expect(await admins()).toHaveLength(1);
      }
    });
  });

  test('DELETE /v1/users/{user} under concurrent requests of the user: no error, and no row remains', async () => {
    const answers: Answer[] = [];
    for (let round = 0; round < DELETIONS; round++) {
      const user = await createUser();
      // Every third user has no rows yet, not even a counter.
      const ids = await inLanes(round % 3 === 0 ? 0 : 20, 10, async (i) => {
        return (await either(i).as(user).post('/v1/resources', { value: 'x' })).body.id as string;
      });
      const state = { isGone: false };
      const before = answers.length;
      const work = Promise.all(
        Array.from({ length: 40 }, async (_, i) => {
          const api = either(i).as(user);
          const id = ids[i];
          answers.push(
            await (id === undefined ? api.post('/v1/resources', { value: 'x' }) : api.delete(`/v1/resources/${id}`)),
          );
          // Continues until one request after the deletion.
          for (let isLast = false; !isLast;) {
            isLast = state.isGone;
            answers.push(await api.post('/v1/resources', { value: 'y' }));
          }
        }),
      );
      try {
        // Deletes during the first requests in some rounds, and later in others.
        await until(() => answers.length >= before + 20 * (round % 4), work);
        expect((await admin.delete(`/v1/users/${user.id}`)).status).toBe(204);
      } finally {
        state.isGone = true;
      }
      await work;
      expectProblem(await second.as(user).post('/v1/resources', { value: 'z' }), 401, 'invalid_token');
      const left = await query(
        database.url,
        `SELECT (SELECT count(*)::int FROM resources WHERE owner_id = $1) AS resources,
                (SELECT count(*)::int FROM gauges WHERE owner_id = $1) AS gauges,
                (SELECT count(*)::int FROM sessions WHERE owner_id = $1) AS sessions`,
        [user.id],
      );
      expect(left).toEqual([{ resources: 0, gauges: 0, sessions: 0 }]);
    }
    const codes = Object.keys(tally(answers)).sort();
    expect(codes.filter((code) => !['201', '204', '401 invalid_token', '404 not_found'].includes(code))).toEqual([]);
    expect(codes).toContain('201');
    expect(codes).toContain('401 invalid_token');
  });

  test.each([true, false])(
    'POST /v1/resources waiting for the deletion of its owner: 404, and other users are unaffected (owner had a counter: %s)',
    async (counted) => {
      const [user, neighbour] = await Promise.all([createUser(), createUser()]);
      const had = counted ? [user, neighbour] : [neighbour];
      for (const each of had) expect((await first.as(each).post('/v1/resources', { value: 'x' })).status).toBe(201);
      const deleting = new pg.Client({ connectionString: database.url });
      await deleting.connect();
      await deleting.query('BEGIN');
      await deleting.query('DELETE FROM users WHERE id = $1', [user.id]);
      const creations = Array.from({ length: 20 }, (_, i) =>
        first.as(i % 2 === 0 ? user : neighbour).post('/v1/resources', { value: 'late' }),
      );
      const waiting = isDistributed()
        ? `SELECT FROM citus_lock_waits WHERE blocked_statement LIKE '%resources%'`
        : `SELECT FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'quartermaster'
             AND query LIKE '%resources%'`;
      // Request statistics may also wait for the row of the user; only creations count here.
      await until(async () => (await query(database.url, waiting)).length > 0);
      await deleting.query('COMMIT');
      await deleting.end();
      const answers = await Promise.all(creations);
      expect(tally(answers.filter((_, i) => i % 2 === 1))).toEqual({ '201': 10 });
      expect(await useOf(neighbour)).toEqual({ used: 11, rows: 11 });
      const refusals = Object.keys(tally(answers.filter((_, i) => i % 2 === 0)));
      expect(refusals.filter((code) => code !== '401 invalid_token')).toEqual(['404 not_found']);
    },
  );

  test('server logs contain no error after these tests', () => {
    for (const server of servers) expect(server.output).not.toMatch(/"level":(50|60)/);
  });
});
