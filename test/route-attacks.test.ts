import { Agent, METHODS } from 'node:http';
import pg from 'pg';
import { Api, listOperations, sharedApi, type Account, type Answer, type Operation } from './support/api.js';
import { contentsOf } from './support/contents.js';
import { eachAtOnce, exchange, keptConnections } from './support/exchange.js';
import { TestServer, createDatabase, query } from './support/server.js';
import {
  FORWARDED,
  acceptedBody,
  furnish,
  pathFor,
  prepare,
  readDocument,
  refurnish,
  signInAgain,
  type Document,
  type Means,
  type Subject,
} from './support/subjects.js';
import { sizesOf } from './support/sizes.js';

const OPERATIONS = (await listOperations(sharedApi())).map(({ id }) => id);

/** Returns alternative spellings of a path. None may give more access than the path itself. */
function spellingsOf(path: string, documented: string): string[] {
  const parts = path.split('/').slice(1);
  const isStatic = documented
    .split('/')
    .slice(1)
    .map((part) => !part.startsWith('{'));
  const encoded = (text: string): string =>
    text.replaceAll(/[a-z]/gi, (letter) => `%${letter.charCodeAt(0).toString(16)}`);
  const withPart = (at: number, part: string): string => `/${parts.with(at, part).join('/')}`;
  const [first = ''] = parts;
  const rest = path.slice(first.length + 1);
  return [
    ...new Set([
      // Percent-encodes one letter of each segment, and all of them.
      ...parts.flatMap((part, i) => [
        withPart(i, encoded(part.slice(0, 1)) + part.slice(1)),
        withPart(i, encoded(part)),
      ]),
      ...parts.flatMap((part, i) => (isStatic[i] ? [withPart(i, part.toUpperCase()), withPart(i, `${part};x=1`)] : [])),
      ...['/', '//', '/.', '/./', '/..', '/%2e', '/%2e%2e/', '/x/..'].map((end) => path + end),
      ...[';x', ';x=1', '%20', '%00', '%0a', '%09', '.json', '~', '%2f', '%2F', '%5c', '\\', '%c0%af', '%252f'].map(
        (end) => path + end,
      ),
      ...['?', '?x=1', '?/', '#', '#x', '%3f', '%23', '?%00', '&x=1', '?;'].map((end) => path + end),
      ...['//', '/./', '/%2f/', '/%5c', '/\\', '/%c0%af', '/;/', '%2f', '%ef%bc%8f'].map(
        (between) => `/${first}${between}${rest.slice(1)}`,
      ),
      ...['/', '/.', '/%2e', '/livez/..', '/docs/..', '/docs/%2e%2e', '/v1/..', '/x/%2e%2e', '\\'].map(
        (start) => start + path,
      ),
      path.replaceAll('/', '//'),
      path.replaceAll('/', '%2f').replace('%2f', '/'),
      path.replaceAll('/', '\\').replace('\\', '/'),
      path.toUpperCase(),
      `http://127.0.0.1${path}`,
      `http://evil.example${path}`,
      `//evil.example${path}`,
    ]),
  ].filter((spelling) => spelling !== path);
}

/** Headers that override the method or path in other software. */
const OVERRIDES = [
  'x-http-method-override',
  'x-method-override',
  'x-http-method',
  'x-original-url',
  'x-rewrite-url',
  'x-forwarded-uri',
];

const OTHER_METHODS = ['OPTIONS', 'TRACE', 'PROPFIND', 'SEARCH', 'LINK', 'NONSENSE', 'PURGE'];

type CallerName = 'nobody' | 'expired' | 'ended' | 'disabled' | 'unscoped' | 'narrow' | 'stranger' | 'owner' | 'admin';

const CALLERS: CallerName[] = [
  'nobody',
  'expired',
  'ended',
  'disabled',
  'unscoped',
  'narrow',
  'stranger',
  'owner',
  'admin',
];

const { SHARE } = sizesOf('routeAttacks');

/** Callers whose responses depend little on the path try only one in so many spellings. */
const SHARES: Partial<Record<CallerName, number>> = {
  ...{ expired: 6, ended: 6, disabled: 6, unscoped: 4, narrow: 4 },
  ...{ owner: 3, admin: 3 },
};

