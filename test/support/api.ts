import { randomBytes } from 'node:crypto';
import { request, type Agent } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import { answerTo, type Answer } from './answer.js';
import { expectDocumented } from './conformance.js';
import { isMetered, operationsIn, type Operation } from './operations.js';
import { ADMIN_PASSWORD } from './server.js';

export { isMetered, type Answer, type Operation };

export interface Account {
  id: string;
  username: string;
  password: string;
  accessToken: string;
  refreshToken: string;
}

/** An API key as returned at its creation. */
export interface Key {
  id: string;
  key: string;
  hint: string;
  [field: string]: any;
}

interface Init {
  headers?: Record<string, string>;
  raw?: string;
}

/** A client of one server, with or without credentials. Every response must match /openapi.json. */
export class Api {
  constructor(
    readonly url: string,
    readonly token?: string,
  ) {}

  as(account: { accessToken: string }): Api {
    return new Api(this.url, account.accessToken);
  }

  get(path: string, init?: Init): Promise<Answer> {
    return this.send('GET', path, undefined, init);
  }

  post(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('POST', path, body, init);
  }

  put(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('PUT', path, body, init);
  }

  patch(path: string, body?: unknown, init?: Init): Promise<Answer> {
    return this.send('PATCH', path, body, init);
  }

  delete(path: string, init?: Init): Promise<Answer> {
    return this.send('DELETE', path, undefined, init);
  }

  /** Uses `node:http`, which takes a quarter of the CPU time of `fetch`. */
  async send(method: string, path: string, body?: unknown, init: Init = {}): Promise<Answer> {
    const text = init.raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const { hostname, port, pathname, search } = new URL(this.url + path);
    const sent = request({
      hostname,
      port,
      method,
      path: pathname + search,
      headers: {
        'user-agent': 'node',
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        // Node.js sends none with DELETE.
        ...(text === undefined || method !== 'DELETE' ? {} : { 'content-length': String(Buffer.byteLength(text)) }),
        ...(this.token === undefined ? {} : { authorization: `Bearer ${this.token}` }),
        // A new client address for each request, if the server trusts this proxy, so that wrong passwords do not
        // throttle other tests.
        ...(path.startsWith('/v1/auth/') ? { 'x-forwarded-for': randomAddress() } : {}),
        ...init.headers,
      },
    });
    sent.end(text);
    const answer = await answerTo(sent);
    await expectDocumented(this.url, { method, path, hasBody: text !== undefined }, answer);
    return answer;
  }

  /** Signs in; throws if that fails. */
  async signIn(
    login: string,
    password: string,
  ): Promise<{ accessToken: string; refreshToken: string; user: { id: string } }> {
    const answer = await this.post('/v1/auth/login', { login, password });
    if (answer.status !== 200) throw new Error(`Sign-in answered ${String(answer.status)}: ${answer.text}`);
    return answer.body;
  }

  /** Signs in as the initial administrator. */
  async admin(): Promise<Api> {
    return this.as(await this.signIn('admin', ADMIN_PASSWORD));
  }

  /** Sends a request as administrator. Reuses the session, because each sign-in computes a password hash. */
  private async asAdmin(send: (admin: Api) => Promise<Answer>): Promise<Answer> {
    const known = await admins.get(this.url);
    const answer = known && (await send(known));
    if (answer && answer.status !== 401) return answer;
    const admin = this.admin();
    admins.set(this.url, admin);
    // Callers that await the promise get the error.
    admin.catch(() => admins.delete(this.url));
    return send(await admin);
  }

  /** Creates an account with a unique name and signs it in. */
  async createUser(overrides: { password?: string; [field: string]: unknown } = {}): Promise<Account> {
    const username = uniqueName();
    const password = 'Unguessable-7';
    const made = await this.asAdmin((admin) => admin.post('/v1/users', { username, password, ...overrides }));
    if (made.status !== 201) throw new Error(`Making a user answered ${String(made.status)}: ${made.text}`);
    const { accessToken, refreshToken } = await this.signIn(
      made.body.username ?? made.body.email,
      overrides.password ?? password,
    );
    return { id: made.body.id, username: made.body.username, password, accessToken, refreshToken };
  }

  /** Creates an API key for all APIs, owned by this user. */
  async createKey(overrides: Record<string, unknown> = {}): Promise<Key> {
    const made = await this.post('/v1/keys', { name: 'a key', scopes: ['*'], ...overrides });
    if (made.status !== 201) throw new Error(`Making a key answered ${String(made.status)}: ${made.text}`);
    return made.body;
  }

  /** Creates an API that responds with its slug, unless overridden. Returns the slug. */
  async createApi(overrides: Record<string, unknown> = {}): Promise<string> {
    const slug = uniqueName();
    const api = { slug, name: slug, ...(overrides.upstream === undefined ? { answer: slug } : {}), ...overrides };
    const made = await this.asAdmin((admin) => admin.post('/v1/apis', api));
    if (made.status !== 201) throw new Error(`Making an API answered ${String(made.status)}: ${made.text}`);
    return made.body.slug;
  }

