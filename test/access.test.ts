import { execFile } from 'node:child_process';
import { globalAgent } from 'node:http';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  expectProblem,
  isMetered,
  listBodies,
  listOperations,
  openApiOf,
  sendExactly,
  sharedApi,
  uniqueName,
  type Account,
  type Answer,
  type Api,
  type Operation,
} from './support/api.js';
import { inherited } from './support/server.js';
import { codeOf, enableTotp, prepareTotp } from './support/totp.js';
import { rowsOf } from './support/rows.js';
import { sizesOf } from './support/sizes.js';
import { confirmationToken } from './support/confirmation-token.js';

const api = sharedApi();

/**
 * Who may call an operation:
 * - `public`: anyone
 * - `own`: any signed-in user, on the user's own objects only; the request cannot name another user's object
 * - `object`: the owner; 404 for other users
 * - `object-or-admin`: the owner and administrators; 404 for other users
 * - `account`: the user in the path and administrators; 403 for other users
 * - `admin`: administrators; 403 for all other users, also on their own account
 * - `key`: callers with a valid API key that has the scope
 */
type Rule = 'public' | 'own' | 'object' | 'object-or-admin' | 'account' | 'admin' | 'key';

/** A user with one object of each kind. */
interface Owner extends Account {
  sessionId: string;
  signingKeyId: string;
  resourceId: string;
  taskId: string;
  keyId: string;
  key: string;
  /** TOTP secret that is prepared but not yet enabled. */
  secret?: string;
  recoveryCode?: string;
}

interface Call {
  rule: Rule;
  /** Administrators cannot call it on their own account. */
  notToOneself?: boolean;
  /** A path to an object of the owner. Default: the documented path. */
  path?: (owner: Owner) => string | Promise<string>;
  /** A valid body. */
  body?: (owner: Owner) => unknown;
  headers?: Record<string, string>;
}

const resetToken = async (id: string): Promise<string> =>
  (await (await api.admin()).post(`/v1/users/${id}/reset-link`)).body.token;

const named = (): object => ({ slug: uniqueName(), name: 'x' });

const planPath = async (): Promise<string> => `/v1/plans/${await api.createPlan()}`;

const apiPath = async (): Promise<string> => `/v1/apis/${await api.createApi()}`;

/** Path of a platform quota on a new API, so that the limit does not affect other tests. */
const platformPath = async (): Promise<string> => `/v1/platform/quotas/api:${await api.createApi()}`;

const keyPath = ({ keyId }: Owner): string => `/v1/keys/${keyId}`;

const taskPath = ({ taskId }: Owner): string => `/v1/tasks/${taskId}`;

const creditsPath = ({ username }: Owner): string => `/v1/users/${username}/credits`;

const FOR_API1 = { 'x-quartermaster-api': 'api1' };

const CALLED = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].flatMap((method): [string, Call][] => [
  [`${method} /call/{slug}`, { rule: 'key', path: () => '/call/api1' }],
  [`${method} /call/{slug}/{path}`, { rule: 'key', path: () => '/call/api1/below' }],
  [`${method} /v1/forward-auth`, { rule: 'key', path: () => '/v1/forward-auth?api=api1' }],
  [`${method} /v1/forward-auth/{path}`, { rule: 'key', path: () => '/v1/forward-auth/below', headers: FOR_API1 }],
]);

/** A call by a user with two-factor sign-in enabled. */
const withTotp = (path: string): Call => ({
  rule: 'own',
  path: async (owner) => {
    owner.recoveryCode ??= (await enableTotp(api, owner)).recoveryCodes[0]!;
    return path;
  },
  body: ({ password, recoveryCode }) => ({ password, code: recoveryCode }),
});

/** Key of a store entry that every owner has. */
const STORED = 'kept';

const REGISTRATION = () => ({ username: `u${crypto.randomUUID().replaceAll('-', '')}`, password: 'Unguessable-7' });

