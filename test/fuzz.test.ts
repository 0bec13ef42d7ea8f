import fc from 'fast-check';
import type { Agent } from 'node:http';
import {
  Api,
  LEAK,
  listOperations,
  openApiOf,
  randomAddress,
  sharedApi,
  uniqueName,
  type Answer,
  type Operation,
} from './support/api.js';
import { eachAtOnce, exchange, keptConnections, type Wire } from './support/exchange.js';
import { acceptedRequest, hostileRequests, type Caller, type HostileRequest } from './support/hostile-requests.js';
import { ResponseSchemas } from './support/response-schemas.js';
import { TestServer, createDatabase } from './support/server.js';
import {
  FORWARDED,
  STORED,
  acceptedBody,
  furnish,
  isPrepared,
  prepare,
  readDocument,
  signInAgain,
  type Document,
  type Means,
  type Subject,
} from './support/subjects.js';
import { SEED, sizesOf } from './support/sizes.js';

/** `SEED=…` repeats the same requests, and `OPERATION='GET /v1/users'` sends only those of one operation. */
const { CASES } = sizesOf('fuzz');

const OPERATIONS = (await listOperations(sharedApi()))
  .map(({ id }) => id)
  .filter((id) => [undefined, id].includes(process.env.OPERATION));

/** Number of concurrent operations. */
const WIDTH = 12;

type SignedIn = 'user' | 'other' | 'admin';

/** The objects that hostile requests refer to. Replaces those that permitted requests delete or change. */
class World {
  /** Users by name. Operations that need preparation have separate users. */
  private readonly people = new Map<string, Promise<Subject>>();
  private readonly cursors = new Map<string, string>();
  /** Values that only their owner and administrators may read. */
  private readonly secrets = new Map<string, Subject>();
  /** All past and present credentials of a subject, by its id. */
  private readonly credentials = new Map<string, Set<string>>();
  /** Ids of objects that were created for one operation and one caller. */
  private readonly owned = new Map<string, string>();
  private catalogue = { plan: '', api: '' };
  private unscoped = '';
  victim?: Subject;

  constructor(
    private readonly document: Document,
    /** Its administrator sends no hostile requests. */
    private readonly means: Means,
  ) {}

  private get api(): Api {
    return this.means.api;
  }

  private get root(): Api {
    return this.means.root;
  }

  async prepare(): Promise<void> {
    this.victim = await this.makeSubject('user');
    await Promise.all([this.subject('user'), this.subject('other'), this.subject('admin'), this.stock()]);
    this.unscoped = (await this.api.as(await this.subject('user')).createKey({ scopes: [] })).key;
  }

  private subject(who: SignedIn, operation?: Operation): Promise<Subject> {
    const name = nameOf(who, operation);
    let subject = this.people.get(name);
    if (!subject) {
      subject = this.makeSubject(who === 'admin' ? 'admin' : 'user');
      this.people.set(name, subject);
    }
    return subject;
  }

  private async makeSubject(role: 'admin' | 'user'): Promise<Subject> {
    const username = uniqueName();
    // Only the victim's password is unknown to hostile requests.
    const password = this.victim ? 'Unguessable-7' : `Unguessable-${uniqueName()}`;
    const made = await this.root.post('/v1/users', { username, password, role });
    if (made.body.code === 'quota_exceeded') {
      await this.stock();
      return this.makeSubject(role);
    }
    if (made.status !== 201) throw new Error(`Making a user answered ${made.status}: ${made.text}`);
    const tokens = await this.api.signIn(username, password);
    const subject = await furnish(this.document, this.api, { id: made.body.id, username, password, ...tokens });
    this.secrets.set(subject.canary, subject);
    // Only the victim's credentials are secrets: hostile requests contain those of the other users.
    if (!this.victim)
      for (const secret of [subject.key.key, tokens.accessToken, tokens.refreshToken])
        this.secrets.set(secret, subject);
    this.learn(subject);
    return subject;
  }