let database: Awaited<ReturnType<typeof createDatabase>>;
let server: TestServer;
let agent: Agent;
/** For requests that are not valid HTTP to the server: on a reused connection they would get no response. */
const fresh = new Agent({ maxSockets: 24 });
let connection: pg.Client;
let document: Document;
let api: Api;
let root: Api;
let means: Means;
const subjects = {} as Record<'stranger' | 'owner' | 'admin', Subject>;
/** Bearer tokens of the callers that are not subjects. */
const tokens = {} as Record<'expired' | 'ended' | 'disabled' | 'unscoped' | 'narrow', string>;

beforeAll(async () => {
  database = await createDatabase();
  // Request counts would change the database contents, which must stay equal.
  server = await TestServer.start({ DATABASE_URL: database.url, LOG_LEVEL: 'silent', REQUEST_STATISTICS: 'off' });
  agent = keptConnections(24);
  connection = new pg.Client({ connectionString: database.url });
  await connection.connect();
  api = new Api(server.url);
  document = await readDocument(api);
  root = await api.admin();
  means = { api, root, databaseUrl: database.url };
  const [expired, ended, disabled] = await Promise.all([api.createUser(), api.createUser(), api.createUser()]);
  subjects.stranger = await furnish(document, api, await api.createUser());
  subjects.owner = await furnish(document, api, await api.createUser());
  subjects.admin = await furnish(document, api, await api.createUser({ role: 'admin' }));
  await query(database.url, `UPDATE sessions SET expires_at = now() - interval '1 s' WHERE owner_id = $1`, [
    expired.id,
  ]);
  await api.as(ended).post('/v1/auth/logout');
  await root.patch(`/v1/users/${disabled.id}`, { status: 'disabled' });
  const keyOf = async (scopes: string[]): Promise<string> =>
    (await api.as(subjects.stranger).createKey({ scopes })).key;
  Object.assign(tokens, {
    expired: expired.accessToken,
    ended: ended.accessToken,
    disabled: disabled.accessToken,
    unscoped: await keyOf([]),
    narrow: await keyOf(['api2']),
  });
});

afterAll(async () => {
  agent.destroy();
  await connection.end();
  await server.stop();
  await database.drop();
});

function authorizationOf(caller: CallerName): Record<string, string> {
  if (caller === 'nobody') return {};
  const token =
    caller in tokens ? tokens[caller as keyof typeof tokens] : subjects[caller as keyof typeof subjects].accessToken;
  return { authorization: `Bearer ${token}` };
}

interface Try {
  caller: CallerName;
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
}

function send({ caller, method, path, headers, body }: Try): Promise<Answer> {
  const type = body === undefined ? {} : { 'content-type': 'application/json' };
  const isHttp = METHODS.includes(method) && /^(\/|http:)/.test(path);
  return exchange(
    server.url,
    {
      method,
      path,
      headers: { ...FORWARDED, ...authorizationOf(caller), ...type, ...headers },
      ...(body === undefined ? {} : { body }),
    },
    isHttp ? agent : fresh,
  );
}

/** Signs a subject in again after it lost its session, and replaces it if it was deleted. */
async function revive(who: keyof typeof subjects): Promise<void> {
  const subject = subjects[who];
  if ((await api.as(subject).get('/v1/users/me')).status === 200) return;
  const again = await signInAgain(subject, means);
  if (again) {
    Object.assign(subject, again);
    await refurnish(document, api, subject, '/v1/auth/sessions');
    return;
  }
  const account: Account = await api.createUser(who === 'admin' ? { role: 'admin' } : {});
  subjects[who] = await furnish(document, api, account);
}

/** Adds a malformed body or an unknown parameter, so that an allowed request is rejected without effect. */
function refusable({ declared }: Operation, path: string): Pick<Try, 'path' | 'body'> {
  if (declared.requestBody) return { path, body: '{' };
  const [before = '', fragment] = path.split('#');
  const query = `${before}${before.includes('?') ? '&' : '?'}refused=1`;
  return { path: fragment === undefined ? query : `${query}#${fragment}` };
}

