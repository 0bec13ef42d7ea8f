import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ConnectionError, Quartermaster, QuartermasterError, isRefusal } from '../sdk/src/index.js';
import { sharedApi, uniqueName, type Account, type Api } from './support/api.js';
import { CuttingProxy } from './support/cutting-proxy.js';
import { serversOfTests } from './support/other-server.js';
import { inherited } from './support/server.js';

const api = sharedApi();
const run = promisify(execFile);
const SDK = fileURLToPath(new URL('../sdk/', import.meta.url));

let admin: Api;
let user: Account;
let mine: Quartermaster;

beforeAll(async () => {
  [admin, user] = await Promise.all([api.admin(), api.createUser()]);
  mine = new Quartermaster({ url: api.url, token: user.accessToken });
});

const answering = serversOfTests();

function problem(status: number, code: string): string {
  return JSON.stringify({ type: 'about:blank', title: 'x', status, detail: 'x', instance: '/', code, requestId: 'a' });
}

/** Answers with these statuses in turn, and 200 after them. Counts the requests. */
async function failing(
  failures: [status: number, code: string, headers?: Record<string, string>][],
): Promise<{ url: string; seen: { key: string | undefined; method: string }[] }> {
  const seen: { key: string | undefined; method: string }[] = [];
  const url = await answering((request, response) => {
    seen.push({ key: request.headers['idempotency-key'] as string | undefined, method: request.method! });
    const [status, code, headers] = failures[seen.length - 1] ?? [200];
    const type = status === 200 ? 'application/json' : 'application/problem+json';
    response.writeHead(status, { 'content-type': type, ...headers });
    response.end(status === 200 ? '{"id":"1"}' : problem(status, code!));
  });
  return { url, seen };
}

/** Waits for the error of a promise. */
async function errorOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('There is no error.');
}

describe('Quartermaster', () => {
  test('get, post, patch, put and delete return the body of the response', async () => {
    const me = await mine.get('/v1/users/{user}', { params: { path: { user: 'me' } } });
    expect(me.username).toBe(user.username);
    const made = await mine.post('/v1/resources', { body: { value: 'one' } });
    const path = { id: made.id };
    expect(await mine.get('/v1/resources/{id}', { params: { path } })).toEqual(made);
    await mine.delete('/v1/resources/{id}', { params: { path } });
    expect(await errorOf(mine.get('/v1/resources/{id}', { params: { path } }))).toMatchObject({ code: 'not_found' });
    const named = { params: { path: { user: 'me' } }, body: { firstName: 'Ada' } };
    expect((await mine.patch('/v1/users/{user}', named)).firstName).toBe('Ada');
  });

  test('a refusal is thrown with its code, status and members', async () => {
    await admin.put(`/v1/users/${user.id}/quotas/tasks`, { limit: 0 });
    const error = await errorOf(mine.post('/v1/tasks', { body: {} }));
    expect(error).toBeInstanceOf(QuartermasterError);
    expect(error).toMatchObject({ code: 'credits_exhausted', status: 402, message: expect.any(String) });
    expect(isRefusal(error, 'credits_exhausted', 'quota_exceeded')).toBe(true);
    expect(isRefusal(error, 'not_found')).toBe(false);
    expect(isRefusal(new Error('x'), 'not_found')).toBe(false);
    expect((error as QuartermasterError).problem.requestId).toEqual(expect.any(String));
    const stranger = new Quartermaster({ url: api.url });
    const path = { user: 'me' };
    expect(await errorOf(stranger.get('/v1/users/{user}', { params: { path } }))).toMatchObject({
      code: 'unauthenticated',
    });
  });

  test('list yields every item once, over pages', async () => {
    const owner = await api.createUser();
    const own = new Quartermaster({ url: api.url, token: () => Promise.resolve(owner.accessToken) });
    for (let i = 0; i < 5; i++) await own.post('/v1/resources', { body: { value: String(i) } });
    const values: string[] = [];
    for await (const { value } of own.list('/v1/resources', { params: { query: { limit: 2 } } })) values.push(value);
    expect(values).toEqual(['4', '3', '2', '1', '0']);
    for await (const { value } of own.list('/v1/resources', { params: { query: { limit: 2 } } })) {
      expect(value).toBe('4');
      break;
    }
  });

  test('call and verify spend units of a key', async () => {
    const slug = await api.createApi({ answer: 'MAPS' });
    const { key } = await api.as(user).createKey({ limits: [{ meter: `api:${slug}`, limit: 3 }] });
    const caller = new Quartermaster({ url: `${api.url}/`, key });
    const answer = await caller.call(slug, { method: 'POST', path: '/below?x=1', body: 'anything' });
    expect([answer.status, await answer.text()]).toEqual([200, 'MAPS']);
    const anybody = new Quartermaster({ url: api.url });
    expect(await anybody.verify({ key, api: slug, cost: 2 })).toMatchObject({ allowed: true, owner: user.id });
    expect(await anybody.verify({ key, api: slug })).toMatchObject({ allowed: false, code: 'quota_exceeded' });
    expect(await errorOf(caller.call(slug))).toMatchObject({ code: 'quota_exceeded', status: 429 });
  });

  test('readText and writeText keep numbers digit for digit', async () => {
    const text = '{"pi":3.14159265358979323846,"n":12345678901234567890,"n":1e400}';
    expect(await mine.writeText('a/b', text)).toEqual({ key: 'a/b', version: expect.any(Number) });
    expect(await mine.readText('a/b')).toBe(text);
    expect(await mine.get('/v1/store/{key}', { params: { path: { key: 'a/b' } } })).toMatchObject({ n: Infinity });
  });
});