  /** Stores the credentials of a subject: a caller who sends one of them may read its objects. */
  private learn(subject: Subject): void {
    const { id, password, accessToken, refreshToken, key } = subject;
    const known = this.credentials.get(id) ?? new Set([password, key.key]);
    this.credentials.set(id, known.add(accessToken).add(refreshToken));
  }

  /** Creates a plan and an API, restores the APIs for calls, and removes platform limits. */
  private async stock(): Promise<void> {
    this.catalogue = { plan: await this.made('/v1/plans'), api: await this.made('/v1/apis') };
    for (const slug of ['api1', 'api2']) {
      const body = { slug, name: slug, answer: slug.toUpperCase() };
      const { status } = await this.root.post('/v1/apis', body);
      if (status === 409) await this.root.patch(`/v1/apis/${slug}`, { answer: body.answer });
    }
    await this.root.patch('/v1/platform', { totalObjects: null, defaultPlan: null, registration: 'open' });
    for (const { meter, window } of (await this.root.get('/v1/platform/quotas')).body.data) {
      await this.root.delete(`/v1/platform/quotas/${meter}?window=${window}`);
    }
  }

  private async made(path: string): Promise<string> {
    const slug = uniqueName();
    await this.root.post(path, { slug, name: slug });
    return slug;
  }

  /** Values for the placeholders in a request. */
  private async names(operation: Operation, caller: Caller, asked: string): Promise<Record<string, string>> {
    const { id, path } = operation;
    const [user, other] = await Promise.all([this.subject('user', operation), this.subject('other', operation)]);
    const own = caller === 'other' ? other : caller === 'admin' ? await this.subject('admin', operation) : user;
    // Administrators may change any user, so the victim is not exposed to them.
    const victim = caller === 'admin' ? other : this.victim!;
    const list = path.slice(0, Math.max(0, path.indexOf('/{id}')));
    return {
      id: await this.ownedBy(own, id, list),
      'own.username': own.username,
      'own.refreshToken': own.refreshToken,
      'own.key': own.key.key,
      'other.owned': (own === other ? user : other).ids[list] ?? 'none',
      'victim.owned': victim.ids[list] ?? 'none',
      'user.id': own.id,
      'user.username': own.username,
      'user.key': own.key.id,
      'user.key.secret': own.key.key,
      'user.accessToken': own.accessToken,
      'user.refreshToken': own.refreshToken,
      'other.id': other.id,
      'other.username': other.username,
      'other.key': other.key.id,
      'victim.id': victim.id,
      'victim.username': victim.username,
      cursor: this.cursors.get(path) ?? 'none',
      ...this.catalogue,
      ...(await this.proofs(operation, own, other, asked)),
    };
  }

  /** One-time codes and tokens, created only for a request that uses them. */
  private async proofs(
    operation: Operation,
    own: Subject,
    other: Subject,
    asked: string,
  ): Promise<Record<string, string>> {
    const isOfOther = asked.includes('<<guarded.');
    if (!isOfOther && !/<<own\.(code|token)>>/.test(asked) && !operation.path.endsWith('/email-confirmation'))
      return {};
    const of = isOfOther ? other : own;
    const { code = 'none', token = 'none' } = await prepare(operation, of, this.means);
    return { 'own.code': code, 'own.token': token, 'guarded.id': of.id, 'guarded.username': of.username };
  }

  /** Id of an object that the operation may delete. Other operations do not use it. */
  private async ownedBy(owner: Subject, operation: string, list: string): Promise<string> {
    const create = this.document.operations.find(({ id }) => id === `POST ${list}`);
    const place = `${owner.id} ${operation}`;
    let id = this.owned.get(place);
    if (!create && id === undefined && list.endsWith('/sessions')) {
      // The initial sessions may have ended with a password change.
      const again = await signInAgain(owner, this.means);
      const claims = Buffer.from(again?.accessToken.split('.')[1] ?? '', 'base64url').toString();
      id = claims === '' ? 'none' : (JSON.parse(claims).sid as string);
      this.owned.set(place, id);
    }
    if (operation === 'GET /v1/store/{key}' && id === undefined) {
      // Another operation can have deleted the entry.
      const put = this.document.operations.find((each) => each.id === 'PUT /v1/store/{key}');
      if (put) await this.api.as(owner).put(`/v1/store/${STORED}`, acceptedBody(this.document, put, owner));
      this.owned.set(place, (id = STORED));
    }
    if (!create) return id ?? owner.ids[list] ?? 'none';
    if (id === undefined) {
      const made = await this.api.as(owner).post(list, acceptedBody(this.document, create, owner));
      id = typeof made.body?.id === 'string' ? (made.body.id as string) : 'none';
      this.owned.set(place, id);
    }
    return id;
  }

