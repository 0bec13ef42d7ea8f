import { once } from 'node:events';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import {
  expectProblem,
  inOne,
  inOneMinute,
  sendExactly,
  sharedApi,
  uniqueName,
  type Account,
  type Answer,
  type Api,
  type Key,
} from './support/api.js';
import { OtherServer } from './support/other-server.js';

const api = sharedApi();

let admin: Api;
let user: Account;
let mine: Api;
let key: Key;

beforeAll(async () => {
  [admin, user] = await Promise.all([api.admin(), api.createUser()]);
  mine = api.as(user);
  key = await mine.createKey();
});

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  expect(answer.body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
}

/** Sends a chunked body, with no Content-Type unless `headers` has one. */
async function sendParts(
  method: string,
  path: string,
  headers: Record<string, string>,
  parts: string[],
): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(api.url);
  const sent = request({ hostname, port, method, path, headers, agent: false });
  sent.setHeader('transfer-encoding', 'chunked');
  for (const part of parts) sent.write(part);
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += String(chunk);
  return { status: response.statusCode ?? 0, text };
}

/** Lifetime usage of a meter by a user. */
async function usedOf(meter: string, as: Api = mine): Promise<number> {
  const { body } = await as.get('/v1/users/me/quotas');
  return body.data.find((quota: any) => quota.meter === meter && quota.window === 'lifetime').used;
}

