import { listOperations, openApiOf, uniqueName, type Account, type Api, type Key, type Operation } from './api.js';
import { confirmationToken } from './confirmation-token.js';
import { codeOf, enableTotp, prepareTotp } from './totp.js';

/** A schema of the document, or a part of one. */
export type Schema = Record<string, any>;

/** The parts of the document from which attacks are built. */
export interface Document {
  operations: Operation[];
  schemas: Record<string, Schema>;
}

export async function readDocument(api: Api): Promise<Document> {
  return { operations: await listOperations(api), schemas: (await openApiOf(api)).components.schemas };
}

/** Resolves a reference to a schema. */
export function schemaOf({ schemas }: Document, schema: Schema): Schema {
  const name = /^#\/components\/schemas\/(.+)$/.exec(schema.$ref ?? '')?.[1];
  return name === undefined ? schema : (schemas[name] ?? {});
}

/** Returns the body schema of an operation, if it has one. */
export function bodySchemaOf(document: Document, { declared }: Operation): Schema | undefined {
  const schema = declared.requestBody?.content['application/json']?.schema;
  return schema && schemaOf(document, schema);
}

/** An account that owns one object of every kind. Each text of the objects contains the canary. */
export interface Subject extends Account {
  /** A unique word of lower-case letters. */
  canary: string;
  /** Ids of owned objects by list path: `/v1/resources` → an id. */
  ids: Record<string, string>;
  key: Key;
}

/** Names an existing API to forward auth; other operations ignore it. */
export const FORWARDED = { 'x-quartermaster-api': 'api1' };

/** The key of the store entry of every subject. */
export const STORED = 'kept';

/** One-time proof that a body contains, such as a code or an e-mailed token. */
export interface Proof {
  code?: string;
  token?: string;
}

type Context = Pick<Subject, 'username' | 'password' | 'refreshToken' | 'canary'> & { key?: Key } & Proof;

/** Returns a random word of lower-case letters. */
function word(): string {
  const letters = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => 97 + (byte % 26));
  return `canary${String.fromCharCode(...letters)}`;
}

/** Accepted bodies of operations that do not accept the documented examples. */
const BODIES: Record<string, (of: Context) => unknown> = {
  'POST /v1/auth/register': () => ({ username: uniqueName(), password: 'Unguessable-7' }),
  'POST /v1/auth/login': ({ username, password }) => ({ login: username, password }),
  'POST /v1/auth/refresh': ({ refreshToken }) => ({ refreshToken }),
  // The new password equals the old one, so that the subject can sign in again.
  'POST /v1/auth/password': ({ password }) => ({ currentPassword: password, newPassword: password }),
  'POST /v1/auth/totp': ({ password }) => ({ password }),
  'POST /v1/auth/totp/disable': ({ password, code }) => ({ password, code }),
  'POST /v1/auth/totp/recovery-codes': ({ password, code }) => ({ password, code }),
  'POST /v1/auth/totp/confirm': ({ code }) => ({ code }),
  'POST /v1/auth/recovery': ({ username }) => ({ login: username }),
  'POST /v1/auth/recovery/confirm': ({ password, token }) => ({ token, newPassword: password }),
  'POST /v1/auth/email-confirmation/confirm': ({ token }) => ({ token }),
  'POST /v1/users': () => ({ username: uniqueName(), password: 'Unguessable-7' }),
  // Administrators need no password.
  'DELETE /v1/users/{user}': () => ({}),
  'PATCH /v1/users/{user}': ({ canary }) => ({ firstName: canary }),
  'PATCH /v1/platform': () => ({ creditOverprovisioning: false }),
  'POST /v1/plans': () => ({ slug: uniqueName(), name: 'A plan' }),
  'PATCH /v1/plans/{slug}': () => ({ name: 'A plan' }),
  'POST /v1/apis': () => ({ slug: uniqueName(), name: 'An API', answer: 'An answer' }),
  'PATCH /v1/apis/{slug}': () => ({ name: 'An API' }),
  'POST /v1/verify': ({ key }) => ({ key: key?.key, api: 'api1' }),
  'POST /v1/store/write': ({ canary }) => ({ entries: [{ key: 'written', value: canary }] }),
  'POST /v1/store/read': () => ({ keys: [STORED] }),
  'POST /v1/store/delete': () => ({ keys: ['written'] }),
  'PUT /v1/store/{key}': ({ canary }) => canary,
};

/** Text members that may contain a canary. */
const FREE = /^(name|value|title|reason|firstName|lastName)$/;

/**
 * Returns a body that an operation accepts: from this table, or the documented examples with canaries. Returns
 * undefined if the operation has no body.
 */
export function acceptedBody(document: Document, operation: Operation, of: Context): unknown {
  const known = BODIES[operation.id];
  if (known) return known(of);
  const schema = bodySchemaOf(document, operation);
  if (!schema?.properties) return undefined;
  const members = Object.entries<Schema>(schema.properties).filter(([name]) => name !== 'owner');
  return Object.fromEntries(
    members.map(([name, { example }]) => [name, FREE.test(name) ? of.canary : name === 'limit' ? 1_000_000 : example]),
  );
}

/** What the preparation of subjects needs. */
export interface Means {
  api: Api;
  /** An administrator that is not a subject. */
  root: Api;
  databaseUrl: string;
}

/** Disables two-factor sign-in. */
async function unguarded({ id }: Subject, { root }: Means): Promise<void> {
  await root.delete(`/v1/users/${id}/totp`);
}