  /** Fills in the placeholders and the credential of a request. */
  async write(operation: Operation, { caller, path, query, headers, body }: HostileRequest): Promise<Wire> {
    const asked = [...Object.values(path).map(({ text }) => text), body?.text].join(' ');
    const names = await this.names(operation, caller, asked);
    const filled = (text: string): string =>
      text.replaceAll(/<<([\w.]+)>>/g, (all, name: string) => names[name] ?? all);
    const address = operation.path.replaceAll(/\{(\w+)\}/g, (_all, name: string) => {
      const { text, raw } = path[name]!;
      return raw ? text : encodeURIComponent(filled(text));
    });
    const search = query.map(([name, value]) => `${escaped(name)}=${escaped(filled(value))}`).join('&');
    const credential = await this.credential(caller, operation);
    return {
      method: operation.method,
      path: search === '' ? address : `${address}?${search}`,
      headers: {
        // A random address, because failed sign-ins are limited for each address.
        'x-forwarded-for': randomAddress(),
        ...FORWARDED,
        ...credential,
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, filled(value)])),
      },
      ...(body ? { body: bytesOf({ ...body, text: filled(body.text) }) } : {}),
    };
  }

  private async credential(caller: Caller, operation: Operation): Promise<Record<string, string>> {
    if (caller === 'nobody') return {};
    if (caller === 'unscoped') return { 'x-api-key': this.unscoped };
    if (caller === 'key') return { 'x-api-key': (await this.subject('user')).key.key };
    return { authorization: `Bearer ${(await this.subject(caller, operation)).accessToken}` };
  }

  /** Returns a secret of another user in the response, unless the request has a credential of that user. */
  async leakTo(operation: Operation, caller: Caller, wire: Wire, { text }: Answer): Promise<string | undefined> {
    if (caller === 'admin' || !/canary|qmr?_|eyJ/.test(text)) return undefined;
    const who = caller === 'other' ? 'other' : 'user';
    const own = caller === 'nobody' ? undefined : await this.subject(who, operation);
    const sent = [wire.path, ...Object.values(wire.headers ?? {}), wire.body?.toString() ?? ''].join('\n');
    const isShown = ({ id }: Subject): boolean => [...this.credentials.get(id)!].some((each) => sent.includes(each));
    for (const [secret, owner] of this.secrets) {
      if (owner.id !== own?.id && text.includes(secret) && !isShown(owner)) return secret;
    }
    return undefined;
  }

  /** Stores values from a response, and restores objects that the request was allowed to change. */
  async heed(operation: Operation, { caller }: HostileRequest, answer: Answer): Promise<void> {
    const { method, path } = operation;
    const { status, body } = answer;
    if (typeof body?.nextCursor === 'string') this.cursors.set(path, body.nextCursor);
    const hasDone = status < 300 && method !== 'GET';
    if (hasDone && /^\/v1\/(plans\/|apis\/|platform)/.test(path)) await this.stock();
    if (caller === 'nobody') return;
    const who = signedInAs(caller);
    if (status !== 200) this.owned.delete(`${(await this.subject(who, operation)).id} ${operation.id}`);
    const isOfAccounts = hasDone && /^\/v1\/(auth|users)/.test(path);
    const isRefused = status === 401 || body?.code === 'account_disabled' || (status === 403 && caller === 'admin');
    if (isOfAccounts || isRefused) await this.mend(who, operation);
  }

  /** Replaces a user that cannot sign in any more, or whose role has changed. */
  private async mend(who: SignedIn, operation: Operation): Promise<void> {
    const name = nameOf(who, operation);
    const known = this.people.get(name);
    const subject = await this.subject(who, operation);
    if ((await this.isWhole(who, subject)) || this.people.get(name) !== known) return;
    this.people.set(name, this.renewed(who, subject));
    const { accessToken } = await this.people.get(name)!;
    if (name === 'user') this.unscoped = (await this.api.as({ accessToken }).createKey({ scopes: [] })).key;
  }

  private async renewed(who: SignedIn, subject: Subject): Promise<Subject> {
    const again = await signInAgain(subject, this.means);
    if (!again || !(await this.isWhole(who, again))) return this.makeSubject(who === 'admin' ? 'admin' : 'user');
    this.learn(again);
    return again;
  }

  private async isWhole(who: SignedIn, subject: Subject): Promise<boolean> {
    const { status, body } = await this.api.as(subject).get('/v1/users/me');
    return status === 200 && body.role === (who === 'admin' ? 'admin' : 'user');
  }
}

