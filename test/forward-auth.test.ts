import {
  expectProblem,
  inOne,
  sharedApi,
  uniqueName,
  type Account,
  type Answer,
  type Api,
  type Key,
} from './support/api.js';
import { Fleet, outcomeOf, tally } from './support/fleet.js';
import { load, write, type Reply } from './support/load.js';
import { TestServer } from './support/server.js';
import { Wire } from './support/wire.js';

const api = sharedApi();

const PATH = '/v1/forward-auth';

let admin: Api;
let user: Account;
let mine: Api;
let key: Key;

beforeAll(async () => {
  [admin, user] = await Promise.all([api.admin(), api.createUser()]);
  mine = api.as(user);
  key = await mine.createKey();
});

/** Asks as a gateway for a request with the key. */
function ask(query: string, { key: sent }: { key: string }, headers: Record<string, string> = {}): Promise<Answer> {
  return api.get(`${PATH}${query}`, { headers: { 'x-api-key': sent, ...headers } });
}

function expectDenied(answer: Answer, status: number, code: string): void {
  expectProblem(answer, status, code);
  expect(answer.headers.get('x-quartermaster-code')).toBe(code);
  expect(answer.headers.get('x-quartermaster-owner')).toBeNull();
}

function expectGranted(answer: Answer): void {
  expect(answer).toMatchObject({ status: 200, text: '' });
  expect(answer.headers.get('x-quartermaster-code')).toBeNull();
}

/** Lifetime units of an API that the user has spent. */
async function usedOf(slug: string): Promise<number> {
  const { body } = await mine.get('/v1/users/me/quotas');
  return body.data.find((quota: any) => quota.meter === `api:${slug}` && quota.window === 'lifetime')?.used ?? 0;
}

