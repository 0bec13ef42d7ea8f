import { randomUUID } from 'node:crypto';
import { Api, expectProblem, uniqueName, type Account, type Answer, type Key } from './support/api.js';
import { Fleet } from './support/fleet.js';
import { TestServer } from './support/server.js';
import { until } from './support/until.js';

let fleet: Fleet;
/** Clients of two processes. */
let api: Api;
let other: Api;
let admin: Api;

beforeAll(async () => {
  fleet = await Fleet.start(2, undefined, { TRUST_PROXY: '127.0.0.1' });
  [api, other] = fleet.servers.map(({ url }) => new Api(url)) as [Api, Api];
  admin = fleet.admin();
});

afterAll(async () => {
  await fleet.stop();
});

/** A user with a key whose calls of api1 are all denied by a quota. */
interface Owner {
  user: Account;
  as: Api;
  key: Key;
}

async function createOwner(fields: Record<string, unknown> = {}): Promise<Owner> {
  const user = await api.createUser();
  const limits = [{ meter: 'api:api1', window: 'day', limit: 0 }];
  const key = await api.as(user).createKey({ scopes: ['api1', 'api2', 'nothing'], limits, ...fields });
  return { user, as: api.as(user), key };
}

/** Calls with a request id of its own. */
async function call(slug: string, key: { key: string }, headers: Record<string, string> = {}): Promise<Answer> {
  return api.call(slug, key, { headers: { 'x-request-id': uniqueName(), ...headers } });
}

async function listOf(as: Api, query = ''): Promise<any[]> {
  const answer = await as.get(`/v1/metrics/refusals${query}`);
  expect(answer.status).toBe(200);
  return answer.body.data;
}

const idOf = ({ headers }: Answer): string => headers.get('x-request-id')!;