/** How to call each operation of the OpenAPI document. Add new routes here, with their rule. */
const CALLS: Record<string, Call> = {
  'POST /v1/auth/register': { rule: 'public', body: REGISTRATION },
  'POST /v1/auth/login': { rule: 'public', body: ({ username, password }) => ({ login: username, password }) },
  'POST /v1/auth/refresh': { rule: 'public', body: ({ refreshToken }) => ({ refreshToken }) },
  'GET /v1/auth/policy': { rule: 'public' },
  'POST /v1/auth/logout': { rule: 'own' },
  'GET /v1/auth/sessions': { rule: 'own' },
  'DELETE /v1/auth/sessions/{id}': { rule: 'object', path: ({ sessionId }) => `/v1/auth/sessions/${sessionId}` },
  'POST /v1/auth/password': {
    rule: 'own',
    body: ({ password }) => ({ currentPassword: password, newPassword: 'Unguessable-8' }),
  },
  'POST /v1/auth/totp': { rule: 'own', body: ({ password }) => ({ password }) },
  'POST /v1/auth/totp/confirm': {
    rule: 'own',
    path: async (owner) => {
      owner.secret = await prepareTotp(api, owner);
      return '/v1/auth/totp/confirm';
    },
    body: ({ secret = '' }) => ({ code: secret && codeOf(secret) }),
  },
  'POST /v1/auth/totp/disable': withTotp('/v1/auth/totp/disable'),
  'POST /v1/auth/totp/recovery-codes': withTotp('/v1/auth/totp/recovery-codes'),
  'POST /v1/auth/signing-keys': { rule: 'own', body: () => ({ name: 'x' }) },
  'GET /v1/auth/signing-keys': { rule: 'own' },
  'DELETE /v1/auth/signing-keys/{id}': {
    rule: 'object',
    path: ({ signingKeyId }) => `/v1/auth/signing-keys/${signingKeyId}`,
  },
  'POST /v1/auth/recovery': { rule: 'public', body: ({ username }) => ({ login: username }) },
  'POST /v1/auth/recovery/confirm': {
    rule: 'public',
    body: async ({ id }) => ({ token: await resetToken(id), newPassword: 'Unguessable-8' }),
  },
  'POST /v1/auth/email-confirmation': {
    rule: 'own',
    path: async (owner) => {
      await api.as(owner).patch('/v1/users/me', { email: `${owner.username}@example.com` });
      return '/v1/auth/email-confirmation';
    },
  },
  'POST /v1/auth/email-confirmation/confirm': {
    rule: 'public',
    body: async ({ id }) => ({ token: await confirmationToken(id) }),
  },
  'GET /v1/users/{user}/security': { rule: 'account', path: ({ username }) => `/v1/users/${username}/security` },
  'GET /v1/users/{user}/sessions': { rule: 'account', path: ({ id }) => `/v1/users/${id}/sessions` },
  'DELETE /v1/users/{user}/sessions/{id}': {
    rule: 'account',
    path: ({ id, sessionId }) => `/v1/users/${id}/sessions/${sessionId}`,
  },
  'POST /v1/users/{user}/reset-link': { rule: 'admin', path: ({ id }) => `/v1/users/${id}/reset-link` },
  'GET /.well-known/jwks.json': { rule: 'public' },
  'POST /v1/users': { rule: 'admin', body: REGISTRATION },
  'GET /v1/users': { rule: 'admin' },
  'GET /v1/users/{user}': { rule: 'account', path: ({ id }) => `/v1/users/${id}` },
  'PATCH /v1/users/{user}': {
    rule: 'account',
    path: ({ username }) => `/v1/users/${username}`,
    body: () => ({ firstName: 'Ada' }),
  },
  'DELETE /v1/users/{user}': { rule: 'admin', path: ({ id }) => `/v1/users/${id}` },
  'DELETE /v1/users/{user}/totp': {
    rule: 'admin',
    notToOneself: true,
    path: async (owner) => {
      owner.recoveryCode ??= (await enableTotp(api, owner)).recoveryCodes[0]!;
      return `/v1/users/${owner.id}/totp`;
    },
  },
  'GET /v1/audit': { rule: 'admin' },
  'GET /v1/audit/verify': { rule: 'admin' },
  'GET /v1/users/{user}/quotas': { rule: 'account', path: ({ username }) => `/v1/users/${username}/quotas` },
  'PUT /v1/users/{user}/quotas/{meter}': {
    rule: 'admin',
    path: ({ id }) => `/v1/users/${id}/quotas/resources`,
    body: () => ({ limit: 5 }),
  },
  'DELETE /v1/users/{user}/quotas/{meter}': { rule: 'admin', path: ({ id }) => `/v1/users/${id}/quotas/resources` },
  'GET /v1/users/{user}/credits': { rule: 'account', path: creditsPath },
  'POST /v1/users/{user}/credits': { rule: 'admin', path: creditsPath, body: () => ({ amount: 5 }) },
  'GET /v1/platform': { rule: 'admin' },
  // Keeps the current value, because other tests use the same server.
  'PATCH /v1/platform': { rule: 'admin', body: () => ({ creditOverprovisioning: false }) },
  'GET /v1/platform/quotas': { rule: 'admin' },
  'PUT /v1/platform/quotas/{meter}': { rule: 'admin', path: platformPath, body: () => ({ limit: 5 }) },
  'DELETE /v1/platform/quotas/{meter}': { rule: 'admin', path: platformPath },
  'GET /v1/plans': { rule: 'own' },
  'POST /v1/plans': { rule: 'admin', body: named },
  'GET /v1/plans/{slug}': { rule: 'own', path: planPath },
  'PATCH /v1/plans/{slug}': { rule: 'admin', path: planPath, body: () => ({ name: 'x' }) },
  'DELETE /v1/plans/{slug}': { rule: 'admin', path: planPath },
  'GET /v1/apis': { rule: 'own' },
  'POST /v1/apis': { rule: 'admin', body: named },
  'GET /v1/apis/{slug}': { rule: 'own', path: apiPath },
  'PATCH /v1/apis/{slug}': { rule: 'admin', path: apiPath, body: () => ({ name: 'x' }) },
  'DELETE /v1/apis/{slug}': { rule: 'admin', path: apiPath },
  'GET /v1/keys': { rule: 'own' },
  'POST /v1/keys': { rule: 'own', body: () => ({ name: 'x', scopes: ['*'] }) },
  'GET /v1/keys/{id}': { rule: 'object-or-admin', path: keyPath },
  'PATCH /v1/keys/{id}': { rule: 'object-or-admin', path: keyPath, body: () => ({ name: 'x' }) },
  'DELETE /v1/keys/{id}': { rule: 'object-or-admin', path: keyPath },
  'POST /v1/keys/{id}/rotate': { rule: 'object-or-admin', path: (owner) => `${keyPath(owner)}/rotate` },
  'PUT /v1/keys/{id}/quotas/{meter}': {
    rule: 'object-or-admin',
    path: (owner) => `${keyPath(owner)}/quotas/api:api1`,
    body: () => ({ limit: 5 }),
  },
  'DELETE /v1/keys/{id}/quotas/{meter}': {
    rule: 'object-or-admin',
    path: (owner) => `${keyPath(owner)}/quotas/api:api1`,
  },
  'POST /v1/verify': { rule: 'public', body: ({ key }) => ({ key, api: 'api1' }) },
  ...Object.fromEntries(CALLED),
  'POST /v1/resources': { rule: 'own', body: () => ({ value: 'x' }) },
  'GET /v1/resources': { rule: 'own' },
  'GET /v1/resources/{id}': { rule: 'object-or-admin', path: ({ resourceId }) => `/v1/resources/${resourceId}` },
  'DELETE /v1/resources/{id}': { rule: 'object-or-admin', path: ({ resourceId }) => `/v1/resources/${resourceId}` },
  'POST /v1/tasks': { rule: 'own', body: () => ({ title: 'x' }) },
  'GET /v1/tasks': { rule: 'own' },
  'GET /v1/tasks/{id}': { rule: 'object-or-admin', path: taskPath },
  'PATCH /v1/tasks/{id}': { rule: 'object-or-admin', path: taskPath, body: () => ({ completed: true }) },
  'DELETE /v1/tasks/{id}': { rule: 'object-or-admin', path: taskPath },
  'GET /v1/metrics': { rule: 'admin' },
  'GET /v1/metrics/users/{user}': { rule: 'account', path: ({ username }) => `/v1/metrics/users/${username}` },
  'GET /v1/metrics/top': { rule: 'admin' },
  'GET /v1/metrics/series': { rule: 'own' },
  'GET /v1/metrics/routes': { rule: 'admin' },
  'GET /v1/metrics/near-limits': { rule: 'admin' },
  'GET /v1/metrics/refusals': { rule: 'own' },
  'GET /v1/metrics/usage': { rule: 'admin' },
  'GET /v1/store': { rule: 'own' },
  'POST /v1/store/write': { rule: 'own', body: () => ({ entries: [{ key: 'new', value: 1 }] }) },
  'POST /v1/store/read': { rule: 'own', body: () => ({ keys: [STORED] }) },
  'POST /v1/store/delete': { rule: 'own', body: () => ({ keys: [STORED] }) },
  'GET /v1/store/{key}': { rule: 'own', path: () => `/v1/store/${STORED}` },
  'PUT /v1/store/{key}': { rule: 'own', path: () => `/v1/store/${STORED}`, body: () => 'new' },
  'DELETE /v1/store/{key}': { rule: 'own', path: () => `/v1/store/${STORED}` },
  'GET /metrics': { rule: 'public' },
  'GET /livez': { rule: 'public' },
  'GET /readyz': { rule: 'public' },
};

