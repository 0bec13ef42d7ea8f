import type { IncomingHttpHeaders } from 'node:http';
import { Api, expectProblem, sendExactly, uniqueName, type Account, type Answer } from './support/api.js';
import { OtherServer } from './support/other-server.js';
import { TestServer } from './support/server.js';

const ALLOWED = 'https://app.example';
const FOREIGN = 'https://evil.example';

// Separate processes, because a second OpenAPI document in one process has its members in another order.
let servers: TestServer[];
let plain: Api;
let cors: Api;
let user: Account;
let key: string;

beforeAll(async () => {
  // Both use the database of the shared server, so each sees the objects of the other.
  const DATABASE_URL = process.env.TEST_SERVER_DATABASE!;
  servers = await Promise.all([
    TestServer.spawn({ DATABASE_URL }),
    TestServer.spawn({ DATABASE_URL, CORS_ORIGINS: `https://other.example,${ALLOWED}` }),
  ]);
  [plain, cors] = servers.map(({ url }) => new Api(url)) as [Api, Api];
  user = await plain.createUser();
  ({ key } = await plain.as(user).createKey());
});

afterAll(() => Promise.all(servers.map((server) => server.stop())));

interface Sent {
  /** Name of the test, if the path is too long. */
  name?: string;
  method?: string;
  path: string;
  headers?: Record<string, string>;
}

