import type { Agent } from 'node:http';
import pg from 'pg';
import { Api, isMetered, listOperations, sharedApi, type Answer, type Operation } from './support/api.js';
import { contentsOf } from './support/contents.js';
import { eachAtOnce, exchange, keptConnections } from './support/exchange.js';
import { TestServer, createDatabase, type ServerProcess } from './support/server.js';
import {
  acceptedBody,
  bodySchemaOf,
  furnish,
  pathFor,
  prepare,
  readDocument,
  refurnish,
  schemaOf,
  type Document,
  type Schema,
  type Subject,
} from './support/subjects.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

/** Names that no entity has, but that have granted rights in other products. */
const TELLING = [
  ...[
    'isAdmin',
    'is_admin',
    'admin',
    'roles',
    'permissions',
    'scope',
    'userId',
    'user_id',
    'user',
    'ownerId',
    'owner_id',
  ],
  ...['password_hash', 'hash', 'salt', 'token', 'verified', 'emailVerified', 'email_verified', 'enabled', 'used'],
  ...[
    '__proto__',
    'constructor',
    'prototype',
    'toString',
    'hasOwnProperty',
    '__defineGetter__',
    '$set',
    '_id',
    '',
    'id ',
  ],
];

const { SHARE } = sizesOf('massAssignment');

/** Preloaded script: prints on SIGUSR2 the polluted properties of a plain object. */
const WITNESS = `process.on('SIGUSR2',()=>process.stdout.write('inherited:'+JSON.stringify([({}).polluted,({}).role,[].polluted])+'\\n'))`;

const WRITES = (await listOperations(sharedApi())).filter(({ method, path }) => method !== 'GET' && !isMetered(path));

let database: Awaited<ReturnType<typeof createDatabase>>;
let server: ServerProcess;
let agent: Agent;
let connection: pg.Client;
let document: Document;
let api: Api;
let root: Api;
let user: Subject;
let admin: Subject;
let names: string[];