describe('API catalogue', () => {
  test('GET /v1/apis/{slug} on a new platform: every user reads api1, api2 and api3', async () => {
    for (const [slug, name] of [
      ['api1', 'API 1'],
      ['api2', 'API 2'],
      ['api3', 'API 3'],
    ]) {
      const expected = { slug, name, answer: slug?.toUpperCase() };
      const times = { createdAt: expect.any(String), updatedAt: expect.any(String) };
      expect((await mine.get(`/v1/apis/${slug}`)).body).toEqual({ ...expected, ...times });
      expect((await admin.get(`/v1/apis/${slug}`)).body).toEqual({ ...expected, ...times, upstream: null });
      expect((await api.call(slug ?? '', key)).body).toBe(slug?.toUpperCase());
    }
  });

  test('POST, PATCH and DELETE /v1/apis as an administrator: creates, changes and deletes an API', async () => {
    const slug = uniqueName();
    const made = await admin.post('/v1/apis', { slug, name: 'Maps', answer: 'MAPS' });
    expect(made.status).toBe(201);
    const times = { createdAt: expect.any(String), updatedAt: expect.any(String) };
    expect(made.body).toEqual({ slug, name: 'Maps', answer: 'MAPS', upstream: null, ...times });
    expect((await admin.get(`/v1/apis/${slug}`)).body).toEqual(made.body);
    expectProblem(await admin.post('/v1/apis', { slug, name: 'Other' }), 409, 'slug_taken');
    expect((await api.call(slug, key)).body).toBe('MAPS');

    const changed = await admin.patch(`/v1/apis/${slug}`, { answer: 'NEW', name: 'New' });
    expect(changed.body).toEqual({ ...made.body, answer: 'NEW', name: 'New', updatedAt: expect.any(String) });
    expect((await api.call(slug, key)).body).toBe('NEW');
    expect((await admin.patch(`/v1/apis/${slug}`, {})).body).toMatchObject({ answer: 'NEW', name: 'New' });
    expect((await admin.patch(`/v1/apis/${slug}`, { answer: null })).body.answer).toBeNull();
    expect(await api.call(slug, key)).toMatchObject({ status: 200, body: '' });

    expect((await admin.delete(`/v1/apis/${slug}`)).status).toBe(204);
    expectProblem(await api.call(slug, key), 404, 'not_found');
    expectProblem(await admin.get(`/v1/apis/${slug}`), 404, 'not_found');
    expectProblem(await admin.delete(`/v1/apis/${slug}`), 404, 'not_found');
    expectProblem(await admin.patch(`/v1/apis/${slug}`, { name: 'x' }), 404, 'not_found');
    // Usage stays on record after the deletion, and counting continues for a new API with the same slug.
    await admin.post('/v1/apis', { slug, name: 'Maps' });
    expect(await usedOf(`api:${slug}`)).toBe(3);
  });

  test('POST, PATCH and DELETE /v1/apis as a user: 403; GET: 200', async () => {
    const slug = await api.createApi();
    const stranger = api.as(await api.createUser());
    expect((await stranger.get(`/v1/apis/${slug}`)).status).toBe(200);
    expectProblem(await stranger.post('/v1/apis', { slug: uniqueName(), name: 'x' }), 403, 'forbidden');
    expectProblem(await stranger.patch(`/v1/apis/${slug}`, { name: 'x' }), 403, 'forbidden');
    expectProblem(await stranger.delete(`/v1/apis/${slug}`), 403, 'forbidden');
    expect((await admin.get(`/v1/apis/${slug}`)).body.name).toBe(slug);
  });

  test('GET /v1/apis with cursors: every API once, newest first', async () => {
    const made = [await api.createApi(), await api.createApi(), await api.createApi()].reverse();
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const { body, headers } = await mine.get(`/v1/apis?limit=40${cursor && `&cursor=${cursor}`}`);
      seen.push(...body.data.map(({ slug }: { slug: string }) => slug));
      cursor = body.nextCursor;
      expect(headers.get('link')?.includes('rel="next"') ?? false).toBe(cursor !== null);
    }
    expect(seen.filter((slug) => made.includes(slug))).toEqual(made);
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toEqual(expect.arrayContaining(['api1', 'api2', 'api3']));
    expect(seen.indexOf('api1')).toBeGreaterThan(seen.indexOf(made[2]!));
  });

  test('GET /v1/apis: shows `upstream` to administrators only', async () => {
    const slug = await api.createApi({ upstream: 'http://127.0.0.1:9/hidden' });
    expect((await admin.get(`/v1/apis/${slug}`)).body.upstream).toBe('http://127.0.0.1:9/hidden');
    for (const path of [`/v1/apis/${slug}`, '/v1/apis']) expect((await mine.get(path)).text).not.toContain('hidden');
  });

  test.each([
    ['slug', ''],
    ['slug', 'API'],
    ['slug', 'a_b'],
    ['slug', '-a'],
    ['slug', 'a-'],
    ['slug', '*'],
    ['slug', 'a/b'],
    ['slug', '..'],
    ['slug', 'a'.repeat(65)],
    ['slug', null],
    ['slug', 7],
    ['name', ''],
    ['name', null],
    ['name', 'x'.repeat(101)],
    ['name', 'a\u0000'],
    ['answer', 7],
    ['answer', '\u0000'],
    ['answer', 'x'.repeat(65_537)],
    ['upstream', ''],
    ['upstream', 'ftp://127.0.0.1'],
    ['upstream', 'file:///etc/passwd'],
    ['upstream', 'javascript:alert(1)'],
    ['upstream', '127.0.0.1:80'],
    ['upstream', 'http://user:word@127.0.0.1'],
    ['upstream', 'http://127.0.0.1/?x=1'],
    ['upstream', 'http://127.0.0.1/#x'],
    ['upstream', `http://127.0.0.1/${'x'.repeat(2_048)}`],
    ['limits', []],
  ])('POST and PATCH /v1/apis with an invalid %s, %p: 400, and nothing is stored', async (field, value) => {
    const slug = uniqueName();
    expectField(await admin.post('/v1/apis', { slug, name: 'x', [field]: value }), `/${field}`);
    expectProblem(await admin.get(`/v1/apis/${slug}`), 404, 'not_found');
    const known = await api.createApi({ answer: null });
    expectField(await admin.patch(`/v1/apis/${known}`, { [field]: value }), `/${field}`);
    expect((await admin.get(`/v1/apis/${known}`)).body).toMatchObject({ name: known, answer: null, upstream: null });
  });

  test('POST and PATCH /v1/apis with `answer` and `upstream`, or PATCH of the slug: 400', async () => {
    const slug = await api.createApi();
    const upstream = 'http://127.0.0.1:9';
    const both = { slug: uniqueName(), name: 'x', answer: 'x', upstream };
    expectField(await admin.post('/v1/apis', both), '/upstream');
    expectField(await admin.patch(`/v1/apis/${slug}`, { upstream }), '/upstream');
    expectField(await admin.patch(`/v1/apis/${slug}`, { slug: uniqueName() }), '/slug');
    expect((await admin.get(`/v1/apis/${slug}`)).body).toMatchObject({ answer: slug, upstream: null });
    expect((await admin.patch(`/v1/apis/${slug}`, { upstream, answer: null })).body).toMatchObject({ upstream });
  });
});