describe('GET /v1/metrics/refusals', () => {
  test.concurrent('a call over a quota: the limits of the response', async () => {
    const { as, key } = await createOwner();
    const refused = await call('api1', key);
    expectProblem(refused, 429, 'quota_exceeded');
    expect(await listOf(as)).toEqual([
      {
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        requestId: idOf(refused),
        keyId: key.id,
        api: 'api1',
        code: 'quota_exceeded',
        violated: refused.body.violated,
        limits: refused.body.limits,
      },
    ]);
    expect(refused.body.violated).toHaveLength(1);
  });

  test.concurrent('every reason, newest first; granted calls and unknown keys are left out', async () => {
    const { user, as, key } = await createOwner();
    const wanted: [code: string, api: string | null, id: string][] = [];
    const expectRefused = (answer: Answer, status: number, code: string, slug: string | null): void => {
      expectProblem(answer, status, code);
      wanted.unshift([code, slug, idOf(answer)]);
    };
    expect((await call('api2', key)).status).toBe(200);
    expectProblem(await call('api1', { key: `${key.key.slice(0, -6)}000000` }), 401, 'invalid_api_key');
    expectRefused(await call('api1', key), 429, 'quota_exceeded', 'api1');
    expectRefused(await call('api3', key), 403, 'scope_denied', 'api3');
    expectRefused(await call('nothing', key), 404, 'not_found', 'nothing');
    expectRefused(await call('No-Slug', key), 404, 'not_found', null);
    const old = { key: key.key };
    key.key = (await as.post(`/v1/keys/${key.id}/rotate`, { graceSeconds: 60 })).body.key;
    await fleet.query(`UPDATE api_key_secrets SET retires_at = now() WHERE key_id = $1 AND retires_at IS NOT NULL`, [
      key.id,
    ]);
    expectRefused(await call('api2', old), 401, 'invalid_api_key', 'api2');
    await admin.patch(`/v1/users/${user.id}`, { status: 'disabled' });
    expectRefused(await call('api2', key), 403, 'account_disabled', 'api2');
    await admin.patch(`/v1/users/${user.id}`, { status: 'active' });
    const found = await listOf(as);
    expect(found.map(({ code, api: slug, requestId }) => [code, slug, requestId])).toEqual(wanted);
    expect(new Set(found.map(({ keyId }) => keyId))).toEqual(new Set([key.id]));
    const others = found.filter(({ code }) => code !== 'quota_exceeded');
    expect(others.flatMap(({ violated, limits }) => [...violated, ...limits])).toEqual([]);
  });

  test.concurrent('calls with an Idempotency-Key: each refusal once', async () => {
    const { as, key } = await createOwner();
    const headers = { 'idempotency-key': randomUUID() };
    const refused = [
      await call('api1', key, headers),
      await call('api1', key, headers),
      await call('api3', key, headers),
    ];
    expect((await listOf(as)).map(({ requestId }) => requestId)).toEqual(refused.map(idOf).reverse());
  });

  test.concurrent('POST /v1/verify: refusals, but no dry runs', async () => {
    const { as, key } = await createOwner({ limits: [{ meter: 'api:api1', window: 'day', limit: 2 }] });
    const verify = (body: object): Promise<Answer> =>
      api.post('/v1/verify', { key: key.key, api: 'api1', ...body }, { headers: { 'x-request-id': uniqueName() } });
    expect((await verify({ cost: 1 })).body.allowed).toBe(true);
    expect((await verify({ cost: 2, dryRun: true })).body.code).toBe('quota_exceeded');
    const refused = await verify({ cost: 2 });
    expect(refused.body).toMatchObject({ code: 'quota_exceeded', limits: [{ limit: 2, used: 1, remaining: 1 }] });
    const unknown = await verify({ api: 'nothing' });
    expectProblem(unknown, 404, 'not_found');
    const found = await listOf(as);
    expect(found.map(({ requestId }) => requestId)).toEqual([idOf(unknown), idOf(refused)]);
    expect(found[1]).toMatchObject({ violated: refused.body.limits, limits: refused.body.limits });
  });

  test.concurrent('requestId and api: only the matching refusals', async () => {
    const { as, key } = await createOwner();
    const [first, second] = [await call('api1', key), await call('api3', key)];
    const idsOf = async (query: string): Promise<string[]> =>
      (await listOf(as, query)).map(({ requestId }) => requestId);
    expect(await idsOf(`?requestId=${idOf(first)}`)).toEqual([idOf(first)]);
    expect(await idsOf('?api=api3')).toEqual([idOf(second)]);
    expect(await idsOf(`?api=api1&requestId=${idOf(first)}`)).toEqual([idOf(first)]);
    expect(await idsOf(`?api=api3&requestId=${idOf(first)}`)).toEqual([]);
    // Clients may send one id twice.
    const again = await call('api3', key, { 'x-request-id': idOf(first) });
    expect(await idsOf(`?requestId=${idOf(first)}`)).toEqual([idOf(again), idOf(first)]);
  });

  test.concurrent('pages: each refusal once', async () => {
    const { as, key } = await createOwner();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift(idOf(await call('api1', key)));
    const seen: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const { body }: Answer = await as.get(`/v1/metrics/refusals?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
      seen.push(...body.data.map(({ requestId }: any) => requestId));
      cursor = body.nextCursor;
      if (cursor !== null) {
        expectProblem(await as.get(`/v1/metrics/refusals?api=api1&cursor=${cursor}`), 400, 'validation_failed');
      }
    }
    expect(seen).toEqual(ids);
  });

  test.concurrent('an administrator: by user, and by request id over all users', async () => {
    const { user, key } = await createOwner();
    const refused = await call('api1', key);
    for (const name of [user.id, user.username]) expect(await listOf(admin, `?user=${name}`)).toHaveLength(1);
    const [found] = await listOf(admin, `?user=*&requestId=${idOf(refused)}`);
    expect(found).toMatchObject({ requestId: idOf(refused), keyId: key.id });
    expect(await listOf(admin, `?requestId=${idOf(refused)}`)).toEqual([]);
    const all = await admin.get('/v1/metrics/refusals?user=*');
    expectProblem(all, 400, 'validation_failed');
    expect(all.body.errors).toEqual([{ pointer: '/requestId', detail: 'is required with user=*' }]);
    expectProblem(await admin.get(`/v1/metrics/refusals?user=${randomUUID()}`), 404, 'not_found');
  });

  test.concurrent('another user: own refusals only, otherwise 403; without a token 401; bad input 400', async () => {
    const [{ user, key }, stranger] = await Promise.all([createOwner(), createOwner()]);
    const refused = await call('api1', key);
    expect(await listOf(stranger.as, `?requestId=${idOf(refused)}`)).toEqual([]);
    expect(await listOf(stranger.as, '?user=me')).toEqual([]);
    for (const name of [user.id, user.username, '*', randomUUID()]) {
      const answer = await stranger.as.get(`/v1/metrics/refusals?user=${name}&requestId=${idOf(refused)}`);
      expectProblem(answer, 403, 'forbidden');
    }
    expectProblem(await api.get('/v1/metrics/refusals'), 401, 'unauthenticated');
    for (const query of ['limit=0', 'cursor=x', 'requestId=', `api=${'x'.repeat(65)}`, 'code=ok', 'user=']) {
      expectProblem(await stranger.as.get(`/v1/metrics/refusals?${query}`), 400, 'validation_failed');
    }
  });

  test.concurrent('from another process: after its next flush', async () => {
    const { as, key } = await createOwner();
    const refused = await other.call('api1', key);
    await until(async () => (await listOf(as)).length === 1);
    expect((await listOf(as))[0].requestId).toBe(idOf(refused));
  });

  test.concurrent(
    'of a deleted user: deleted, and an unwritten one does not keep others from being written',
    async () => {
      const [gone, { as, key }] = await Promise.all([createOwner(), createOwner()]);
      await call('api1', gone.key);
      expect(await listOf(gone.as)).toHaveLength(1);
      await call('api1', gone.key);
      await call('api1', key);
      // Deletes in SQL: a request to the API could flush the refusals first.
      await fleet.query('DELETE FROM users WHERE id = $1', [gone.user.id]);
      expect(await listOf(as)).toHaveLength(1);
      expect(await fleet.query('SELECT FROM refusals WHERE owner_id = $1', [gone.user.id])).toEqual([]);
    },
  );
});

describe('Storage of refusals', () => {
  const countOf = async ({ user }: Owner): Promise<number> => {
    const [{ count }] = await fleet.query('SELECT count(*)::int AS count FROM refusals WHERE owner_id = $1', [user.id]);
    return count;
  };

  /** Inserts older refusals of an owner. */
  const insert = ({ user, key }: Owner, count: number, age: string): Promise<any[]> =>
    fleet.query(
      `INSERT INTO refusals SELECT $1, overlay(gen_random_uuid()::text PLACING '00000000' FROM 1 FOR 8)::uuid,
         now() - $3::interval, 'old', $2, 'api1', 'quota_exceeded', 1, '[]' FROM generate_series(1, $4::int)`,
      [user.id, key.id, age, count],
    );

  test.concurrent('of each owner the last thousand stay', async () => {
    const [owner, bystander] = [await createOwner(), await createOwner()];
    await Promise.all([insert(owner, 3_000, '1 hour'), insert(bystander, 1_500, '1 hour')]);
    await call('api1', bystander.key);
    let left = 3_000;
    for (let i = 0; i < 40 && left >= 3_000; i++) {
      await Promise.all(Array.from({ length: 20 }, () => call('api1', owner.key)));
      await listOf(owner.as);
      left = await countOf(owner);
    }
    expect(left).toBeGreaterThanOrEqual(1_000);
    expect(left).toBeLessThanOrEqual(1_050);
    expect(await countOf(bystander)).toBe(1_501);
    expect((await listOf(owner.as, '?limit=1'))[0].requestId).not.toBe('old');
  });

  test.concurrent(
    'a server stop: writes the last refusals; a start: deletes those that are older than a day',
    async () => {
      const owner = await createOwner();
      await insert(owner, 6_000, '25 hours');
      await insert(owner, 7, '23 hours');
      const server = await TestServer.start({ DATABASE_URL: fleet.url });
      expectProblem(await new Api(server.url).call('api1', owner.key), 429, 'quota_exceeded');
      await until(async () => (await countOf(owner)) < 100);
      expect(await server.stop()).toBe(0);
      expect(await countOf(owner)).toBe(8);
    },
  );
});
