import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Api, expectProblem, sendExactly, type Account, type Answer } from './support/api.js';
import { OtherServer } from './support/other-server.js';
import { TestServer, command, createDatabase, inherited } from './support/server.js';
import { Signer, registerKey } from './support/signer.js';

const BASE = '/quarter/master-1';

let database: Awaited<ReturnType<typeof createDatabase>>;
let server: TestServer;
/** Sends the paths as given. */
let origin: Api;
/** Sends the paths below BASE_PATH. */
let api: Api;
let user: Account;

beforeAll(async () => {
  database = await createDatabase();
  server = await TestServer.start({ DATABASE_URL: database.url, BASE_PATH: BASE, LOG_LEVEL: 'debug' });
  origin = new Api(server.url);
  api = new Api(server.url + BASE);
  user = await api.createUser();
});

afterAll(async () => {
  await server.stop();
  await database.drop();
});

function get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return sendExactly(origin, 'GET', path, headers);
}

test('every path below BASE_PATH is served, and no path outside of it', async () => {
  for (const path of ['/livez', '/v1/apis/api1', '/call/api1', '/openapi.json', '/docs', '/', '', `${BASE}x/livez`]) {
    expectProblem(await get(path), 404, 'not_found');
  }
  for (const path of [
    `${BASE}x/livez`,
    `${BASE}livez`,
    BASE.toUpperCase(),
    '/quarter/livez',
    `/%71${BASE.slice(2)}/livez`,
  ]) {
    expectProblem(await get(path), 404, 'not_found');
  }
  for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/', '', '/', '?x', '/?x']) {
    expect({ path, status: (await get(BASE + path)).status }).toEqual({ path, status: 200 });
  }
  expect((await get(`http://example.com${BASE}/livez`)).status).toBe(200);
  expectProblem(await get('http://example.com/livez'), 404, 'not_found');
});

test('a problem, and the log, name the path as sent', async () => {
  for (const path of ['/v1/nope', '/v1/users/me', '/v1/users/%', '/call/nope']) {
    const answer = await get(BASE + path);
    expect(answer.body.instance).toBe(BASE + path);
  }
  expect(server.output).toContain(`"path":"${BASE}/v1/nope"`);
  const outside = await get('/v1/apis');
  expect(outside.body.instance).toBe('/v1/apis');
  const wrong = await sendExactly(origin, 'PUT', `${BASE}/v1/apis`);
  expectProblem(wrong, 405, 'method_not_allowed');
  expect(wrong.headers.get('allow')).toBe('GET, HEAD, POST');
});

test('Location and Link can be followed', async () => {
  const mine = api.as(user);
  const headers = { authorization: `Bearer ${user.accessToken}` };
  const made = [await mine.post('/v1/resources', { value: 'one' }), await mine.put('/v1/store/a%2Fb', 1)];
  await mine.post('/v1/resources', { value: 'two' });
  await mine.put('/v1/store/c', 1);
  for (const { headers: sent } of made) {
    const location = sent.get('location')!;
    expect(location.startsWith(`${BASE}/v1/`)).toBe(true);
    expect((await get(location, headers)).status).toBe(200);
  }
  for (const list of ['/v1/resources', '/v1/store']) {
    const first = await mine.get(`${list}?limit=1`);
    const [, next = ''] = /^<(.+)>; rel="next"$/.exec(first.headers.get('link')!)!;
    expect(next.startsWith(`${BASE}${list}?`)).toBe(true);
    expect((await get(next, headers)).body.data).toHaveLength(1);
  }
});

test('quartermaster doctor finds the server', async () => {
  const { port } = new URL(server.url);
  const variables = { DATABASE_URL: database.url, BASE_PATH: BASE, PORT: port };
  const { code, stdout } = await command(variables, ['doctor']);
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringContaining(`Quartermaster answers at 127.0.0.1:${port}`),
  });
});