describe('/call/{slug}', () => {
  test('any method and any path below the slug: 200 with the text of the API, one unit each', async () => {
    const slug = await api.createApi({ answer: 'ÄPI ✓' });
    const headers = { 'x-api-key': key.key };
    const paths = ['', '/', '/below', '/below/it?x=1', '?x=1&y=%20', '/a%2Fb', '//', '/x'.repeat(50)];
    const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'];
    const calls = [...paths.map((path) => ['GET', path]), ...methods.map((method) => [method, ''])] as const;
    for (const [method = '', path = ''] of calls) {
      const answer = await api.send(method, `/call/${slug}${path}`, undefined, { headers });
      expect({ method, path, status: answer.status, text: answer.text }).toEqual({
        ...{ method, path },
        ...{ status: 200, text: method === 'HEAD' ? '' : 'ÄPI ✓' },
      });
      expect(answer.headers.get('content-type')).toBe('text/plain; charset=utf-8');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('cache-control')).toBe('no-store');
    }
    expect(await usedOf(`api:${slug}`)).toBe(calls.length);
  });

  test('a body of any media type, also malformed: 200', async () => {
    for (const [type, raw] of [
      ['application/json', '{"broken'],
      ['text/plain', 'x'.repeat(2_000_000)],
      ['application/xml', '<x/>'],
    ] as const) {
      const headers = { 'x-api-key': key.key, 'content-type': type };
      expect((await api.post('/call/api1', undefined, { headers, raw })).text).toBe('API1');
    }
    expect((await sendParts('POST', '/call/api1', { 'x-api-key': key.key }, ['x'])).text).toBe('API1');
    expect((await sendParts('GET', '/call/api1', { 'x-api-key': key.key }, ['x'])).text).toBe('API1');
  });

  test('an invalid Content-Type: 415 as a problem', async () => {
    const headers = { 'x-api-key': key.key, 'content-type': 'garbage' };
    const answer = await api.post('/call/api1', undefined, { headers, raw: 'x' });
    expectProblem(answer, 415, 'unsupported_media_type');
  });

  test('401 without a key, 404 for an unknown slug, 405 for TRACE', async () => {
    const withoutKey = await api.get('/call/api1');
    expectProblem(withoutKey, 401, 'unauthenticated');
    expect(withoutKey.body).toMatchObject({
      title: 'No credentials were sent',
      detail: 'Send an API key as Authorization: Bearer or X-API-Key.',
    });
    expectProblem(await api.get('/call/nosuchapi'), 401, 'unauthenticated');
    const withToken = await mine.get('/call/api1');
    expectProblem(withToken, 401, 'invalid_api_key');
    expect(withToken.body.detail).toBe('This is an access token. Send an API key, which begins with qm_.');
    const withoutBearer = await api.get('/call/api1', { headers: { authorization: key.key } });
    expectProblem(withoutBearer, 401, 'invalid_api_key');
    expect(withoutBearer.body.detail).toMatch(/^Write Bearer before the key/);
    for (const slug of ['nosuchapi', 'API1', 'api1%20', 'api*', '*', '%00', 'a'.repeat(65), "'", 'api1%2Fx', '..%2F']) {
      expectProblem(await api.call(slug, key), 404, 'not_found');
    }
    for (const path of ['/call', '/call/', '/call?x']) {
      expectProblem(await api.get(path, { headers: { 'x-api-key': key.key } }), 404, 'not_found');
    }
    expectProblem(await sendExactly(api, 'TRACE', '/call/api1', { 'x-api-key': key.key }), 405, 'method_not_allowed');
  });

  test('a key, user or plan limit that is used up: 429 that names the limit', () =>
    inOne('day', async () => {
      const slug = await api.createApi();
      const meter = `api:${slug}`;
      const owner = await api.createUser({
        plan: await api.createPlan([{ meter: 'api:*', limit: 4, window: 'month' }]),
      });
      await admin.put(`/v1/users/${owner.id}/quotas/${meter}`, { limit: 3, window: 'day' });
      const own = await api.as(owner).createKey({ limits: [{ meter, limit: 2 }] });
      for (let i = 0; i < 2; i++) expect((await api.call(slug, own)).status).toBe(200);
      const refused = await api.call(slug, own);
      expectProblem(refused, 429, 'quota_exceeded');
      const resetsAt = expect.stringMatching(/^\d{4}-\d\d-\d\dT00:00:00\.000Z$/);
      const judged = [
        { scope: 'key', meter, window: 'lifetime', limit: 2, used: 2, remaining: 0, resetsAt: null },
        { scope: 'user', meter, window: 'day', limit: 3, used: 2, remaining: 1, resetsAt },
        { scope: 'plan', meter: 'api:*', window: 'month', limit: 4, used: 2, remaining: 2, resetsAt },
      ];
      expect(refused.body.violated).toEqual([judged[0]]);
      expect(refused.body.limits).toHaveLength(3);
      expect(refused.body.limits).toEqual(expect.arrayContaining(judged));
      const other = await api.as(owner).createKey();
      expect((await api.call(slug, other)).status).toBe(200);
      expect((await api.call(slug, other)).body.violated).toMatchObject([{ scope: 'user', window: 'day', used: 3 }]);
      expect((await api.call('api1', other)).status).toBe(200);
      expect((await api.call('api1', other)).body.violated).toMatchObject([
        { scope: 'plan', window: 'month', used: 4 },
      ]);
      // Rejected calls are not counted in any meter.
      expect(await usedOf('api:*', api.as(owner))).toBe(4);
    }));

  test('300 concurrent calls with a limit of 50: 50 are granted', async () => {
    const slug = await api.createApi();
    await admin.put(`/v1/users/${user.id}/quotas/api:${slug}`, { limit: 50 });
    const keys = [key, await mine.createKey(), await mine.createKey()];
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => api.call(slug, keys[i % 3]!)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(50);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(250);
    expect(await usedOf(`api:${slug}`)).toBe(50);
    expect(await usedOf('api:*')).toBeGreaterThanOrEqual(50);
  });
});