async function guarded(of: Subject, means: Means): Promise<Proof> {
  await unguarded(of, means);
  return { code: (await enableTotp(means.api, of)).recoveryCodes[0]! };
}

/** Prepares a subject so that an operation accepts a request about it. Returns the proof for the body. */
const PREPARED: Record<string, (of: Subject, means: Means) => Promise<Proof>> = {
  'POST /v1/auth/totp': async (of, means) => {
    await unguarded(of, means);
    return {};
  },
  'POST /v1/auth/totp/confirm': async (of, means) => {
    await unguarded(of, means);
    return { code: codeOf(await prepareTotp(means.api, of)) };
  },
  'POST /v1/auth/totp/disable': guarded,
  'POST /v1/auth/totp/recovery-codes': guarded,
  'DELETE /v1/users/{user}/totp': guarded,
  'POST /v1/auth/recovery/confirm': async ({ id }, { root }) => ({
    token: (await root.post(`/v1/users/${id}/reset-link`)).body.token,
  }),
  'POST /v1/auth/email-confirmation': async (of, { api }) => {
    await api.as(of).patch('/v1/users/me', { email: `${of.canary}@${uniqueName()}.example` });
    return {};
  },
  'POST /v1/auth/email-confirmation/confirm': async ({ id }, { databaseUrl }) => ({
    token: await confirmationToken(id, databaseUrl),
  }),
};

/** Whether an operation accepts a subject only after preparation. */
export function isPrepared({ id }: Operation): boolean {
  return id in PREPARED;
}

/** Prepares a subject for one accepted request. The result completes `acceptedBody`. */
export async function prepare({ id }: Operation, of: Subject, means: Means): Promise<Proof> {
  return (await PREPARED[id]?.(of, means)) ?? {};
}

/** Signs a subject in again, after disabling its second factor. Returns undefined if that fails. */
export async function signInAgain(of: Subject, means: Means): Promise<Subject | undefined> {
  await unguarded(of, means);
  const { status, body } = await means.api.post('/v1/auth/login', { login: of.username, password: of.password });
  return status === 200 ? { ...of, accessToken: body.accessToken, refreshToken: body.refreshToken } : undefined;
}

/** Path parameters that do not identify an owned object. */
const PARAMETERS: Record<string, (of: Subject) => string> = {
  user: ({ username }) => username,
  meter: () => 'api:api1',
  key: () => STORED,
  path: () => 'below',
};

/**
 * Returns the path of an operation about a subject and its objects.
 * @throws Error that names an unknown path parameter
 */
export async function pathFor({ path }: Operation, of: Subject, api: Api): Promise<string> {
  const parts: string[] = [];
  let before = '';
  for (const part of path.split('/').slice(1)) {
    const name = /^\{(.+)\}$/.exec(part)?.[1];
    if (name === undefined) parts.push(part);
    else if (name === 'slug') parts.push(await slugOf(before, api));
    else {
      const value = PARAMETERS[name]?.(of) ?? of.ids[before];
      if (value === undefined) {
        throw new Error(
          `Nothing is known to stand for {${name}} of ${path}: see PARAMETERS in test/support/subjects.ts`,
        );
      }
      parts.push(encodeURIComponent(value));
    }
    before += `/${part}`;
  }
  return `/${parts.join('/')}`;
}

/** Returns a slug: a new plan or API for its own routes, an existing API for calls. */
async function slugOf(collection: string, api: Api): Promise<string> {
  if (collection === '/v1/plans') return api.createPlan();
  return collection === '/v1/apis' ? api.createApi() : 'api1';
}

/** Gives an account one object of every kind that the document can create and identify by id. */
export async function furnish(document: Document, api: Api, account: Account): Promise<Subject> {
  const as = api.as(account);
  const canary = word();
  const key = await as.createKey({ name: canary });
  const subject: Subject = { ...account, canary, ids: { '/v1/keys': key.id }, key };
  await as.patch('/v1/users/me', { firstName: canary, lastName: canary, email: `${canary}@example.com` });
  await as.put(`/v1/store/${STORED}`, canary);
  subject.ids['/v1/auth/sessions'] = (await as.get('/v1/auth/sessions')).body.data[0].id;
  for (const { path } of document.operations) {
    const list = /^(.+)\/\{id\}$/.exec(path)?.[1];
    if (list !== undefined) await refurnish(document, api, subject, list);
  }
  return subject;
}

/** Creates an object of the list at `list` if the subject has none. @throws Error that names what cannot be created */
export async function refurnish(document: Document, api: Api, subject: Subject, list: string): Promise<void> {
  const as = api.as(subject);
  if (list in subject.ids && (await as.get(`${list}/${subject.ids[list]!}`)).status === 200) return;
  // A session comes from a sign-in.
  if (list.endsWith('/sessions')) {
    subject.ids[list] = (await as.get('/v1/auth/sessions')).body.data[0].id;
    return;
  }
  const operation = document.operations.find(({ id }) => id === `POST ${list}`);
  const body = operation && acceptedBody(document, operation, subject);
  const made = await as.post(list, body);
  if (typeof made.body.id !== 'string') {
    throw new Error(
      `POST ${list} made nothing to try ${list}/{id} on: a body that it accepts belongs into BODIES of ` +
        `test/support/subjects.ts. It answered ${String(made.status)}: ${made.text}`,
    );
  }
  subject.ids[list] = made.body.id;
  if (list === '/v1/keys') subject.key = made.body;
}