test('the health check of the Docker image finds the server', async () => {
  const file = await readFile(fileURLToPath(new URL('../Dockerfile', import.meta.url)), 'utf8');
  const [, json = ''] = /^HEALTHCHECK .*\n +CMD (.+)$/m.exec(file) ?? [];
  const [, ...args] = JSON.parse(json) as string[];
  const { port } = new URL(server.url);
  const check = async (path: string): Promise<number | null> => {
    const child = spawn(process.execPath, args, { env: { ...inherited(), PORT: port, BASE_PATH: path } });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  };
  expect([await check(BASE), await check('')]).toEqual([0, 1]);
});

test('metered calls, forward auth and redirects of an upstream', async () => {
  const upstream = await OtherServer.start((request, response) => {
    response.writeHead(302, { location: `/base${request.url!}/x` }).end();
  });
  const slug = await api.createApi({ upstream: upstream.url });
  const key = await api.as(user).createKey();
  const headers = { 'x-api-key': key.key };
  expect((await api.call('api1/below', key)).text).toBe('API1');
  expect((await get(`${BASE}/call/${slug}/a?b=1`, headers)).headers.get('location')).toBe(
    `${BASE}/call/${slug}/base/a?b=1/x`,
  );
  expect((await api.get('/v1/forward-auth?api=api1', { headers })).status).toBe(200);
  expectProblem(await get(`${BASE}/call/../livez`, headers), 404, 'not_found');
  await upstream.stop();
});

test('a signature covers the path as sent, with BASE_PATH', async () => {
  const key = await registerKey(api.as(user));
  const signer = new Signer(server.url, key);
  expect((await signer.send('GET', `${BASE}/v1/users/me`)).status).toBe(200);
  const whole = { components: ['@method', '@target-uri', '@request-target'] };
  expect((await signer.send('GET', `${BASE}/v1/resources?limit=2`, undefined, whole)).status).toBe(200);
  const signed = signer.sign(signer.request('GET', '/v1/users/me'));
  const moved = await sendExactly(origin, 'GET', `${BASE}/v1/users/me`, Object.fromEntries(signed.headers));
  expectProblem(moved, 401, 'invalid_signature');
});

test('the OpenAPI document, the pages and the index link below BASE_PATH', async () => {
  const document = (await api.get('/openapi.json')).body;
  expect(document.servers).toMatchObject([{ url: BASE }]);
  const page = (await api.get('/docs/page.json')).body;
  expect(page.servers).toMatchObject([{ url: BASE }]);
  expect(page.info.description).toContain(`(${BASE}/openapi.json)`);
  const browser = { accept: 'text/html' };
  const pages = ['/docs', '/nope', '/console', '/console/users'];
  for (const path of pages) {
    const { text } = await get(BASE + path, browser);
    const links = [...text.matchAll(/(?:href|src)="(\/[^"]*)"|'(\/v1\/[^']*|\/quarter[^']*)'/g)].map(
      ([, a, b]) => a ?? b!,
    );
    expect({ path, outside: links.filter((link) => !link.startsWith(`${BASE}/`)) }).toEqual({ path, outside: [] });
    expect(links.length).toBeGreaterThan(0);
    for (const link of links.filter((each) => !each.includes('/v1/'))) {
      expect({ link, isFound: (await get(link, browser)).status < 400 }).toEqual({ link, isFound: true });
    }
  }
  for (const [path, page] of [
    ['/', '/console'],
    ['/recovery', '/console/reset-password'],
    ['/email-confirmation', '/console/confirm-email'],
  ] as const) {
    expect((await get(BASE + path, browser)).headers.get('location')).toBe(BASE + page);
  }
  const script = (await api.get('/docs/page.js')).text;
  expect(script).toContain(`("${BASE}");`);
  const index = (await api.get('/')).body;
  expect(index).toMatchObject({ docs: `${BASE}/docs`, openapi: `${BASE}/openapi.json`, health: `${BASE}/readyz` });
});

test('a link for a forgotten password starts with PUBLIC_URL and BASE_PATH', async () => {
  const admin = await api.admin();
  const { url } = (await admin.post(`/v1/users/${user.id}/reset-link`)).body;
  expect(url).toMatch(
    /^http:\/\/localhost:0\/quarter\/master-1\/recovery#token=qmt_|^http:\/\/127\.0\.0\.1:\d+\/quarter\/master-1\/recovery#token=qmt_/,
  );
});