describe('RateLimit headers of a call', () => {
  const PART = /^"[ -!#-[\]-~]+";[qr]=\d+(;[wt]=[1-9]\d*)?$/;

  async function callWith(limits: object[], times = 1): Promise<Answer> {
    const slug = await api.createApi();
    const named = limits.map((limit) => ({ meter: `api:${slug}`, ...limit }));
    const own = await mine.createKey({ limits: named });
    let answer = await api.call(slug, own);
    for (let i = 1; i < times; i++) answer = await api.call(slug, own);
    return answer;
  }

  /** Checks that Retry-After ends at `moment`, in whole seconds. `before` is a time before the request. */
  function expectWait({ headers }: Answer, moment: number, before: number): void {
    const left = Number(headers.get('retry-after'));
    expect(left).toBeGreaterThanOrEqual(Math.ceil((moment - Date.now() - 1) / 1_000));
    expect(left).toBeLessThanOrEqual(Math.ceil((moment - before) / 1_000));
  }

  const policyOf = ({ headers }: Answer): string | null => headers.get('ratelimit-policy');
  const stateOf = ({ headers }: Answer): string | null => headers.get('ratelimit');

  test('no limit: no RateLimit, RateLimit-Policy or Retry-After header', async () => {
    const answer = await callWith([]);
    expect([policyOf(answer), stateOf(answer), answer.headers.get('retry-after')]).toEqual([null, null, null]);
  });

  test.each([
    ['minute', 60],
    ['hour', 3_600],
    ['day', 86_400],
  ])('a limit for each %s: quota, window and remaining units', async (window, seconds) => {
    const answer = await callWith([{ limit: 10, window }]);
    expect(policyOf(answer)).toBe(`"${window}";q=10;w=${seconds}`);
    const [, left] = new RegExp(`^"${window}";r=9;t=(\\d+)$`).exec(stateOf(answer) ?? '') ?? [];
    expect(Number(left)).toBeGreaterThanOrEqual(1);
    expect(Number(left)).toBeLessThanOrEqual(seconds);
  });

  test('a month has its number of days; a lifetime has no window', async () => {
    await inOne('month', async () => {
      const now = new Date();
      const days = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 0)).getUTCDate();
      expect(policyOf(await callWith([{ limit: 10, window: 'month' }]))).toBe(`"month";q=10;w=${days * 86_400}`);
    });
    const answer = await callWith([{ limit: 10 }], 2);
    expect([policyOf(answer), stateOf(answer)]).toEqual(['"lifetime";q=10', '"lifetime";r=8']);
  });

  test('several limits: distinct names, in the same order in both headers', async () => {
    const answer = await callWith([
      { limit: 10, window: 'day' },
      { limit: 7, window: 'hour' },
      { limit: 5 },
      { meter: 'api:*', limit: 20, window: 'day' },
    ]);
    const names = (header: string | null): string[] =>
      (header ?? '').split(', ').map((part) => {
        expect(part).toMatch(PART);
        return part.split('"')[1] ?? '';
      });
    const policies = names(policyOf(answer));
    expect(names(stateOf(answer))).toEqual(policies);
    expect(new Set(policies).size).toBe(4);
    expect(policies).toEqual(expect.arrayContaining(['hour', 'lifetime']));
    expect(policyOf(answer)).toContain('";q=20;w=86400');
    expect(stateOf(answer)).toMatch(/";r=19;t=\d+/);
  });

  test('a user limit and a key limit with the same window: distinct names', async () => {
    const slug = await api.createApi();
    await admin.put(`/v1/users/${user.id}/quotas/api:${slug}`, { limit: 9, window: 'day' });
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 5, window: 'day' }] });
    const answer = await api.call(slug, own);
    expect(policyOf(answer)?.split(', ').sort()).toEqual(['"key day";q=5;w=86400', '"user day";q=9;w=86400']);
    expect(stateOf(answer)?.split(', ').sort()[0]).toMatch(/^"key day";r=4;t=\d+$/);
  });

  test('429: RateLimit headers and Retry-After', () =>
    inOneMinute(async () => {
      const before = Date.now();
      const refused = await callWith([{ limit: 1, window: 'minute' }], 2);
      expectProblem(refused, 429, 'quota_exceeded');
      expect(policyOf(refused)).toBe('"minute";q=1;w=60');
      expect(stateOf(refused)).toMatch(/^"minute";r=0;t=\d+$/);
      const left = Number(refused.headers.get('retry-after'));
      expect(left).toBeGreaterThanOrEqual(1);
      expect(left).toBeLessThanOrEqual(60);
      expectWait(refused, Date.parse(refused.body.violated[0].resetsAt), before);
    }));

  test.each([
    ['the lifetime is used up', [{ limit: 1 }], 2],
    ['nothing is allowed at all', [{ limit: 0, window: 'minute' }], 1],
    ['the lifetime is used up beside a window', [{ limit: 1, window: 'minute' }, { limit: 1 }], 2],
  ])('429 when %s: no Retry-After', async (_case, limits, times) => {
    const refused = await callWith(limits, times);
    expectProblem(refused, 429, 'quota_exceeded');
    expect(refused.headers.get('retry-after')).toBeNull();
  });

  test('429 with several windows used up: Retry-After of the longest', () =>
    inOneMinute(async () => {
      const before = Date.now();
      const windows = ['minute', 'day'].map((window) => ({ limit: 1, window }));
      const refused = await callWith([...windows, { limit: 5, window: 'month' }], 2);
      expect(refused.body.violated).toHaveLength(2);
      expectWait(refused, new Date().setUTCHours(24, 0, 0, 0), before);
    }));
});