/** Requests that each part of the server answers: routes, filters, parsers, the router, pages and upstreams. */
const REQUESTS: Sent[] = [
  { path: '/livez' },
  { path: '/v1/nope' },
  { path: '/nope/below' },
  { method: 'POST', path: '/v1/nope' },
  { method: 'OPTIONS', path: '/v1/nope' },
  { method: 'OPTIONS', path: '/v1/resources' },
  { method: 'OPTIONS', path: '/v1/resources', headers: { 'access-control-request-headers': 'x-own' } },
  { method: 'PATCH', path: '/v1/resources' },
  { path: '/v1/resources' },
  { path: '/v1/users/me' },
  { path: '/v1/users/me', headers: { authorization: 'Bearer x' } },
  { method: 'HEAD', path: '/v1/users/me' },
  { path: '/v1/store/%ff' },
  { name: 'a path that is too long', path: `/v1/store/${'x'.repeat(3_000)}` },
  { path: '/openapi.json', headers: { 'accept-encoding': 'gzip' } },
  { path: '/openapi.json', headers: { 'accept-encoding': 'identity' } },
  { path: '/openapi.json', headers: { 'if-none-match': '*' } },
  { path: '/docs' },
  { path: '/docs/swagger-ui.css', headers: { 'accept-encoding': 'br' } },
  { path: '/docs/nope' },
  { path: '/call/api1' },
  { path: '/call/api1', headers: { 'x-api-key': 'KEY' } },
  { method: 'OPTIONS', path: '/call/api1', headers: { 'x-api-key': 'KEY' } },
  { path: '/livez', headers: { host: 'not a host' } },
  {
    name: 'too many headers',
    path: '/livez',
    headers: Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-${String(i)}`, '1'])),
  },
];

function send(at: Api, { method = 'GET', path, headers = {} }: Sent, origin?: string): Promise<Answer> {
  const filled = Object.entries(headers).map(([name, value]) => [name, value.replace('KEY', key)]);
  return sendExactly(at, method, path, {
    ...Object.fromEntries(filled),
    ...(origin === undefined ? {} : { origin }),
    'x-request-id': 'one-of-both',
  });
}

const varyOf = ({ headers }: Answer): string[] =>
  (headers.get('vary') ?? '').split(',').flatMap((field) => (field.trim() === '' ? [] : [field.trim().toLowerCase()]));

/** A response without headers that differ each time, and without CORS headers. */
function essence(answer: Answer): unknown {
  const changing = /^(access-control-.*|vary|date|x-request-id|ratelimit.*|connection|keep-alive)$/;
  return {
    status: answer.status,
    headers: Object.fromEntries([...answer.headers].filter(([name]) => !changing.test(name))),
    text: answer.text,
  };
}

describe('With CORS_ORIGINS: the same response as without it, plus CORS headers', () => {
  const named = REQUESTS.map((request) => {
    const { name, method = 'GET', path, headers = {} } = request;
    return [name ?? `${method} ${path} ${JSON.stringify(headers)}`, request] as const;
  });

  test.each(named)('%s', async (_name, request) => {
    for (const origin of [ALLOWED, FOREIGN, undefined]) {
      const [without, answer] = [await send(plain, request, origin), await send(cors, request, origin)];
      expect(essence(answer)).toEqual(essence(without));
      expect(answer.headers.get('x-request-id')).toBe('one-of-both');
      expect([...without.headers.keys()].filter((name) => name.startsWith('access-control-'))).toEqual([]);
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin === ALLOWED ? ALLOWED : null);
      expect(varyOf(answer).sort()).toEqual([...varyOf(without), 'origin'].sort());
    }
  });

  test('an unknown path: 404; OPTIONS without Origin: 405 with Allow', async () => {
    for (const method of ['GET', 'POST', 'OPTIONS']) {
      expectProblem(await cors.send(method, '/v1/nope'), 404, 'not_found');
    }
    const options = await cors.send('OPTIONS', '/v1/resources');
    expectProblem(options, 405, 'method_not_allowed');
    expect(options.headers.get('allow')).toBe('GET, HEAD, POST');
  });

  test('a body that is too large or malformed: 413 or 400, readable by the allowed origin', async () => {
    for (const [raw, status] of [
      [`"${'x'.repeat(2_000_000)}"`, 413],
      ['{', 400],
    ] as const) {
      const answer = await cors.as(user).post('/v1/resources', undefined, { raw, headers: { origin: ALLOWED } });
      expect(answer.status).toBe(status);
      expect(answer.headers.get('access-control-allow-origin')).toBe(ALLOWED);
      expect(answer.headers.get('access-control-expose-headers')).toMatch(/RateLimit, .*, Content-Disposition, Allow/);
    }
  });

  test('GET /v1/store/{key}, compressed: Vary has Accept-Encoding and Origin', async () => {
    const name = uniqueName();
    await plain.as(user).put(`/v1/store/${name}`, 'alike '.repeat(5_000));
    const headers = { origin: ALLOWED, 'accept-encoding': 'gzip' };
    const answer = await cors.as(user).get(`/v1/store/${name}`, { headers });
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    expect(varyOf(answer).sort()).toEqual(['accept-encoding', 'origin']);
  });
});

describe('Preflight', () => {
  const preflight = (path: string, origin: string, more: Record<string, string> = {}): Promise<Answer> =>
    cors.send('OPTIONS', path, undefined, { headers: { origin, 'access-control-request-method': 'PUT', ...more } });

  test.each(['/v1/resources', '/v1/store/a%2Fb', '/call/api1', '/call/api1/below', '/v1/nope'])(
    'of %s from an allowed origin: 204 with the allowed methods and headers',
    async (path) => {
      const answer = await preflight(path, ALLOWED, { 'access-control-request-headers': 'authorization,if-match' });
      expect(answer).toMatchObject({ status: 204, text: '' });
      expect(answer.headers.get('access-control-allow-origin')).toBe(ALLOWED);
      expect(answer.headers.get('access-control-allow-methods')).toMatch(/PUT.*PATCH.*DELETE/);
      expect(answer.headers.get('access-control-allow-headers')).toBe('authorization,if-match');
      expect(answer.headers.get('access-control-max-age')).toBe('600');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect(answer.headers.get('x-request-id')).not.toBeNull();
      expect(varyOf(answer).sort()).toEqual(['access-control-request-headers', 'origin']);
    },
  );

  test.each([FOREIGN, 'null', 'http://app.example', 'https://app.example.evil.example', `${ALLOWED}:8443`])(
    'from the origin %s, which is not allowed: no CORS headers',
    async (origin) => {
      const answer = await preflight('/v1/resources', origin);
      expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control-'))).toEqual([]);
      expect(varyOf(answer)).toContain('origin');
    },
  );

  test('of a metered call: no charge', async () => {
    const { key: limited } = await plain.as(user).createKey({ limits: [{ meter: 'api:api1', limit: 1 }] });
    await preflight('/call/api1', ALLOWED, { 'x-api-key': limited });
    expect((await plain.call('api1', { key: limited })).status).toBe(200);
    expectProblem(await plain.call('api1', { key: limited }), 429, 'quota_exceeded');
  });
});

test('CORS_ORIGINS=*: every origin is allowed, and Vary has no Origin', async () => {
  const open = await TestServer.start({ DATABASE_URL: process.env.TEST_SERVER_DATABASE!, CORS_ORIGINS: '*' });
  try {
    for (const origin of [ALLOWED, FOREIGN]) {
      const answer = await new Api(open.url).get('/livez', { headers: { origin } });
      expect(answer.headers.get('access-control-allow-origin')).toBe('*');
      expect(varyOf(answer)).not.toContain('origin');
    }
  } finally {
    await open.stop();
  }
});

describe('Upstream with CORS headers', () => {
  let upstream: OtherServer;
  let slug: string;
  let asked: IncomingHttpHeaders[];

  beforeAll(async () => {
    asked = [];
    upstream = await OtherServer.start((incoming, outgoing) => {
      asked.push(incoming.headers);
      outgoing.setHeader('vary', ['Accept-Language', 'Cookie']);
      outgoing.setHeader('access-control-allow-origin', FOREIGN);
      outgoing.setHeader('access-control-allow-credentials', 'true');
      outgoing.end('from afar');
    });
    slug = await plain.createApi({ upstream: upstream.url });
  });

  afterAll(() => upstream.stop());

  test('with CORS_ORIGINS: the headers of the server, and Vary has the fields of both', async () => {
    for (const origin of [ALLOWED, FOREIGN]) {
      const answer = await cors.call(slug, { key }, { headers: { origin } });
      expect(answer).toMatchObject({ status: 200, text: 'from afar' });
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin === ALLOWED ? ALLOWED : null);
      expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
      expect(varyOf(answer).sort()).toEqual(['accept-language', 'cookie', 'origin']);
    }
  });

  test('without CORS_ORIGINS: the headers of the upstream', async () => {
    const answer = await plain.call(slug, { key }, { headers: { origin: FOREIGN } });
    expect(answer.headers.get('access-control-allow-origin')).toBe(FOREIGN);
    expect(varyOf(answer)).toEqual(['accept-language', 'cookie']);
  });
});