/** Public routes outside the OpenAPI document: start page, Swagger UI, console, the document, pages for e-mail links. */
const OUTSIDE_THE_DOCUMENT = /^\/(|(docs|console)(\/.*)?|openapi\.json|recovery|email-confirmation)$/;

const PROTECTED = Object.keys(CALLS).filter((id) => !['public', 'key'].includes(CALLS[id]!.rule));

const METERED = Object.keys(CALLS).filter((id) => CALLS[id]!.rule === 'key');

/** The test sends one of every SHARE path spellings. */
const { SHARE } = sizesOf('access');

const SECRET = 'only its owner may read this';

async function createOwner(overrides: Record<string, unknown> = {}): Promise<Owner> {
  const user = await api.createUser(overrides);
  const [resource, sessions, key, task, signingKey] = await Promise.all([
    api.as(user).post('/v1/resources', { value: SECRET }),
    api.as(user).get('/v1/auth/sessions'),
    api.as(user).createKey({ name: SECRET }),
    api.as(user).post('/v1/tasks', { title: SECRET }),
    api.as(user).post('/v1/auth/signing-keys', { name: SECRET }),
    api.as(user).put(`/v1/store/${STORED}`, `${SECRET}: ${user.id}`),
  ]);
  const ids = { resourceId: resource.body.id, taskId: task.body.id, sessionId: sessions.body.data[0].id };
  return { ...user, ...ids, keyId: key.id, key: key.key, signingKeyId: signingKey.body.id };
}