describe('/call/{slug} with an upstream', () => {
  interface Seen {
    method: string;
    url: string;
    headers: IncomingHttpHeaders;
    body: string;
  }

  let upstream: OtherServer;
  let slug: string;
  let seen: Seen[];

  beforeAll(async () => {
    upstream = await OtherServer.start((incoming, outgoing) => {
      let body = '';
      incoming.setEncoding('utf8');
      incoming.on('data', (chunk: string) => (body += chunk));
      incoming.on('end', () => {
        const { method = '', url = '', headers } = incoming;
        seen.push({ method, url, headers, body });
        outgoing.writeHead(url.includes('teapot') ? 418 : url.includes('busy') ? 503 : 201, {
          'content-type': 'application/x-own',
          'x-own': 'yes',
          ratelimit: '"theirs";r=1',
          'ratelimit-policy': '"theirs";q=1',
          'x-request-id': 'theirs',
        });
        outgoing.end(method === 'HEAD' ? undefined : `${method} ${url} ${body}`);
      });
    });
    slug = await api.createApi({ upstream: `${upstream.url}/base/` });
  });

  beforeEach(() => {
    seen = [];
  });

  afterAll(() => upstream.stop());

  const send = (method: string, path: string, headers: Record<string, string> = {}, raw?: string): Promise<Answer> =>
    api.send(method, `/call/${slug}${path}`, undefined, {
      headers: { 'x-api-key': key.key, ...headers },
      ...(raw === undefined ? {} : { raw }),
    });

  test('forwards method, path, query and body, and returns the response of the upstream', async () => {
    for (const [method, path, body] of [
      ['GET', '', ''],
      ['GET', '/', ''],
      ['GET', '/a/b?x=1&y=%20z&x=2', ''],
      ['GET', '?q=%2F..%2F', ''],
      ['POST', '/a', '{"not":  "touched"'],
      ['PUT', '/ä%20b', 'text ✓'],
      ['PATCH', '/a', 'x'.repeat(3_000_000)],
      ['DELETE', '/a', ''],
      ['OPTIONS', '/a', ''],
    ] as const) {
      seen = [];
      const answer = await send(method, path, { 'content-type': 'application/x-some' }, body || undefined);
      const url = new URL(`${upstream.url}/base${path}`).href.slice(upstream.url.length);
      expect(seen).toEqual([{ method, url, headers: expect.anything(), body }]);
      expect(answer).toMatchObject({ status: 201, text: `${method} ${url} ${body}` });
      expect(answer.headers.get('content-type')).toBe('application/x-own');
      expect(answer.headers.get('x-own')).toBe('yes');
    }
    expect((await send('HEAD', '/a')).headers.get('x-own')).toBe('yes');
    expect((await send('GET', '/teapot')).status).toBe(418);
  });

  test('sends the ids of the key and its owner to the upstream, not the key, and replaces forged headers', async () => {
    const forged = { 'x-quartermaster-key': 'forged', 'x-quartermaster-owner': 'forged' };
    await send('GET', '/x', { ...forged, 'x-other': 'kept', cookie: 'a=b' });
    const headers = { ...forged, authorization: `Bearer ${key.key}`, 'x-other': 'kept' };
    await api.get(`/call/${slug}/x`, { headers });
    expect(seen).toHaveLength(2);
    for (const call of seen) {
      expect(call.headers).toMatchObject({
        'x-quartermaster-key': key.id,
        'x-quartermaster-owner': user.id,
        'x-other': 'kept',
        host: new URL(upstream.url).host,
      });
      expect(call.headers).not.toHaveProperty('authorization');
      expect(call.headers).not.toHaveProperty('x-api-key');
      expect(JSON.stringify(call)).not.toContain(key.key.slice(7));
    }
  });

  test('returns its own RateLimit headers and request id, not those of the upstream', async () => {
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 1 }] });
    const headers = { 'x-request-id': 'mine' };
    const answer = await api.call(slug, own, { headers });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('ratelimit')).toBe('"lifetime";r=0');
    expect(answer.headers.get('ratelimit-policy')).toBe('"lifetime";q=1');
    expect(answer.headers.get('x-request-id')).toBe('mine');
    expectProblem(await api.call(slug, own), 429, 'quota_exceeded');
    expect(seen).toHaveLength(1);
  });

  test.each([
    '/..',
    '/../',
    '/../secret',
    '/a/../../secret',
    '/%2e%2e/secret',
    '/%2E%2e/secret',
    '/.%2e/secret',
    '/a/%2e%2e/%2e%2e/secret',
    '/..\\secret',
    '/../base2',
    '/../basement/x',
  ])('path %s, which leaves the base path: 404 without a request to the upstream', async (path) => {
    expectProblem(await sendExactly(api, 'GET', `/call/${slug}${path}`, { 'x-api-key': key.key }), 404, 'not_found');
    expect(seen).toEqual([]);
  });

  test('a path with dot segments inside the base path: 404 without a request to the upstream', async () => {
    const answer = await sendExactly(api, 'GET', `/call/${slug}/a/../b/./c`, { 'x-api-key': key.key });
    expectProblem(answer, 404, 'not_found');
    expect(seen).toEqual([]);
  });

  test.each(['/..%2fsecret', '/a/..%2F..%2Fsecret', '/%2e%2e%2fsecret', '/a%2f..%2f..%2fsecret'])(
    'path %s, with encoded slashes: 404 without a request to the upstream',
    async (path) => {
      expectProblem(await sendExactly(api, 'GET', `/call/${slug}${path}`, { 'x-api-key': key.key }), 404, 'not_found');
      expect(seen).toEqual([]);
    },
  );

  test.each(['?q=../x', '?q=%2F..%2F', '?q=100%', '?q=%zz', '?q=%ff', '?', '?q=a+b', '?a=1?b=2'])(
    'query %s: forwarded unchanged',
    async (search) => {
      const answer = await sendExactly(api, 'GET', `/call/${slug}/a${search}`, { 'x-api-key': key.key });
      expect(answer.status).toBe(201);
      expect(seen.map(({ url }) => url.replace(/\?$/, ''))).toEqual([`/base/a${search}`.replace(/\?$/, '')]);
    },
  );

  test.each(['/..;/admin', '/..%3b/x', '/...', '/.%2e;x/admin', '/x..%2fy'])(
    'path %s, an ambiguous dot segment: 404 without a charge',
    async (path) => {
      const user = await api.createUser();
      const { key: own } = await api.as(user).createKey();
      expectProblem(await sendExactly(api, 'GET', `/call/${slug}${path}`, { 'x-api-key': own }), 404, 'not_found');
      expect(seen).toEqual([]);
      expect((await api.as(user).get('/v1/users/me/quotas')).body.data).toContainEqual(
        expect.objectContaining({ meter: `api:${slug}`, window: 'lifetime', used: 0 }),
      );
    },
  );

  test('forwards no hop-by-hop headers and no other spelling of the identity headers', async () => {
    const headers = {
      ...{ 'x-quartermaster_owner': 'victim', x_quartermaster_key: 'victim', 'proxy-authorization': 'Basic eDp5' },
      ...{ 'keep-alive': 'timeout=5', te: 'trailers', 'x-own': 'kept' },
    };
    const answer = await sendExactly(api, 'GET', `/%63all/${slug}/a`, { 'x-api-key': key.key, ...headers });
    expect(answer.status).toBe(201);
    expect(seen).toMatchObject([{ url: '/base/a', headers: { 'x-own': 'kept' } }]);
    expect(JSON.stringify(seen)).not.toMatch(/victim|Basic|timeout=5|trailers/);
  });

  test('three requests with the same Idempotency-Key: three upstream requests and three units', async () => {
    const user = await api.createUser();
    const { key: own } = await api.as(user).createKey();
    const headers = { 'x-api-key': own, 'idempotency-key': crypto.randomUUID() };
    for (const body of ['1', '2', '3']) expect((await send('POST', '/a', headers, body)).status).toBe(201);
    expect(seen.map(({ body }) => body)).toEqual(['1', '2', '3']);
    expect((await api.as(user).get('/v1/users/me/quotas')).body.data).toContainEqual(
      expect.objectContaining({ meter: `api:${slug}`, window: 'lifetime', used: 3 }),
    );
  });

  test('503 from the upstream: returned without a retry', async () => {
    expect((await send('GET', '/busy')).status).toBe(503);
    expect(seen).toHaveLength(1);
  });

  test.each(['//127.0.0.1:1/x', '/@127.0.0.1:1/x', '/http://127.0.0.1:1/x', '/:1/x'])(
    'path %s, which looks like another host: forwarded to the configured upstream',
    async (path) => {
      expect((await sendExactly(api, 'GET', `/call/${slug}${path}`, { 'x-api-key': key.key })).status).toBe(201);
      expect(seen).toMatchObject([{ url: `/base${path}` }]);
    },
  );

  test('a request target in absolute form: forwarded like the usual form', async () => {
    const answer = await sendExactly(api, 'GET', `http://quartermaster.test/call/${slug}/a?x=1`, {
      'x-api-key': key.key,
    });
    expect(answer.status).toBe(201);
    expect(seen).toMatchObject([{ url: '/base/a?x=1' }]);
  });

  test('a chunked body: forwarded', async () => {
    const headers = { 'x-api-key': key.key, 'content-type': 'application/json' };
    expect((await sendParts('POST', `/call/${slug}/parts`, headers, ['{"a":', '1}'])).status).toBe(201);
    expect(seen).toMatchObject([{ method: 'POST', url: '/base/parts', body: '{"a":1}' }]);
  });

  test('an upstream that is down or closes the connection: 502 without its address', async () => {
    const cut = await OtherServer.start((_incoming, outgoing) => outgoing.destroy());
    const dead = await api.createApi({ upstream: `${cut.url}/inner` });
    const limited = await mine.createKey({ limits: [{ meter: `api:${dead}`, limit: 10 }] });
    const failed = await api.call(dead, limited);
    expectProblem(failed, 502, 'upstream_failed');
    expect(failed.headers.get('ratelimit')).toBe('"lifetime";r=9');
    await cut.stop();
    for (const method of ['GET', 'POST']) {
      const answer = await api.send(method, `/call/${dead}/x`, method === 'POST' ? { a: 1 } : undefined, {
        headers: { 'x-api-key': key.key },
      });
      expectProblem(answer, 502, 'upstream_failed');
      expect(answer.text).not.toMatch(new RegExp(`${new URL(cut.url).port}|127\\.0\\.0\\.1|inner|ECONN`));
    }
  });
});