describe('Signed requests', () => {
  test('are accepted, with a query, a body, and an Idempotency-Key', async () => {
    const { id, privateKey } = await mine.post('/v1/auth/signing-keys', { body: { name: 'client' } });
    const signed = new Quartermaster({ url: api.url, signingKey: { id, privateKey: privateKey! } });
    const made = await signed.post('/v1/resources', { body: { value: 'signed: ä' } });
    const found = await signed.get('/v1/resources', { params: { query: { limit: 1 } } });
    expect(found.data).toEqual([made]);
    const again = { headers: { 'idempotency-key': uniqueName() } };
    const first = await signed.post('/v1/resources', { ...again, body: { value: 'once' } });
    expect(await signed.post('/v1/resources', { ...again, body: { value: 'once' } })).toEqual(first);
    const path = { user: 'me' };
    const ifMatch = { params: { path }, headers: { 'if-match': '"0"' }, body: { firstName: 'Eve' } };
    expect(await errorOf(signed.patch('/v1/users/{user}', ifMatch))).toMatchObject({ code: 'version_mismatch' });
  });

  test('are signed again for each attempt, since a nonce is good once', async () => {
    const { id, privateKey } = await mine.post('/v1/auth/signing-keys', { body: { name: 'client' } });
    const proxy = await CuttingProxy.to(api.url);
    // The proxy passes the Host of the client on, which the signature covers.
    const signed = new Quartermaster({ url: proxy.url, signingKey: { id, privateKey: privateKey! } });
    expect((await signed.post('/v1/resources', { body: { value: 'again' } })).value).toBe('again');
    expect(proxy.lost).toBe(1);
    await proxy.close();
  });

  test('a key that cannot be read: rejects each request', async () => {
    const broken = new Quartermaster({ url: api.url, signingKey: { id: 'x', privateKey: 'not a key' } });
    expect(await errorOf(broken.get('/v1/apis'))).toMatchObject({ message: expect.any(String) });
  });
});