/** Users that many tests share, by purpose. */
const shared = new Map<string, Promise<Owner>>();

function sharedOwner(name: string, overrides?: Record<string, unknown>): Promise<Owner> {
  const made = shared.get(name) ?? createOwner(overrides);
  shared.set(name, made);
  return made;
}

/** Two shared users for requests that change nothing. */
async function bystanders(): Promise<{ owner: Owner; stranger: Owner }> {
  const [owner, stranger] = await Promise.all([sharedOwner('owner'), sharedOwner('stranger')]);
  return { owner, stranger };
}

/** Operations that delete the caller's account, credentials or one of its objects. */
const SPENDS_OWNER = /^DELETE |^\w+ \/v1\/auth\/|^(?!GET)\w+ \/v1\/users\/\{user\}$|\/(reset-link|rotate|delete)$/;

/** Returns a user to call an operation as: a shared user, or a new one if the operation makes the user unusable. */
function actorFor(id: string, overrides: { role?: string } = {}): Promise<Owner> {
  const isSpent = !id.startsWith('GET ') && SPENDS_OWNER.test(id);
  return isSpent ? createOwner(overrides) : sharedOwner(`${overrides.role ?? 'user'} who acts`, overrides);
}

interface Prepared {
  method: string;
  path: string;
  body: unknown;
}

async function prepare(id: string, owner: Owner): Promise<Prepared> {
  const [method = '', documented = ''] = id.split(' ');
  const { path, body } = CALLS[id]!;
  return { method, path: path ? await path(owner) : documented, body: await body?.(owner) };
}

async function call(as: Api, id: string, owner: Owner): Promise<Answer> {
  const { method, path, body } = await prepare(id, owner);
  return as.send(method, path, body, { headers: CALLS[id]!.headers ?? {} });
}

/** Calls an operation as each caller, and checks that no row of the owner or of the named object changes. */
async function callWithoutEffect(callers: Api[], id: string, owner: Owner): Promise<Answer[]> {
  const { method, path, body } = await prepare(id, owner);
  const names = path.split('/').slice(-1);
  const before = await rowsOf(owner.id, names);
  const answers: Answer[] = [];
  for (const caller of callers) answers.push(await caller.send(method, path, body));
  expect(await rowsOf(owner.id, names)).toEqual(before);
  return answers;
}

function expectSuccess({ status, text }: Answer): void {
  expect(`${status} ${text}`).toMatch(/^2\d\d /);
}

async function operationsById(): Promise<Map<string, Operation>> {
  return new Map((await listOperations(api)).map((operation) => [operation.id, operation]));
}