  /** Creates a plan with a unique name. Returns its slug. */
  async createPlan(limits: object[] = []): Promise<string> {
    const slug = uniqueName();
    const made = await this.asAdmin((admin) => admin.post('/v1/plans', { slug, name: slug, limits }));
    if (made.status !== 201) throw new Error(`Making a plan answered ${String(made.status)}: ${made.text}`);
    return slug;
  }

  call(slug: string, { key }: { key: string }, init: Init = {}): Promise<Answer> {
    return this.send('GET', `/call/${slug}`, undefined, { ...init, headers: { 'x-api-key': key, ...init.headers } });
  }
}

/** Returns a random IPv4 address in 10.0.0.0/8. */
export function randomAddress(): string {
  return `10.${[...randomBytes(3)].join('.')}`;
}

/** Signed-in administrators by server address. */
const admins = new Map<string, Promise<Api>>();

/** Returns a unique username. */
export function uniqueName(): string {
  return `u${randomBytes(8).toString('hex')}`;
}

/** The length of the ISO 8601 prefix that identifies each window. */
const WINDOW_NAMES = { minute: 16, hour: 13, day: 10, month: 7 };

/** Runs `work` again if the window ended during it, because counts of the previous window no longer apply. */
export async function inOne<T>(window: keyof typeof WINDOW_NAMES, work: () => Promise<T>): Promise<T> {
  const name = (): string => new Date().toISOString().slice(0, WINDOW_NAMES[window]);
  for (;;) {
    const before = name();
    const isOver = (): boolean => name() !== before;
    try {
      const result = await work();
      if (!isOver()) return result;
    } catch (error) {
      if (!isOver()) throw error;
    }
  }
}

export function inOneMinute<T>(work: () => Promise<T>): Promise<T> {
  return inOne('minute', work);
}

/** Returns a client of the server that most tests share, which has its own database. */
export function sharedApi(): Api {
  const url = process.env.TEST_SERVER_URL;
  if (url === undefined) throw new Error('No server: is this run by `npm test`?');
  return new Api(url);
}

/**
 * Sends a path unchanged; `Api.send` normalizes `/./` and `/../`.
 * @param agent By default each request has a new connection. On a reused one, invalid HTTP closes the connection
 * without a response.
 */
export function sendExactly(
  { url, token }: Api,
  method: string,
  path: string,
  headers: Record<string, string> = {},
  agent: Agent | false = false,
): Promise<Answer> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const { hostname, port } = new URL(url);
  const sent = request({ hostname, port, method, path, headers: { ...authorization, ...headers }, agent });
  sent.end();
  return answerTo(sent);
}

/** Matches stack traces, SQL and file names, which no response may contain. */
export const LEAK =
  /\n\s+at |\.[jt]s:\d|node_modules|dist\/|\bSELECT\b|\bINSERT\b|\bUPDATE\b|violates|SQLSTATE|relation "/;

/** The members of a problem document that must be texts. */
const TEXTS = ['type', 'title', 'detail', 'instance'];

/** Checks that a response is a complete problem document with this status and code, and leaks no internals. */
export function expectProblem({ status: given, headers, body }: Answer, status: number, code: string): void {
  const seen = {
    status: given,
    inBody: body.status,
    code: body.code,
    requestId: body.requestId,
    type: headers.get('content-type')?.split(';')[0],
    challenge: headers.get('www-authenticate')?.split(' ')[0],
    noTexts: TEXTS.filter((name) => typeof body[name] !== 'string'),
    leak: LEAK.exec(JSON.stringify({ ...body, instance: '' }))?.[0],
  };
  const wanted = {
    ...{ status, inBody: status, code, requestId: headers.get('x-request-id') },
    type: 'application/problem+json',
    challenge: status === 401 ? 'Bearer' : undefined,
    ...{ noTexts: [], leak: undefined },
  };
  // `expect` takes more CPU time than the request, so it only makes the message.
  if (!isDeepStrictEqual(seen, wanted)) expect({ ...seen, body }).toEqual({ ...wanted, body });
}

/** A property of a body, as documented. */
export interface BodyProperty {
  type: string | string[];
  minLength?: number;
  enum?: unknown[];
  example?: unknown;
}

/**
 * OpenAPI documents by server address. Cached, because each has half a megabyte and is constant while the server runs.
 */
const documents = new Map<string, Promise<any>>();

/** Returns /openapi.json of a server, from the cache after the first request. */
export function openApiOf(api: Api): Promise<any> {
  const known = documents.get(api.url) ?? api.get('/openapi.json').then(({ body }) => body);
  documents.set(api.url, known);
  return known;
}

/** Returns all documented operations. */
export async function listOperations(api: Api): Promise<Operation[]> {
  return operationsIn(await openApiOf(api));
}

/** Returns the body properties by operation id, for operations with a body. */
export async function listBodies(api: Api): Promise<Map<string, Record<string, BodyProperty>>> {
  const { schemas } = (await openApiOf(api)).components;
  const bodies = new Map<string, Record<string, BodyProperty>>();
  for (const { id, declared } of await listOperations(api)) {
    const ref = declared.requestBody?.content['application/json']?.schema.$ref;
    if (ref !== undefined) bodies.set(id, schemas[ref.replace('#/components/schemas/', '')].properties);
  }
  return bodies;
}