describe('Retries', () => {
  test('a POST whose response is lost: done once, and the first response is returned', async () => {
    const owner = await api.createUser();
    const proxy = await CuttingProxy.to(api.url);
    const own = new Quartermaster({ url: proxy.url, token: owner.accessToken });
    const made = await own.post('/v1/resources', { body: { value: 'once' } });
    const listed = await own.get('/v1/resources');
    expect(listed.data).toEqual([made]);
    expect(proxy.lost).toBe(1);
    await proxy.close();
  });

  test('a change without Idempotency-Key whose response is lost: not repeated', async () => {
    const owner = await api.createUser();
    const proxy = await CuttingProxy.to(api.url);
    proxy.losesAll = true;
    const own = new Quartermaster({ url: proxy.url, token: owner.accessToken });
    const path = { user: 'me' };
    for (const work of [
      () => own.patch('/v1/users/{user}', { params: { path }, body: { firstName: 'Ada' } }),
      () => own.put('/v1/store/{key}', { params: { path: { key: 'a' } }, body: 1 as never }),
      () => own.post('/v1/auth/logout'),
    ]) {
      const before = proxy.lost;
      expect(await errorOf(work())).toBeInstanceOf(ConnectionError);
      expect(proxy.lost - before).toBe(1);
    }
    await proxy.close();
  });

  test('503: repeated with the same Idempotency-Key, and GET without one', async () => {
    const away = [503, 'database_unavailable'] as [number, string];
    const post = await failing([away, away]);
    await new Quartermaster({ url: post.url }).post('/v1/resources', { body: { value: 'x' } });
    expect(post.seen).toHaveLength(3);
    expect(new Set(post.seen.map(({ key }) => key)).size).toBe(1);
    expect(post.seen[0]!.key).toMatch(/^[0-9a-f-]{36}$/);
    const get = await failing([away]);
    await new Quartermaster({ url: get.url }).get('/v1/apis');
    expect(get.seen).toEqual([
      { key: undefined, method: 'GET' },
      { key: undefined, method: 'GET' },
    ]);
  });

  test('more failures than retries: the last one is thrown', async () => {
    const away = [503, 'overloaded'] as [number, string];
    const { url, seen } = await failing([away, away, away]);
    expect(await errorOf(new Quartermaster({ url, retries: 1 }).get('/v1/apis'))).toMatchObject({ code: 'overloaded' });
    expect(seen).toHaveLength(2);
  });

  test.each<[number, string]>([
    [429, 'quota_exceeded'],
    [404, 'not_found'],
    [500, 'internal_error'],
    [502, 'upstream_failed'],
  ])('%d %s: not repeated', async (status, code) => {
    const { url, seen } = await failing([[status, code]]);
    expect(await errorOf(new Quartermaster({ url }).get('/v1/apis'))).toMatchObject({ code });
    expect(seen).toHaveLength(1);
  });

  test('a Retry-After of more than half a minute: not waited for', async () => {
    const late = await failing([[503, 'overloaded', { 'retry-after': '60' }]]);
    expect(await errorOf(new Quartermaster({ url: late.url }).get('/v1/apis'))).toMatchObject({ retryAfter: 60 });
    expect(late.seen).toHaveLength(1);
  });

  test('retries: 0: one attempt, without an Idempotency-Key', async () => {
    const { url, seen } = await failing([[503, 'overloaded']]);
    const once = new Quartermaster({ url, retries: 0 });
    expect(await errorOf(once.post('/v1/resources', { body: { value: 'x' } }))).toMatchObject({ code: 'overloaded' });
    expect(seen).toEqual([{ key: undefined, method: 'POST' }]);
  });

  test('call with POST: not repeated, unless `repeat` is set', async () => {
    const away = [503, 'overloaded'] as [number, string];
    const first = await failing([away]);
    const failed = new Quartermaster({ url: first.url, key: 'k' }).call('maps', { method: 'POST' });
    expect(await errorOf(failed)).toMatchObject({ code: 'overloaded' });
    expect(first.seen).toEqual([{ key: undefined, method: 'POST' }]);
    const second = await failing([away]);
    await new Quartermaster({ url: second.url, key: 'k' }).call('maps', { method: 'POST', repeat: true });
    expect(second.seen).toHaveLength(2);
  });

  test('an answer of a proxy instead of the server: ConnectionError', async () => {
    const url = await answering((_request, response) => response.writeHead(502).end('<html>'));
    const error = await errorOf(new Quartermaster({ url, retries: 1 }).get('/v1/apis'));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(await errorOf(new Quartermaster({ url: 'http://127.0.0.1:1', retries: 0 }).get('/v1/apis'))).toMatchObject({
      name: 'ConnectionError',
      message: 'No answer from http://127.0.0.1:1',
    });
  });
});