/** Lists every route of the web server. Asks the program itself, to include routes that the document does not show. */
async function listRoutes(): Promise<string[]> {
  const dist = fileURLToPath(new URL('../dist/src/', import.meta.url));
  const script = `
    const { createApp } = await import('${dist}app.setup.js');
    const { createLogger } = await import('${dist}http/logger.js');
    const { Env } = await import('${dist}config/env.js');
    const { RouteTable } = await import('${dist}http/route-table.js');
    const env = new Env();
    const app = await createApp(env, createLogger(env));
    console.log(JSON.stringify(app.get(RouteTable).all()));
    await app.close();`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: {
      ...inherited(),
      LOG_LEVEL: 'silent',
      DATABASE_URL: process.env.TEST_SERVER_DATABASE,
      SECRET_KEY: 'a secret of thirty-two characters, only for tests',
    },
  });
  const routes = JSON.parse(stdout) as { method: string; pattern: string }[];
  return routes.map(
    ({ method, pattern }) => `${method} ${pattern.replaceAll(/:(\w+)/g, '{$1}').replace(/\*$/, '{path}')}`,
  );
}

describe('Route table', () => {
  test('has the same operations in CALLS and in the OpenAPI document', async () => {
    expect((await listOperations(api)).map(({ id }) => id).sort()).toEqual(Object.keys(CALLS).sort());
  });

  test('has no server route outside the OpenAPI document, except the listed public pages', async () => {
    const documented = new Set((await listOperations(api)).map(({ id }) => id));
    const others = (await listRoutes()).filter((route) => {
      const [method, path = ''] = route.split(' ');
      // The document does not list HEAD, nor OPTIONS on paths that accept any method.
      const isShownAsGet = method === 'HEAD' || (method === 'OPTIONS' && isMetered(path));
      const shown = isShownAsGet ? `GET ${path}` : route;
      return !documented.has(shown) && !OUTSIDE_THE_DOCUMENT.test(path);
    });
    expect(others).toEqual([]);
  });

  test.each([
    '/docs',
    '/docs/',
    '/docs/swagger-ui-bundle.js',
    '/docs/page.js',
    '/docs/page.css',
    '/docs/page.json',
    '/docs/swagger-ui.css',
    '/openapi.json',
  ])('GET %s without a token: 200', async (path) => {
    expect((await api.get(path)).status).toBe(200);
  });
});