describe('POST /v1/verify', () => {
  const verify = (body: object, as: Api = api): Promise<Answer> => as.post('/v1/verify', body);

  test('with or without a token: returns the verdict on the key and charges like a call', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ scopes: [slug], limits: [{ meter: `api:${slug}`, limit: 3 }] });
    const limit = { scope: 'key', meter: `api:${slug}`, window: 'lifetime', limit: 3, resetsAt: null };
    const allowed = await verify({ key: own.key, api: slug });
    expect(allowed.status).toBe(200);
    expect(allowed.headers.get('cache-control')).toBe('no-store');
    expect(allowed.body).toEqual({
      ...{ allowed: true, code: 'ok', keyId: own.id, owner: user.id },
      limits: [{ ...limit, used: 1, remaining: 2 }],
    });
    expect((await api.call(slug, own)).headers.get('ratelimit')).toBe('"lifetime";r=1');
    expect((await verify({ key: own.key, api: slug }, mine)).body.limits[0].used).toBe(3);
    expect((await verify({ key: own.key, api: slug })).body).toEqual({
      ...{ allowed: false, code: 'quota_exceeded', keyId: own.id, owner: user.id },
      limits: [{ ...limit, used: 3, remaining: 0 }],
    });
    const denied = { allowed: false, code: 'scope_denied', keyId: own.id, owner: user.id, limits: [] };
    expect((await verify({ key: own.key, api: 'api1' })).body).toEqual(denied);
  });

  test('a cost of several units: charges all of them or none', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 10 }] });
    const ask = async (cost: number): Promise<unknown[]> => {
      const { code, limits } = (await verify({ key: own.key, api: slug, cost })).body;
      return [code, limits[0].used];
    };
    expect(await ask(7)).toEqual(['ok', 7]);
    expect(await ask(4)).toEqual(['quota_exceeded', 7]);
    expect(await ask(3)).toEqual(['ok', 10]);
    expect(await ask(1)).toEqual(['quota_exceeded', 10]);
    expect(await ask(1_000_000_000)).toEqual(['quota_exceeded', 10]);
    expect(await usedOf(`api:${slug}`)).toBe(10);
  });

  test('60 concurrent requests with costs from 1 to 7: grants every cost that fits, and no more than the limit', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 100 }] });
    const costs = Array.from({ length: 60 }, (_, i) => 1 + (i % 7));
    const answers = await Promise.all(costs.map((cost) => verify({ key: own.key, api: slug, cost })));
    const sums = { granted: 0, smallest: Infinity };
    answers.forEach(({ body }, i) => {
      if (body.allowed) sums.granted += costs[i]!;
      else sums.smallest = Math.min(sums.smallest, costs[i]!);
    });
    expect(sums.granted).toBeLessThanOrEqual(100);
    expect(100 - sums.granted).toBeLessThan(sums.smallest);
    expect(await usedOf(`api:${slug}`)).toBe(sums.granted);
  });

  test('dryRun: returns the verdict without a charge', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey({ limits: [{ meter: `api:${slug}`, limit: 5 }] });
    const dry = async (cost: number): Promise<unknown[]> => {
      const { allowed, code, limits } = (await verify({ key: own.key, api: slug, cost, dryRun: true })).body;
      return [allowed, code, limits[0].used];
    };
    expect(await dry(5)).toEqual([true, 'ok', 0]);
    expect(await dry(6)).toEqual([false, 'quota_exceeded', 0]);
    expect((await verify({ key: own.key, api: slug, dryRun: false, cost: 4 })).body.limits[0].used).toBe(4);
    expect(await dry(1)).toEqual([true, 'ok', 4]);
    expect(await dry(2)).toEqual([false, 'quota_exceeded', 4]);
    expect(await usedOf(`api:${slug}`)).toBe(4);
  });

  test('account_disabled for a disabled owner, invalid_api_key for a disabled or deleted key', async () => {
    const owner = await api.createUser();
    const own = await api.as(owner).createKey();
    const unknown = { allowed: false, code: 'invalid_api_key', keyId: null, owner: null, limits: [] };
    await admin.patch(`/v1/users/${owner.id}`, { status: 'disabled' });
    expect((await verify({ key: own.key, api: 'api1' })).body).toEqual({
      ...{ allowed: false, code: 'account_disabled', keyId: own.id, owner: owner.id, limits: [] },
    });
    await admin.patch(`/v1/users/${owner.id}`, { status: 'active' });
    await admin.patch(`/v1/keys/${own.id}`, { disabled: true });
    expect((await verify({ key: own.key, api: 'api1' })).body).toEqual(unknown);
    await admin.patch(`/v1/keys/${own.id}`, { disabled: false });
    expect((await verify({ key: own.key, api: 'api1' })).body.code).toBe('ok');
    await admin.delete(`/v1/keys/${own.id}`);
    expect((await verify({ key: own.key, api: 'api1' })).body).toEqual(unknown);
    expect((await verify({ key: '', api: 'api1' })).body).toEqual(unknown);
  });

  test('an unknown API: 404 with a valid key, invalid_api_key otherwise', async () => {
    for (const slug of ['nosuchapi', '', 'API1', '*', 'api:api1', '\u0000', "'", '../api1']) {
      expectProblem(await verify({ key: key.key, api: slug }), 404, 'not_found');
      expect((await verify({ key: 'qm_wrong', api: slug })).body.code).toBe('invalid_api_key');
    }
  });

  test.each([
    ['cost', 0],
    ['cost', -1],
    ['cost', 1.5],
    ['cost', 2 ** 53],
    ['cost', '1'],
    ['cost', 'many'],
    ['cost', null],
    ['cost', true],
    ['cost', [1]],
    ['dryRun', 'true'],
    ['dryRun', 1],
    ['dryRun', null],
    ['key', null],
    ['key', 7],
    ['key', 'x'.repeat(1_025)],
    ['api', null],
    ['api', 7],
    ['api', 'x'.repeat(65)],
    ['owner', 'me'],
  ])('an invalid %s, %p: 400 without a charge', async (field, value) => {
    const own = await mine.createKey({ limits: [{ meter: 'api:api1', limit: 5 }] });
    expectField(await verify({ key: own.key, api: 'api1', [field]: value }), `/${field}`);
    expect((await mine.get(`/v1/keys/${own.id}`)).body.limits).toMatchObject([{ used: 0 }]);
  });

  test.each(['9223372036854775808', '9223372036854775807', '-9223372036854775808', '1e999', '1e-5'])(
    'a cost of %s: 400',
    async (cost) => {
      const raw = `{"key":"${key.key}","api":"api1","cost":${cost}}`;
      expectField(await api.post('/v1/verify', undefined, { raw }), '/cost');
    },
  );

  test('a cost of 1,000,000,000: granted; one more: 400', async () => {
    const slug = await api.createApi();
    const own = await mine.createKey();
    const cost = 1_000_000_000;
    expect((await verify({ key: own.key, api: slug, cost })).body.allowed).toBe(true);
    expectProblem(await verify({ key: own.key, api: slug, cost: cost + 1 }), 400, 'validation_failed');
    expect(await usedOf(`api:${slug}`)).toBe(cost);
  });
});