/** Name of the user for an operation. Operations that need preparation have separate users. */
function nameOf(who: SignedIn, operation?: Operation): string {
  return operation && isPrepared(operation) ? `${who} of ${operation.id}` : who;
}

/** The user that the caller's credential belongs to. */
function signedInAs(caller: Exclude<Caller, 'nobody'>): SignedIn {
  return caller === 'unscoped' || caller === 'key' ? 'user' : caller;
}

/** Percent-encodes a text for a query. Lone surrogates have no UTF-8 and are replaced. */
function escaped(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function bytesOf({ text, at, bytes }: NonNullable<HostileRequest['body']>): Buffer {
  const all = Buffer.from(text);
  if (at === undefined) return all;
  const end = all.subarray(0, at);
  return bytes && bytes.length > 0 ? Buffer.concat([end, Buffer.from(bytes), all.subarray(at)]) : end;
}

/** Returns a curl command that repeats the request. */
function curl(url: string, { method, path, headers = {}, body }: Wire): string {
  const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
  const sent = Object.entries(headers).map(
    ([name, value]) => `-H ${quoted(value === '' ? `${name};` : `${name}: ${value}`)}`,
  );
  const command = ['curl -sS --path-as-is', '-X', method, ...sent, quoted(url + path)].join(' ');
  return body === undefined
    ? command
    : `echo ${Buffer.from(body).toString('base64')} | base64 -d | ${command} --data-binary @-`;
}

/** Error statuses for a body that an operation does not expect. */
const STRAY_BODY = [400, 413, 415];

/** Returns the fault of a response to any request, or undefined. */
function faultOf(
  operation: Operation,
  answer: Answer,
  schemas: ResponseSchemas,
  hasStrayBody: boolean,
): string | undefined {
  const { status, headers, body, text } = answer;
  // An upstream can fail; every other 5xx is a fault of the server.
  if (status >= 500 && body?.code !== 'upstream_failed') return 'the server failed';
  if (hasStrayBody && STRAY_BODY.includes(status)) return undefined;
  if (!headers.has('x-request-id')) return 'it has no x-request-id';
  if (status >= 400) {
    if (body.status !== status) return `it says that its status is ${String(body.status)}`;
    if (body.requestId !== headers.get('x-request-id')) return `its requestId is not the one of its header`;
    if (LEAK.test(JSON.stringify({ ...body, instance: '' }))) return `it gives away what is inside`;
    if ((status === 401) !== headers.has('www-authenticate')) return `it challenges where it should not, or does not`;
  }
  if (typeof body?.nextCursor === 'string' && !headers.has('link')) return 'it has no link to the next page';
  if (headers.has('x-injected')) return 'it has a header of the sender’s';
  return (
    schemas.faultOf(operation, answer, hasStrayBody) ??
    (text.includes('[object Object]') ? 'it shows an object as text' : undefined)
  );
}

let database: Awaited<ReturnType<typeof createDatabase>>;
let server: TestServer;
let agent: Agent;
let document: Document;

/** Faults by operation. */
const found = new Map<string, string>();
/** Number of responses with each status, by operation. */
const statuses = new Map<string, Map<number, number>>();

beforeAll(
  async () => {
    database = await createDatabase();
    server = await TestServer.start({
      DATABASE_URL: database.url,
      TRUST_PROXY: '127.0.0.0/8,::1',
      // Failure messages include the logged error.
      LOG_LEVEL: 'error',
    });
    agent = keptConnections(WIDTH * 2);
    const api = new Api(server.url);
    document = await readDocument(api);
    const world = new World(document, { api, root: await api.admin(), databaseUrl: database.url });
    await world.prepare();
    const schemas = new ResponseSchemas(await openApiOf(api));
    const chosen = document.operations.filter(({ id }) => OPERATIONS.includes(id));
    // Changes to the platform come last, because they can lock out all users.
    const isOfPlatform = ({ id }: Operation): boolean => /^(?!GET).+ \/v1\/platform/.test(id);
    for (const some of [chosen.filter((each) => !isOfPlatform(each)), chosen.filter(isOfPlatform)]) {
      await eachAtOnce(some, WIDTH, (operation) => fuzz(operation, world, schemas));
    }
  },
  600_000 + CASES * 10_000,
);

afterAll(async () => {
  agent.destroy();
  await server.stop();
  await database.drop();
});

async function fuzz(operation: Operation, world: World, schemas: ResponseSchemas): Promise<void> {
  const { id } = operation;
  const counts = new Map<number, number>();
  statuses.set(id, counts);
  let last = '';
  const send = async (request: HostileRequest): Promise<void> => {
    const wire = await world.write(operation, request);
    const answer = await exchange(server.url, wire, agent);
    counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
    // Operations need not document the error for a body that they do not expect.
    const hasStrayBody =
      !operation.declared.requestBody && (request.body !== undefined || request.headers['content-type'] === 'x');
    const leaked = await world.leakTo(operation, request.caller, wire, answer);
    const fault = leaked === undefined ? faultOf(operation, answer, schemas, hasStrayBody) : `it tells ${leaked}`;
    await world.heed(operation, request, answer);
    if (fault === undefined) return;
    last = [
      `${fault}: ${String(answer.status)} ${answer.text.slice(0, 1_000)}`,
      ...server.output.split('\n').filter((line) => line.includes(`"${answer.headers.get('x-request-id')}"`)),
      `as ${request.caller}: ${curl(server.url, wire)}`,
    ].join('\n');
    throw new Error(fault);
  };
  const accepted = acceptedRequest(document, operation);
  const property = fc.asyncProperty(hostileRequests(document, operation), send);
  const { failed, error, errorInstance } = (await fc.check(property, {
    seed: SEED,
    numRuns: CASES,
    examples: [[accepted] as [HostileRequest]],
  })) as fc.RunDetails<unknown> & {
    error?: string;
  };
  if (failed) {
    const fault = last || (errorInstance instanceof Error ? errorInstance.message : error);
    found.set(id, `${fault}\nagain: SEED=${SEED} CASES=${CASES} OPERATION='${id}'`);
    return;
  }
  // Another operation can have removed an object of the caller; the response then restores it for the next try.
  for (let tries = 0; !isDone(counts) && tries < 10; tries++) await send(accepted);
}

/** Whether at least one response is a success. */
function isDone(counts: Map<number, number>): boolean {
  return [...counts.keys()].some((status) => status < 300);
}

test('OPERATION selects at least one operation', () => {
  expect(OPERATIONS).not.toHaveLength(0);
});

test.each(OPERATIONS)(`%s with hostile requests: documented responses without a 5xx or a leak (SEED=${SEED})`, (id) => {
  expect(found.get(id)).toBeUndefined();
  // Without a success only errors would be tested: see BODIES and PARAMETERS in test/support/subjects.ts.
  const counts = statuses.get(id)!;
  expect({ seed: SEED, counts: [...counts], isDone: isDone(counts) }).toMatchObject({ isDone: true });
});