describe('Timeouts and abort signals', () => {
  test('no answer within the timeout: repeated, then ConnectionError', async () => {
    let requests = 0;
    const url = await answering(() => requests++);
    const error = await errorOf(new Quartermaster({ url, timeout: 50, retries: 1 }).get('/v1/apis'));
    expect(error).toBeInstanceOf(ConnectionError);
    expect(requests).toBe(2);
  });

  test('a JSON body that stops in the middle: counts as no answer', async () => {
    const url = await answering((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).write('{"data":[');
    });
    const error = await errorOf(new Quartermaster({ url, timeout: 50, retries: 0 }).get('/v1/apis'));
    expect(error).toBeInstanceOf(ConnectionError);
  });

  test('aborted by the caller, under way or between attempts: its reason is thrown', async () => {
    const reason = new Error('no longer needed');
    const abort = new AbortController();
    const url = await answering(() => {
      abort.abort(reason);
    });
    expect(await errorOf(new Quartermaster({ url }).get('/v1/apis', { signal: abort.signal }))).toBe(reason);
    const later = new AbortController();
    const away = await answering((_request, response) => {
      response.writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '20' });
      response.end(problem(503, 'overloaded'), () => {
        setImmediate(() => {
          later.abort(reason);
        });
      });
    });
    expect(await errorOf(new Quartermaster({ url: away }).get('/v1/apis', { signal: later.signal }))).toBe(reason);
    expect(await errorOf(mine.get('/v1/apis', { signal: AbortSignal.abort(reason) }))).toBe(reason);
  });
});

describe('The package', () => {
  beforeAll(() => run(process.execPath, ['scripts/build.js'], { cwd: SDK }));

  test('src/schema.ts and src/repeatable.ts are made from docs/openapi.json', async () => {
    const document = await readFile(new URL('../docs/openapi.json', import.meta.url), 'utf8');
    const hash = createHash('sha256').update(document).digest('hex');
    for (const name of ['schema', 'repeatable']) {
      const [first = ''] = (await readFile(`${SDK}src/${name}.ts`, 'utf8')).split('\n');
      // Run `npm run types --workspace sdk`.
      expect(first).toContain(hash);
    }
  });

  test('publint finds no fault', async () => {
    const { stdout } = await run('npx', ['publint', '--strict'], { cwd: SDK });
    expect(stdout).toContain('All good!');
  });

  test.each(['', '/express', '/fastify', '/nestjs'])(
    'quartermaster-client%s loads with import and require',
    async (path) => {
      const name = `quartermaster-client${path}`;
      const loads = [
        ['--input-type=module', '-e', `console.log(Object.keys(await import('${name}')).sort().join())`],
        ['--input-type=commonjs', '-e', `console.log(Object.keys(require('${name}')).sort().join())`],
      ];
      const seen = await Promise.all(loads.map((args) => run(process.execPath, args, { cwd: SDK })));
      const wanted =
        path === '' ? 'ConnectionError,Quartermaster,QuartermasterError,isRefusal' : 'grantOf,requireQuota';
      expect(seen.map(({ stdout }) => stdout.trim())).toEqual([wanted, wanted]);
    },
  );

  test('scripts/smoke.js, which other runtimes can run, passes on Node', async () => {
    const env = { ...inherited(), QM_URL: api.url, QM_TOKEN: (await api.createUser()).accessToken };
    expect(await run(process.execPath, ['scripts/smoke.js'], { cwd: SDK, env })).toEqual({
      stdout: 'ok\n',
      stderr: '',
    });
  });

  test('the examples of sdk/README.md run', async () => {
    const text = await readFile(`${SDK}README.md`, 'utf8');
    const examples = [...text.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code = '']) => code);
    expect(examples.length).toBeGreaterThanOrEqual(5);
    const owner = await api.createUser();
    const { key } = await api.as(owner).createKey();
    const made = await api.as(owner).post('/v1/auth/signing-keys', { name: 'client' });
    const env = {
      ...inherited(),
      ...{ QM_URL: api.url, QM_TOKEN: owner.accessToken, QM_KEY: key },
      ...{ QM_SIGNING_KEY_ID: made.body.id as string, QM_PRIVATE_KEY: made.body.privateKey as string },
    };
    for (const code of examples) {
      // The middleware examples serve until they are told to stop.
      const stopped = code.replace(/\.listen\(.*\)/, (all) => {
        return `${all.replace('9000', '0')}; setTimeout(() => process.exit(0), 200)`;
      });
      const { stderr } = await run(process.execPath, ['--input-type=module', '-e', stopped], { cwd: SDK, env });
      expect(stderr.replaceAll(/^\(.*$/gm, '').trim()).toBe('');
    }
  });
});