describe('/v1/forward-auth', () => {
  test('any method: 200 without a body, and one unit each', async () => {
    const slug = await api.createApi();
    const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
    for (const method of methods) {
      const headers = { authorization: `Bearer ${key.key}` };
      const answer = await api.send(method, `${PATH}?api=${slug}`, undefined, { headers });
      expectGranted(answer);
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        'cache-control': 'no-store',
        'x-quartermaster-owner': user.id,
        'x-quartermaster-key': key.id,
      });
      expect(answer.headers.get('content-type')).toBeNull();
    }
    expect(await usedOf(slug)).toBe(methods.length);
  });

  test('cost: spends that many units, wholly or not at all, and RateLimit shows what is left', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 10 }] });
    const granted = await ask(`?api=${slug}&cost=7`, own);
    expectGranted(granted);
    expect(granted.headers.get('ratelimit-policy')).toBe('"lifetime";q=10');
    expect(granted.headers.get('ratelimit')).toBe('"lifetime";r=3');
    const refused = await ask(`?api=${slug}&cost=4`, own);
    expectDenied(refused, 429, 'quota_exceeded');
    expect(refused.headers.get('ratelimit')).toBe('"lifetime";r=3');
    expect(refused.body).toMatchObject({ violated: [{ scope: 'key', limit: 10, used: 7, remaining: 3 }] });
    expectGranted(await ask(`?api=${slug}&cost=3`, own));
  });

  test.each([401, 403])('denyStatus=%d: replaces 429 only, in the status and the body', (denyStatus) =>
    inOne('hour', async () => {
      const slug = await api.createApi();
      const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, window: 'hour', limit: 0 }] });
      const query = (of: string): string => `?api=${of}&denyStatus=${String(denyStatus)}`;
      const answer = await ask(query(slug), own);
      expectDenied(answer, denyStatus, 'quota_exceeded');
      // A limit of 0 never grants anything, so waiting does not help.
      expect(answer.headers.get('retry-after')).toBeNull();
      await admin.put(`/v1/keys/${own.id}/quotas/api:${slug}`, { limit: 1, window: 'hour' });
      expectGranted(await ask(query(slug), own));
      const waiting = await ask(query(slug), own);
      expectDenied(waiting, denyStatus, 'quota_exceeded');
      expect(Number(waiting.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(waiting.headers.get('ratelimit')).toMatch(/^"hour";r=0;t=\d+$/);
      expect(waiting.headers.get('www-authenticate')).toBe(denyStatus === 401 ? 'Bearer realm="quartermaster"' : null);
      expectDenied(await ask(query('nosuchapi'), own), 404, 'not_found');
      expectDenied(await api.get(PATH + query(slug)), 401, 'unauthenticated');
    }),
  );

  test('a missing, malformed, unknown, revoked or expired key, or two keys: 401', async () => {
    const query = `${PATH}?api=api1`;
    expectDenied(await api.get(query), 401, 'unauthenticated');
    const revoked = await mine.createKey();
    expectGranted(await ask('?api=api1', revoked));
    await mine.delete(`/v1/keys/${revoked.id}`);
    const unknown = revoked.key;
    for (const each of [unknown, `${key.key}0`, 'garbage', user.accessToken]) {
      expectDenied(await ask('?api=api1', { key: each }), 401, 'invalid_api_key');
    }
    const headers = { 'x-api-key': key.key, authorization: `Bearer ${(await mine.createKey()).key}` };
    expectDenied(await api.get(query, { headers }), 401, 'invalid_api_key');
    expectGranted(await ask('?api=api1', key, { authorization: `Bearer ${key.key}` }));
  });

  test('a disabled account: 403, also for the next request after the change', async () => {
    const owner = await api.createUser();
    const own = await api.as(owner).createKey();
    expectGranted(await ask('?api=api1', own));
    await admin.patch(`/v1/users/${owner.id}`, { status: 'disabled' });
    expectDenied(await ask('?api=api1', own), 403, 'account_disabled');
  });

  test('an API that is missing, unknown or removed, or outside the scopes: 400, 404 or 403', async () => {
    const missing = await ask('', key);
    expectDenied(missing, 400, 'validation_failed');
    expect(missing.body.errors).toMatchObject([{ pointer: '/api' }]);
    for (const slug of ['', 'nosuchapi', 'API1', 'api*', '*', '%00', "'"]) {
      expectDenied(await ask(`?api=${slug}`, key), 404, 'not_found');
    }
    const slug = await api.createApi();
    expectGranted(await ask(`?api=${slug}`, key));
    await admin.delete(`/v1/apis/${slug}`);
    expectDenied(await ask(`?api=${slug}`, key), 404, 'not_found');
    const narrow = await mine.createKey({ scopes: ['api2'] });
    expectDenied(await ask('?api=api1', narrow), 403, 'scope_denied');
    expectGranted(await ask('?api=api2', narrow));
  });

  test('X-Quartermaster-Api names the API if the query does not', async () => {
    const slug = await api.createApi();
    expectGranted(await ask('', key, { 'x-quartermaster-api': slug }));
    expectGranted(await ask(`?api=${slug}`, key, { 'x-quartermaster-api': 'api1' }));
    expect(await usedOf(slug)).toBe(2);
    expectDenied(await ask('', key, { 'x-quartermaster-api': 'nosuchapi' }), 404, 'not_found');
  });

  test.each([
    ...['cost=0', 'cost=-1', 'cost=1.5', 'cost=1e3', 'cost=', 'cost=0x10', 'cost=1000000001', 'cost=1&cost=1'],
    ...['denyStatus=200', 'denyStatus=429', 'denyStatus=', 'api=api1', 'key=qm_x', 'cost=%ff', 'toString=1'],
  ])('an invalid query, %s: 400, and nothing is spent', async (parameter) => {
    const slug = await api.createApi();
    const answer = await ask(`?api=${slug}&${parameter}`, key);
    expectDenied(answer, 400, 'validation_failed');
    expect(answer.body.errors).toHaveLength(1);
    expect(await usedOf(slug)).toBe(0);
  });

  test('limits of the platform and of the plan apply', async () => {
    const slug = await api.createApi();
    await admin.put(`/v1/platform/quotas/api:${slug}`, { limit: 1 });
    expectGranted(await ask(`?api=${slug}`, key));
    const refused = await ask(`?api=${slug}`, key);
    expectDenied(refused, 429, 'quota_exceeded');
    expect(refused.body.violated).toMatchObject([{ scope: 'platform' }]);
    const plan = await api.createPlan([{ meter: `api:*`, limit: 0, window: 'lifetime' }]);
    const own = await api.as(await api.createUser({ plan })).createKey();
    const planned = await ask('?api=api1', own);
    expectDenied(planned, 429, 'quota_exceeded');
    expect(planned.body.violated).toMatchObject([{ scope: 'plan' }]);
  });

  test('the path and query below are of the client: only X-Quartermaster-Api counts', async () => {
    const slug = await api.createApi();
    const paths = ['/', '/a/b', `/a?api=api1&cost=0&denyStatus=401`, '/a?%ff', '/a%2F..%2Fb', '//', '/livez'];
    for (const path of paths) {
      const url = `${PATH}${path}`;
      expectGranted(await api.get(url, { headers: { 'x-api-key': key.key, 'x-quartermaster-api': slug } }));
    }
    expect(await usedOf(slug)).toBe(paths.length);
    expectDenied(await api.get(`${PATH}/a?api=api1`, { headers: { 'x-api-key': key.key } }), 400, 'validation_failed');
  });

  test('a body of any type and size is ignored', async () => {
    for (const [type, raw] of [
      ['garbage', 'x'],
      ['application/json', '{"broken'],
      ['text/plain', 'x'.repeat(2_000_000)],
    ] as const) {
      const headers = { 'x-api-key': key.key, 'content-type': type };
      expectGranted(await api.post(`${PATH}?api=api1`, undefined, { headers, raw }));
    }
  });

  test.each<[string, number, (sent: Key) => string]>([
    ['granted', 200, (own) => own.key],
    ['denied', 401, (own) => `${own.key}0`],
    ['malformed', 401, () => 'x'],
  ])('Content-Length without a body, %s: answered, and the connection closed', async (_case, status, keyOf) => {
    for (const method of ['GET', 'POST']) {
      const headers = { host: 'x', 'x-api-key': keyOf(key), 'content-type': 'text/plain', 'content-length': '100' };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      const wire = new Wire(api.url, `${method} ${PATH}?api=api1 HTTP/1.1\r\n${lines.join('')}\r\n`);
      await wire.over;
      expect(wire.statuses).toEqual([status]);
      expect(wire.text.toLowerCase()).toContain('\r\nconnection: close\r\n');
    }
  });

  test('the log has the key and its owner', async () => {
    const server = await TestServer.start({ DATABASE_URL: process.env.TEST_SERVER_DATABASE!, LOG_LEVEL: 'debug' });
    const id = uniqueName();
    const headers = { 'x-api-key': key.key, 'x-request-id': id };
    await (await fetch(`${server.url}${PATH}?api=api1`, { headers })).text();
    await server.stop();
    const line = server.output.split('\n').find((each) => each.includes(id))!;
    expect(JSON.parse(line)).toMatchObject({ path: PATH, status: 200, key: key.id, owner: user.id });
    expect(line).not.toContain(key.key);
  });

  test('a preflight of the client, with CORS configured: needs a key', async () => {
    const server = await TestServer.start({ DATABASE_URL: process.env.TEST_SERVER_DATABASE!, CORS_ORIGINS: '*' });
    const headers = { origin: 'https://app.example', 'access-control-request-method': 'GET' };
    for (const path of [`${PATH}?api=api1`, `${PATH}/below`]) {
      const answer = await fetch(server.url + path, { method: 'OPTIONS', headers });
      expect(answer.status).toBe(path.includes('?') ? 401 : 400);
      await answer.text();
    }
    await server.stop();
  });
});