describe.each(OPERATIONS)('%s', (id) => {
  test('an alternative spelling of the path gives no caller more access', async () => {
    const operation = document.operations.find((each) => each.id === id)!;
    const { method, path: documented, declared } = operation;
    const list = /^(.+)\/\{id\}/.exec(documented)?.[1];
    if (list !== undefined) await refurnish(document, api, subjects.owner, list);
    const { owner } = subjects;
    const path = await pathFor(operation, owner, root);
    // A canary in the body could be echoed to other callers, so the body contains none.
    const acceptable = async (): Promise<{ body?: string }> => {
      const proof = await prepare(operation, owner, means);
      const accepted = acceptedBody(document, operation, { ...owner, ...proof, canary: 'something' });
      return accepted === undefined ? {} : { body: JSON.stringify(accepted) };
    };
    const isRead = method === 'GET';

    // Status of the documented spelling: reads for all callers, writes for those that must be rejected.
    const plain = {} as Record<CallerName, number>;
    for (const caller of CALLERS) {
      const mayAll = caller === 'owner' || caller === 'admin';
      if (mayAll && !isRead) plain[caller] = 200;
      else plain[caller] = (await send({ caller, method, path, ...(await acceptable()) })).status;
      await revive('owner');
    }
    await revive('stranger');
    const body = await acceptable();

    const isAllowed = (caller: CallerName): boolean => plain[caller] < 400;
    const place = OPERATIONS.indexOf(id);
    const tries = CALLERS.flatMap((caller, turn): Try[] => {
      // Callers whose credential is rejected everywhere try a share; the shares differ by operation.
      const share = (SHARES[caller] ?? 1) * SHARE;
      const some = spellingsOf(path, documented).filter((_each, i) => (i + place + turn) % share === 0);
      const spelled = some.map((each) =>
        isAllowed(caller) && !isRead
          ? { caller, method, ...refusable(operation, each) }
          : { caller, method, path: each, ...body },
      );
      const methods = [
        ...OTHER_METHODS.filter((_each, i) => (i + place + turn) % share === 0),
        ...(isRead ? ['HEAD'] : []),
      ].map((each) => ({ caller, method: each, path }));
      const overridden = OVERRIDES.filter((_each, i) => (i + place + turn) % share === 0).map((header) => ({
        ...{ caller, method: 'GET', path: '/livez' },
        headers: { [header]: header.includes('method') ? method : path },
      }));
      return [...spelled, ...methods, ...overridden];
    });

    const before = await contentsOf(connection);
    const wrong: string[] = [];
    // Concurrent exports are limited: those that get 503 are repeated sequentially.
    const later: Try[] = [];
    const attempt = async (each: Try, isLast: boolean): Promise<void> => {
      const shown = `${each.caller} ${each.method} ${each.path} ${JSON.stringify(each.headers ?? {})}`;
      const answer = await send(each).catch((error: unknown) => {
        throw new Error(shown, { cause: error });
      });
      if (!isLast && answer.status === 503 && answer.headers.has('retry-after')) {
        later.push(each);
        return;
      }
      const fault = faultOf(each, answer);
      if (fault !== undefined) wrong.push(`${shown}: ${answer.status}, ${fault}`);
    };
    await eachAtOnce(tries, 24, (each) => attempt(each, false));
    await eachAtOnce(later, 1, (each) => attempt(each, true));
    expect(wrong).toEqual([]);
    expect(await contentsOf(connection)).toEqual(before);

    // Proves that access control rejected the others: the same request succeeds for an allowed caller.
    const isMetered = (declared.security ?? []).some((scheme) => 'key' in scheme);
    const statuses: number[] = [];
    for (const caller of ['owner', 'admin'] as const) {
      const headers = isMetered ? { authorization: `Bearer ${owner.key.key}` } : {};
      if (!statuses.some((status) => status < 300))
        statuses.push((await send({ caller, method, path, ...(await acceptable()), headers })).status);
    }
    expect(statuses.filter((status) => status < 300)).toHaveLength(1);
    await revive('owner');
    await revive('admin');

    function faultOf({ caller, method: sent, path: asked }: Try, { status, text }: Answer): string | undefined {
      if (status >= 500 && status !== 501) return 'the server failed';
      for (const [who, { canary, key }] of Object.entries(subjects)) {
        const isOwn = who === caller || caller === 'admin';
        if (!isOwn && (text.includes(canary) || text.includes(key.key))) return `it tells what is ${who}'s`;
      }
      if (status >= 400 || asked === '/livez') return undefined;
      if (!isAllowed(caller)) return `${plain[caller]} where it is spelled plainly`;
      if (sent === 'GET' || sent === 'HEAD') return undefined;
      return 'done although it was refusable';
    }
  });
});