beforeAll(async () => {
  database = await createDatabase();
  server = await TestServer.spawn({
    ...{ DATABASE_URL: database.url, LOG_LEVEL: 'silent', REQUEST_STATISTICS: 'off' },
    NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(WITNESS)}`,
  });
  agent = keptConnections(16);
  connection = new pg.Client({ connectionString: database.url });
  await connection.connect();
  api = new Api(server.url);
  document = await readDocument(api);
  root = await api.admin();
  [user, admin] = await Promise.all([
    furnish(document, api, await api.createUser()),
    furnish(document, api, await api.createUser({ role: 'admin' })),
  ]);
  names = [...new Set([...(await entityFields()), ...TELLING])];
});

afterAll(async () => {
  agent.destroy();
  await connection.end();
  await server.stop();
  await database.drop();
});

/** Every field of every entity, in snake case and in camel case. */
async function entityFields(): Promise<string[]> {
  const { rows } = await connection.query<{ name: string }>(
    `SELECT DISTINCT column_name AS name FROM information_schema.columns WHERE table_schema = 'public'`,
  );
  const camel = (name: string): string => name.replaceAll(/_(.)/g, (_all, letter: string) => letter.toUpperCase());
  return rows.flatMap(({ name }) => [name, camel(name)]);
}

/** A value that does harm if the server accepts it. */
function valueOf(name: string): unknown {
  if (/role|admin/i.test(name)) return 'admin';
  if (/owner|user|^id$|_id$|Id$/.test(name)) return admin.id;
  if (/At$|_at$/.test(name)) return '2099-01-01T00:00:00Z';
  if (/__proto__|constructor|prototype/.test(name))
    return { polluted: 'yes', role: 'admin', prototype: { polluted: 'yes' } };
  return 1_000_000;
}

/** Adds a member to a JSON object, as the first or the last one. Allows duplicate names. */
function withMember(json: string, name: string, value: unknown, isFirst: boolean): string {
  const member = `${JSON.stringify(name)}:${JSON.stringify(value)}`;
  const inner = json.slice(1, -1);
  const both = isFirst ? [member, inner] : [inner, member];
  return `{${both.filter(Boolean).join(',')}}`;
}

/** Bodies with an additional member in a nested object, one for each nested object. */
function withNested(document: Document, schema: Schema, body: Record<string, unknown>, name: string): unknown[] {
  return Object.entries<Schema>(schema.properties).flatMap(([property, of]) => {
    const { properties } = schemaOf(document, of.items ?? of);
    if (!properties || name in properties) return [];
    const known = (body[property] as unknown[] | undefined)?.[0] ?? {};
    const inner = JSON.parse(withMember(JSON.stringify(known), name, valueOf(name), false)) as unknown;
    return [{ ...body, [property]: [inner] }];
  });
}

/** The share of names for one operation. All operations together cover all names. */
function shareOf(id: string): string[] {
  const place = WRITES.findIndex((operation) => operation.id === id);
  return names.filter((_name, i) => (i + place) % SHARE === 0);
}

interface Sent {
  as: Subject;
  path: string;
  body?: string;
}

function send({ method }: Operation, { as, path, body }: Sent): Promise<Answer> {
  const headers = {
    authorization: `Bearer ${as.accessToken}`,
    ...(body === undefined ? {} : { 'content-type': 'application/json' }),
  };
  return exchange(server.url, { method, path, headers, ...(body === undefined ? {} : { body }) }, agent);
}

/** Checks that every request gets 400, or 403 for users without the right, and that nothing changes. */
async function expectRefused(operation: Operation, all: Sent[]): Promise<void> {
  const before = await contentsOf(connection);
  const wrong: string[] = [];
  await eachAtOnce(all, 16, async (sent) => {
    const { status, body, text } = await send(operation, sent);
    const isForbidden = status === 403 && body.code === 'forbidden' && sent.as === user;
    const isRefused = status === 400 && ['validation_failed', 'malformed_json'].includes(body.code);
    if ((!isRefused && !isForbidden) || text.includes('polluted')) {
      wrong.push(`${sent.as === user ? 'user' : 'admin'} ${sent.path} ${sent.body ?? ''}: ${status} ${text}`);
    }
  });
  expect(wrong).toEqual([]);
  expect(await contentsOf(connection)).toEqual(before);
}

/** Prepares an operation, with a valid path and body for each subject. */
async function prepared(id: string): Promise<{
  operation: Operation;
  paths: Map<Subject, string>;
  bodies: Map<Subject, unknown>;
}> {
  const operation = document.operations.find((each) => each.id === id)!;
  const list = /^(.+)\/\{id\}/.exec(operation.path)?.[1];
  const paths = new Map<Subject, string>();
  const bodies = new Map<Subject, unknown>();
  for (const subject of [user, admin]) {
    if (list !== undefined) await refurnish(document, api, subject, list);
    paths.set(subject, await pathFor(operation, subject, root));
    const proof = await prepare(operation, subject, { api, root, databaseUrl: database.url });
    bodies.set(subject, acceptedBody(document, operation, { ...subject, ...proof }));
  }
  return { operation, paths, bodies };
}

/** Operations whose body has named members. A value of the store is any JSON. */
const WITH_BODY = WRITES.filter(({ declared }) =>
  Object.hasOwn(declared.requestBody?.content['application/json']?.schema ?? {}, '$ref'),
);

describe('Undocumented field', () => {
  test.each(WITH_BODY.map(({ id }) => id))('in the body of %s: 400 or 403, and nothing changes', async (id) => {
    const { operation, paths, bodies: known } = await prepared(id);
    const schema = bodySchemaOf(document, operation)!;
    const unknown = shareOf(id).filter((name) => !Object.hasOwn(schema.properties ?? {}, name));
    const all = [user, admin].flatMap((as): Sent[] => {
      const accepted = known.get(as) as Record<string, unknown>;
      const json = JSON.stringify(accepted);
      const bodies = unknown.flatMap((name, i) => [
        withMember(json, name, valueOf(name), i % 2 === 0),
        ...withNested(document, schema, accepted, name).map((body) => JSON.stringify(body)),
      ]);
      const wholes = [
        `[${withMember(json, 'role', 'admin', true)}]`,
        `[${json}]`,
        // Parsers keep the last of two duplicates, which is unknown too.
        withMember(withMember(json, 'ownerId', user.id, true), 'ownerId', admin.id, false),
        withMember(json, 'user', { role: 'admin', id: admin.id }, false),
        withMember(json, '__proto__', { __proto__: { polluted: 'yes' } }, true),
        withMember(json, 'constructor', { prototype: { polluted: 'yes', role: 'admin' } }, true),
      ];
      return [...bodies, ...wholes].map((body) => ({ as, path: paths.get(as)!, body }));
    });
    await expectRefused(operation, all);
  });

  test.each(WRITES.map(({ id }) => id))('in the query of %s: 400 or 403, and nothing changes', async (id) => {
    const { operation, paths, bodies } = await prepared(id);
    const known = (operation.declared.parameters ?? []).filter((each) => each.in === 'query').map(({ name }) => name);
    const all = [user, admin].flatMap((as) => {
      const accepted = bodies.get(as);
      return shareOf(id)
        .filter((name) => !known.includes(name))
        .map((name): Sent => {
          const path = `${paths.get(as)!}?${encodeURIComponent(name)}=${encodeURIComponent(String(valueOf(name)))}`;
          return { as, path, ...(accepted === undefined ? {} : { body: JSON.stringify(accepted) }) };
        });
    });
    await expectRefused(operation, all);
  });
});

test('PATCH /v1/users/me with a field that only administrators can set: 403 or 400, and nothing changes', async () => {
  const operation = document.operations.find(({ id }) => id === 'PATCH /v1/users/{user}')!;
  const own = new Set(['username', 'email', 'firstName', 'lastName']);
  const others = Object.entries<Schema>(bodySchemaOf(document, operation)!.properties).filter(
    ([name]) => !own.has(name),
  );
  expect(others).not.toHaveLength(0);
  const all = others.flatMap(([name, { example, enum: values = [example] }]) =>
    (values as unknown[]).map((value) => ({ as: user, path: '/v1/users/me', body: JSON.stringify({ [name]: value }) })),
  );
  await expectRefused(operation, all);
});

test('object prototypes after all requests: not polluted', async () => {
  const said = (): string | undefined => /inherited:(.*)/.exec(server.output)?.[1];
  server.child.kill('SIGUSR2');
  await until(() => said() !== undefined);
  expect(said()).toBe('[null,null,null]');
});