describe('/v1/forward-auth with an Idempotency-Key', () => {
  test('a repetition costs nothing; another URI or method of the client: 422', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 5 }] });
    const forward = (method: string, uri: string): Promise<Answer> => {
      const headers = { 'idempotency-key': 'once', 'x-forwarded-method': method, 'x-forwarded-uri': uri };
      return ask(`?api=${slug}&cost=2`, own, headers);
    };
    const first = await forward('POST', '/orders');
    expectGranted(first);
    const again = await forward('POST', '/orders');
    expectGranted(again);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    for (const name of ['ratelimit', 'ratelimit-policy', 'x-quartermaster-owner', 'x-quartermaster-key']) {
      expect(again.headers.get(name)).toBe(first.headers.get(name));
    }
    expectDenied(await forward('POST', '/other'), 422, 'idempotency_key_reused');
    expectDenied(await forward('DELETE', '/orders'), 422, 'idempotency_key_reused');
    expect(await usedOf(slug)).toBe(2);
  });

  test('a revoked key gets no stored response, and a denial is not stored', async () => {
    const slug = await api.createApi({ answer: null });
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 0 }] });
    const repeat = (): Promise<Answer> => ask(`?api=${slug}`, own, { 'idempotency-key': 'again' });
    expectDenied(await repeat(), 429, 'quota_exceeded');
    await admin.put(`/v1/keys/${own.id}/quotas/api:${slug}`, { limit: 1 });
    expectGranted(await repeat());
    expectGranted(await repeat());
    expectDenied(await ask(`?api=${slug}`, own), 429, 'quota_exceeded');
    await mine.delete(`/v1/keys/${own.id}`);
    expectDenied(await repeat(), 401, 'invalid_api_key');
  });

  test('20 at once: one unit', async () => {
    const slug = await api.createApi();
    const many = await Promise.all(
      Array.from({ length: 20 }, () => ask(`?api=${slug}`, key, { 'idempotency-key': slug })),
    );
    const outcomes = tally(many.map(({ status }) => String(status)));
    expect(Object.keys(outcomes).filter((status) => !['200', '409'].includes(status))).toEqual([]);
    expect(await usedOf(slug)).toBe(1);
  });
});

test('300 at once on two servers against a limit of 100: exactly 100 are granted', async () => {
  const fleet = await Fleet.start(2);
  const owner = await fleet.makeUser();
  await fleet.setQuota(owner, 'api:api1', 100);
  const keys = [await fleet.makeKey(owner), await fleet.makeKey(owner)];
  const left = fleet.servers.map(() => 150);
  const outcomes: string[] = [];
  await load(fleet.servers, 150, (server) => {
    if (left[server]!-- <= 0) return undefined;
    const { key: sent } = keys[left[server]! % 2]!;
    const heard = (reply: Reply): void => {
      outcomes.push(reply.text === '' && reply.status === 200 ? 'ok' : outcomeOf(reply));
    };
    return { text: write('GET', `${PATH}?api=api1`, { 'x-api-key': sent }), heard };
  });
  expect(tally(outcomes)).toEqual({ ok: 100, quota_exceeded: 200 });
  expect(await fleet.counter(owner, 'api:api1')).toBe(100);
  expect(await fleet.ledger(owner)).toEqual({ granted: 100, denied: 200 });
  await fleet.stop();
});