describe('Without a valid token', () => {
  test.each(Object.keys(CALLS).filter((id) => CALLS[id]!.rule === 'public'))(
    '%s, a public operation: 2xx',
    async (id) => {
      const owner = await actorFor(id);
      expectSuccess(await call(api, id, owner));
    },
  );

  test.each(PROTECTED)('%s: 401, and no row changes', async (id) => {
    const { owner } = await bystanders();
    const callers = [api, api.as({ accessToken: 'garbage' })];
    const [none, garbage] = (await callWithoutEffect(callers, id, owner)) as [Answer, Answer];
    expectProblem(none, 401, 'unauthenticated');
    expect(none.body.detail).toBe('Sign in, and send the access token as Authorization: Bearer.');
    expectProblem(garbage, 401, 'invalid_token');
    expect(garbage.headers.get('www-authenticate')).toContain('error="invalid_token"');
  });

  test.each(['Basic YWRtaW46YWRtaW4=', 'Bearer', 'Bearer ', 'Token x', 'bearer'])(
    'GET /v1/users/me with Authorization %j: 401 unauthenticated',
    async (authorization) => {
      expectProblem(await api.get('/v1/users/me', { headers: { authorization } }), 401, 'unauthenticated');
    },
  );

  test.each<[string, (key: string) => Record<string, string>, string]>([
    ['X-API-Key', (key) => ({ 'x-api-key': key }), 'unauthenticated'],
    ['Authorization', (key) => ({ authorization: key }), 'unauthenticated'],
    ['Authorization: Bearer', (key) => ({ authorization: `Bearer ${key}` }), 'invalid_token'],
  ])('an API key in %s: 401 that says where API keys work', async (_header, headersOf, code) => {
    const { key } = await api.as(await api.createUser()).createKey();
    for (const path of ['/v1/users/me', '/v1/store/a']) {
      const answer = await api.get(path, { headers: headersOf(key) });
      expectProblem(answer, 401, code);
      expect(answer.body.detail).toMatch(/^An API key works only on \/call\//);
      expect(answer.text).not.toContain(key);
    }
  });

  test('GET and HEAD with other spellings of a path: 400, 401, 404 or 405, and no protected data', async () => {
    const owner = await createOwner();
    const reads = PROTECTED.filter((id) => id.startsWith('GET '));
    const pathOf = async (id: string): Promise<string> => CALLS[id]!.path?.(owner) ?? id.slice('GET '.length);
    const paths = await Promise.all(reads.map(pathOf));
    const spellings = paths.flatMap((path) => {
      const segments = path.split('/');
      const last = segments.at(-1)!;
      const before = path.slice(0, -last.length);
      return [
        path,
        path.replace('v1', '%761'),
        `${before}%${last.charCodeAt(0).toString(16)}${last.slice(1)}`,
        path.replaceAll('/', '%2F').replace('%2F', '/'),
        `/${path}`,
        path.replaceAll('/', '//'),
        `${path}/`,
        `${path}//`,
        `${path};x`,
        `${path};x=1`,
        path.replace('/v1', '/v1;x'),
        `${path}%20`,
        `${path}%00`,
        `${path}.json`,
        `${path}?`,
        `${path}#`,
        `${path}/.`,
        `${before}./${last}`,
        `/livez/..${path}`,
        `/docs/..${path}`,
        `/docs/%2e%2e${path}`,
        path.toUpperCase(),
        path.replace('v1', 'V1'),
        path.replaceAll('/', '\\').replace('\\', '/'),
        `http://127.0.0.1${path}`,
      ];
    });
    const tried = [...new Set(spellings)]
      .flatMap((path) => ['GET', 'HEAD'].map((method) => ({ method, path })))
      .filter((_each, i) => i % SHARE === 0);
    const answers = await Promise.all(
      tried.map(async ({ method, path }) => ({
        method,
        path,
        answer: await sendExactly(api, method, path, {}, globalAgent),
      })),
    );
    const wrong = answers.filter(({ answer: { status, text } }) => {
      return ![400, 401, 404, 405].includes(status) || text.includes(SECRET) || text.includes(`"${owner.username}"`);
    });
    expect(wrong.map(({ method, path, answer }) => `${method} ${path}: ${answer.status}`)).toEqual([]);
    // The documented spelling of each path still works for the owner.
    for (const id of reads.filter((each) => CALLS[each]!.rule !== 'admin')) {
      expect((await sendExactly(api.as(owner), 'GET', await pathOf(id))).status).toBe(200);
    }
  });
});

describe('As another user', () => {
  const refusal = {
    object: [404, 'not_found'],
    account: [403, 'forbidden'],
    admin: [403, 'forbidden'],
  } as const;

  test.each(PROTECTED.filter((id) => CALLS[id]!.rule !== 'own'))(
    '%s: 403 or 404, and no row of the owner changes',
    async (id) => {
      const { owner, stranger } = await bystanders();
      const rule = CALLS[id]!.rule.replace('-or-admin', '') as keyof typeof refusal;
      const [status, code] = refusal[rule];
      const [answer] = (await callWithoutEffect([api.as(stranger)], id, owner)) as [Answer];
      expectProblem(answer, status, code);
      expect(answer.text).not.toContain(SECRET);
    },
  );

  test.each(PROTECTED.filter((id) => CALLS[id]!.rule === 'own'))(
    '%s: 2xx, without access to rows of other users',
    async (id) => {
      const [{ owner }, stranger] = await Promise.all([bystanders(), actorFor(id)]);
      const before = await rowsOf(owner.id);
      const answer = await call(api.as(stranger), id, stranger);
      expectSuccess(answer);
      for (const mine of [owner.id, owner.resourceId, owner.taskId, owner.sessionId, owner.keyId, owner.signingKeyId]) {
        expect(answer.text).not.toContain(mine);
      }
      expect(await rowsOf(owner.id)).toEqual(before);
    },
  );

  test('GET of an account: the same 403 whether or not the account exists', async () => {
    const [owner, stranger] = await Promise.all([createOwner(), createOwner()]);
    const answers = await Promise.all(
      [owner.id, owner.username, crypto.randomUUID(), 'nosuchuser', 'nobody@example.com', '%00', 'admin'].flatMap(
        (user) =>
          [
            `/v1/users/${user}`,
            `/v1/users/${user}/quotas`,
            `/v1/users/${user}/credits`,
            `/v1/metrics/users/${user}`,
          ].map((path) => api.as(stranger).get(path)),
      ),
    );
    for (const answer of answers) expectProblem(answer, 403, 'forbidden');
    expect(new Set(answers.map(({ body }) => body.detail)).size).toBe(1);
  });

  test('a request that names another user as `owner`: 403', async () => {
    const [owner, stranger] = await Promise.all([createOwner(), createOwner()]);
    for (const name of [owner.id, owner.username, crypto.randomUUID(), 'admin']) {
      expectProblem(await api.as(stranger).post('/v1/resources', { value: 'x', owner: name }), 403, 'forbidden');
      expectProblem(await api.as(stranger).post('/v1/tasks', { title: 'x', owner: name }), 403, 'forbidden');
      expectProblem(await api.as(stranger).get(`/v1/metrics/series?user=${name}`), 403, 'forbidden');
      expectProblem(await api.as(stranger).get(`/v1/metrics/refusals?user=${name}`), 403, 'forbidden');
      const key = { name: 'x', scopes: ['*'], owner: name };
      expectProblem(await api.as(stranger).post('/v1/keys', key), 403, 'forbidden');
      for (const [path, body] of [
        ['/v1/store/write', { entries: [{ key: STORED, value: 1 }], onConflict: 'replace' }],
        ['/v1/store/read', { keys: [STORED] }],
        ['/v1/store/delete', { keys: [STORED] }],
      ] as const) {
        expectProblem(await api.as(stranger).post(path, { ...body, owner: name }), 403, 'forbidden');
      }
      for (const method of ['GET', 'PUT', 'DELETE']) {
        const path = `/v1/store/${STORED}?owner=${name}`;
        expectProblem(await api.as(stranger).send(method, path, method === 'PUT' ? 1 : undefined), 403, 'forbidden');
      }
      for (const list of ['/v1/resources', '/v1/tasks', '/v1/keys', '/v1/store']) {
        expectProblem(await api.as(stranger).get(`${list}?owner=${name}`), 403, 'forbidden');
      }
    }
    for (const list of ['/v1/resources', '/v1/tasks', '/v1/keys', '/v1/store']) {
      expectProblem(await api.as(stranger).get(`${list}?owner=*`), 403, 'forbidden');
      expect((await api.as(owner).get(list)).body.data).toHaveLength(1);
    }
  });
});

describe('API keys', () => {
  test.each(METERED)('%s: 401 without a valid key, 403 without the scope, otherwise 200', async (id) => {
    const user = await sharedOwner('owner of a key');
    const made = await api.as(user).createKey();
    const owner = { ...user, keyId: made.id, key: made.key };
    const by = (token: string): Promise<Answer> => call(api.as({ accessToken: token }), id, owner);
    expectProblem(await call(api, id, owner), 401, 'unauthenticated');
    for (const token of [owner.accessToken, owner.refreshToken, 'garbage', `${owner.key}0`]) {
      const answer = await by(token);
      expectProblem(answer, 401, 'invalid_api_key');
      expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"');
    }
    const narrow = await api.as(owner).createKey({ scopes: ['api2'] });
    expectProblem(await by(narrow.key), 403, 'scope_denied');
    expect((await api.as(owner).get(keyPath(owner))).body.lastUsedAt).toBeNull();
    expect(await by(owner.key)).toMatchObject({ status: 200, text: id.includes(' /call/') ? 'API1' : '' });
  });

  test('any operation other than a call, with a key as the token: 401', async () => {
    const owner = await createOwner({ role: 'admin' });
    const others = PROTECTED.filter((id) => !['DELETE /v1/users/{user}', 'POST /v1/auth/logout'].includes(id));
    for (const id of others) {
      const [answer] = (await callWithoutEffect([api.as({ accessToken: owner.key })], id, owner)) as [Answer];
      expectProblem(answer, 401, 'invalid_token');
    }
  });
});

describe('As the owner', () => {
  test.each(PROTECTED)('%s: 2xx, or 403 for an admin operation', async (id) => {
    const isForAdmins = CALLS[id]!.rule === 'admin';
    const owner = await (isForAdmins ? sharedOwner('user who acts') : actorFor(id));
    const answer = await call(api.as(owner), id, owner);
    if (isForAdmins) expectProblem(answer, 403, 'forbidden');
    else expectSuccess(answer);
  });
});

describe('As an administrator', () => {
  test.each(PROTECTED.filter((id) => CALLS[id]!.rule !== 'own' && CALLS[id]!.rule !== 'object'))(
    '%s on another user: 2xx',
    async (id) => {
      const owner = await actorFor(id);
      expectSuccess(await call(api.as(await sharedOwner('administrator', { role: 'admin' })), id, owner));
    },
  );

  test.each(PROTECTED.filter((id) => CALLS[id]!.notToOneself))('%s on the own account: 403', async (id) => {
    const admin = await createOwner({ role: 'admin' });
    expectProblem(await call(api.as(admin), id, admin), 403, 'forbidden');
  });

  test.each(PROTECTED.filter((id) => !CALLS[id]!.notToOneself))('%s on the own account: 2xx', async (id) => {
    const admin = await actorFor(id, { role: 'admin' });
    expectSuccess(await call(api.as(admin), id, admin));
  });

  test('DELETE /v1/auth/sessions/{id} of another user: 404', async () => {
    const owner = await createOwner();
    const answer = await (await api.admin()).delete(`/v1/auth/sessions/${owner.sessionId}`);
    expectProblem(answer, 404, 'not_found');
    expect((await api.as(owner).get('/v1/users/me')).status).toBe(200);
  });
});

describe('OpenAPI document', () => {
  test('declares a security scheme for every operation that is not public, and for no other', async () => {
    const open = (await listOperations(api)).filter(({ declared }) => (declared.security ?? []).length === 0);
    expect(open.map(({ id }) => id).sort()).toEqual(
      Object.keys(CALLS)
        .filter((id) => CALLS[id]!.rule === 'public')
        .sort(),
    );
  });

  test('has a summary and tags for every operation', async () => {
    for (const { id, declared } of await listOperations(api)) {
      expect({ id, ...declared }).toMatchObject({ id, summary: expect.stringMatching(/\S{2,}/) });
      expect({ id, tags: declared.tags?.length }).toEqual({ id, tags: 1 });
    }
  });

  test('declares every 4xx and 5xx response as application/problem+json, with an example', async () => {
    const shown = (await openApiOf(api)).components.examples;
    for (const { id, declared } of await listOperations(api)) {
      for (const [status, { content }] of Object.entries(declared.responses).filter(([code]) => /^[45]/.test(code))) {
        const examples = Object.entries(content?.['application/problem+json']?.examples ?? {});
        expect({ id, status, count: examples.length }).not.toMatchObject({ count: 0 });
        for (const [code, { $ref }] of examples) {
          expect({ id, ...shown[$ref.split('/').at(-1)!].value }).toMatchObject({
            id,
            code,
            status: Number(status),
            title: expect.any(String),
          });
        }
      }
    }
  });

  test('declares the problem codes that each operation can return', async () => {
    const bodies = await listBodies(api);
    const refusals = (id: string): string[] => [
      // Every operation rejects unknown query parameters.
      '400 validation_failed',
      ...(bodies.has(id) || id === 'PUT /v1/store/{key}'
        ? ['400 malformed_json', '413 body_too_large', '415 unsupported_media_type']
        : []),
      ...(CALLS[id]?.rule === 'public' ? [] : ['401 unauthenticated', '403 account_disabled']),
      ...(PROTECTED.includes(id) ? ['401 invalid_token'] : []),
      ...(METERED.includes(id)
        ? ['401 invalid_api_key', '403 scope_denied', '404 not_found', '429 quota_exceeded']
        : []),
      ...(id.includes(' /call/') ? ['502 upstream_failed'] : []),
      ...(['account', 'admin'].includes(CALLS[id]?.rule ?? '') ? ['403 forbidden'] : []),
      // An invalid meter is 400, not 404.
      ...(/\{(?!meter)/.test(id) ? ['404 not_found'] : []),
    ];
    const missing = [...(await operationsById()).values()].flatMap(({ id, declared }) => {
      const named = Object.entries(declared.responses).flatMap(([status, { content }]) =>
        Object.keys(content?.['application/problem+json']?.examples ?? {}).map((code) => `${status} ${code}`),
      );
      return refusals(id).flatMap((refusal) => (named.includes(refusal) ? [] : [`${id}: ${refusal}`]));
    });
    expect(missing).toEqual([]);
  });

  test('has an example for every property of every request body', async () => {
    const bodies = [...(await listBodies(api))];
    expect(bodies).not.toHaveLength(0);
    const missing = bodies.flatMap(([id, properties]) =>
      Object.entries(properties).flatMap(([name, { example }]) => (example === undefined ? [`${id}: ${name}`] : [])),
    );
    expect(missing).toEqual([]);
  });

  test('POST /v1/resources with the example body: 201', async () => {
    const bodies = await listBodies(api);
    const shown = bodies.get('POST /v1/resources')!;
    const example = Object.fromEntries(Object.entries(shown).map(([name, property]) => [name, property.example]));
    const user = await api.createUser();
    expect((await api.as(user).post('/v1/resources', example)).status).toBe(201);
  });
});
