import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { Api, isMetered, listOperations, openApiOf, sharedApi, type Answer, type Operation } from './support/api.js';
import { expectDocumented } from './support/conformance.js';
import { TestServer, createDatabase } from './support/server.js';
import type { Schema } from './support/subjects.js';

const api = sharedApi();

const document = await openApiOf(api);
const operations = await listOperations(api);
const IDS = operations.map(({ id }) => id);

function operation(id: string): Operation['declared'] {
  return operations.find((each) => each.id === id)!.declared;
}

/** Returns every part of the document that `isMeant` accepts, with its path. */
function partsOf(value: unknown, isMeant: (part: Schema) => boolean, at = ''): [path: string, part: Schema][] {
  if (typeof value !== 'object' || value === null) return [];
  const inner = Object.entries(value).flatMap(([name, part]) => partsOf(part, isMeant, `${at}/${name}`));
  return isMeant(value) ? [[at, value], ...inner] : inner;
}

const ajv = new Ajv2020({ strict: false });
formats.default(ajv);
ajv.addSchema({ $id: 'document', components: { schemas: inDocument(document.components.schemas) } });

/** Returns the schemas with references that point into the registered document. */
function inDocument(schemas: object): object {
  return JSON.parse(JSON.stringify(schemas).replaceAll('"#/components/', '"document#/components/'));
}

describe('GET /openapi.json', () => {
  test('has version 3.1, names its server and declares every tag', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.servers).toEqual([{ url: '/', description: expect.any(String) }]);
    const declared = document.tags.map(({ name }: { name: string }) => name);
    expect([...new Set(operations.flatMap(({ declared: { tags = [] } }) => tags))].sort()).toEqual(declared.sort());
  });

  test('declares the format of every id, time, e-mail and URI', () => {
    const wanted: [format: string, RegExp][] = [
      ['uuid', /^[0-9a-f]{8}-[0-9a-f]{4}-/],
      ['date-time', /^\d{4}-\d\d-\d\dT/],
      ['email', /^\S+@\S+\.\S+$/],
      ['uri', /^[a-z]+:\/\//],
    ];
    // The audit target is an id or a slug, so it has no single format.
    const either = '/AuditEntryResponse/properties/target';
    const isText = ({ type, example }: Schema): boolean =>
      [type].flat().includes('string') && typeof example === 'string';
    const missing = partsOf(document.components.schemas, isText).flatMap(([path, { format, example }]) => {
      const [name] = wanted.find(([, pattern]) => pattern.test(example)) ?? [];
      return name === undefined || name === format || path === either ? [] : [`${path}: ${name}`];
    });
    expect(missing).toEqual([]);
    const named = operations.flatMap(({ id, declared: { parameters = [] } }) =>
      parameters.filter(({ name, schema }) => name === 'id' && schema?.format !== 'uuid').map(() => id),
    );
    expect(named).toEqual([]);
  });

  test.each(IDS)('description states who has access: %s', (id) => {
    const { security, description = '', responses } = operation(id) as any;
    expect(description).toMatch(/^Access: /);
    const isPublic = security.length === 0;
    expect(description.startsWith('Access: anyone, without credentials.')).toBe(isPublic);
    const codes = Object.keys(responses['403']?.content['application/problem+json'].examples ?? {});
    const isOfAdmins = description.startsWith('Access: administrators only.');
    expect(codes).toEqual(expect.arrayContaining(isOfAdmins ? ['forbidden'] : []));
    // The served document contains no internal `x-` members.
    expect(Object.keys(operation(id)).filter((name) => name.startsWith('x-'))).toEqual([]);
  });

  test.each(IDS)('documents the response headers of %s', (id) => {
    for (const [status, { headers = {} }] of Object.entries(operation(id).responses)) {
      const wanted = ['X-Request-Id', ...({ 201: ['Location'], 401: ['WWW-Authenticate'] }[status] ?? [])];
      if (status === '429' || status === '503') wanted.push('Retry-After');
      expect(Object.keys(headers)).toEqual(expect.arrayContaining(wanted));
    }
    const { parameters = [], responses } = operation(id);
    const names = parameters.map(({ name }) => name);
    const success = Object.keys(
      Object.entries(responses).find(([status]) => status.startsWith('2'))?.[1].headers ?? {},
    );
    expect(success.includes('Link')).toBe(names.includes('cursor'));
    expect(success.includes('Idempotency-Replayed')).toBe(names.includes('Idempotency-Key'));
    const isTagged = names.includes('If-None-Match') && id.startsWith('GET');
    expect(success).toEqual(expect.arrayContaining(isTagged ? ['ETag'] : []));
    expect(success.includes('RateLimit')).toBe(isMetered(operations.find((each) => each.id === id)!.path));
  });

  test.each(IDS.filter((id) => id.includes(' /call/')))('requires an API key only, and accepts any body: %s', (id) => {
    const { security, requestBody } = operation(id);
    expect(security).toEqual([{ key: [] }]);
    const takesBody = /^(POST|PUT|PATCH)/.test(id);
    expect(Object.keys(requestBody?.content ?? {})).toEqual(takesBody ? ['*/*'] : []);
  });

  test('GET /v1/metrics/usage: has one media type for each export format', () => {
    const { content } = operation('GET /v1/metrics/usage').responses['200']!;
    expect(Object.keys(content!)).toEqual(['application/x-ndjson', 'text/csv']);
  });

  test('documents 403 quota_exceeded for every operation that creates objects', () => {
    for (const id of ['auth/register', 'users', 'tasks', 'resources', 'store/write'].map(
      (path) => `POST /v1/${path}`,
    )) {
      const { content } = operation(id).responses['403']!;
      expect({ id, codes: Object.keys(content!['application/problem+json']!.examples!) }).toEqual({
        id,
        codes: expect.arrayContaining(['quota_exceeded']),
      });
    }
  });

  test('has examples for path parameters only', () => {
    const wrong = operations.flatMap(({ id, declared: { parameters = [] } }) =>
      (parameters as { name: string; in: string; example?: unknown; schema?: Schema }[])
        .filter(({ in: where, example, schema }) => (where === 'path') !== ((example ?? schema?.example) !== undefined))
        .map(({ name }) => `${id} ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test.each(IDS.filter((id) => operation(id).requestBody?.content['application/json']))(
    'example bodies match their schema: %s',
    (id) => {
      const { schema, ...shown } = operation(id).requestBody!.content['application/json'] as Schema;
      const check = ajv.compile(inDocument(schema));
      for (const body of prefilledBodies(schema, shown)) {
        check(body);
        expect({ id, body, errors: check.errors }).toEqual({ id, body, errors: null });
      }
    },
  );
});

/** Returns the bodies that Swagger UI offers: the named examples, or one body made of all member examples. */
function prefilledBodies(schema: Schema, shown: Schema): unknown[] {
  if (shown.examples) return Object.values<Schema>(shown.examples).map(({ value }) => value);
  if (shown.example !== undefined) return [shown.example];
  const { properties } = document.components.schemas[schema.$ref.split('/').at(-1)];
  return [Object.fromEntries(Object.entries<Schema>(properties).map(([name, { example }]) => [name, example]))];
}

describe('a request as Swagger UI prefills it', () => {
  /** Operations that need a value only a user has: a token, a code, a password, or the id of an object. */
  const NEEDS_MORE =
    /^\w+ \/v1\/(auth\/(refresh|password|totp|recovery\/confirm|email-confirmation)|(keys|tasks|resources)\/\{id\})/;

  test('is accepted on a new server, and leaves the administrator intact', async () => {
    const database = await createDatabase();
    const server = await TestServer.start({ DATABASE_URL: database.url });
    try {
      const admin = await new Api(server.url).admin();
      const { id, username, email, role, status, plan, credits } = (await admin.get('/v1/users/me')).body;
      const sent = operations.filter(({ id, method }) => /^(POST|PUT|PATCH)$/.test(method) && !NEEDS_MORE.test(id));
      // Signing out would end the session of this test.
      const tried = sent.filter(({ path }) => path !== '/v1/auth/logout' && !isMetered(path));
      const refused: string[] = [];
      // Creates objects before changing them.
      for (const { id, method, path, declared } of tried.sort((a, b) => rankOf(a) - rankOf(b))) {
        const { schema, ...shown } = (declared.requestBody?.content['application/json'] ?? {}) as Schema;
        const [body] = schema ? prefilledBodies(schema, shown) : [];
        const answer = await admin.send(method, filled(path, declared), body);
        if (answer.status >= 300) refused.push(`${id}: ${answer.status} ${answer.text}`);
      }
      expect(refused).toEqual([]);
      expect(tried.length).toBeGreaterThan(20);
      expect((await admin.get('/v1/users/me')).body).toMatchObject({
        ...{ id, username, email, role, status, plan, credits },
        firstName: 'Ada',
        lastName: 'Lovelace',
        lastLoginAt: expect.any(String),
      });
      await new Api(server.url).admin();
      // The examples of DELETE operations name no object of a new server.
      for (const { path, declared } of operations.filter(
        ({ method, path: of }) => method === 'DELETE' && !isMetered(of),
      )) {
        await admin.delete(filled(path, declared));
      }
      await new Api(server.url).admin();
      const slugs = (await admin.get('/v1/apis')).body.data.map(({ slug }: { slug: string }) => slug);
      expect(slugs.sort()).toEqual(['api1', 'api2', 'api3']);
    } finally {
      await server.stop();
      await database.drop();
    }
  });

  const rankOf = ({ method, path }: Operation): number => (method === 'POST' && !path.includes('{') ? 0 : 1);

  /** Fills the path parameters with their examples. */
  function filled(path: string, { parameters = [] }: Operation['declared']): string {
    return path.replaceAll(/\{(\w+)\}/g, (_all, name: string) => {
      const { example } = parameters.find((each) => each.name === name && each.in === 'path') as any;
      return encodeURIComponent(example);
    });
  }
});

describe('expectDocumented', () => {
  const answerOf = (fields: Partial<Answer> & { head?: Record<string, string> }): Answer => ({
    status: 200,
    body: { status: 'ok' },
    text: '{"status":"ok"}',
    ...fields,
    headers: new Headers({ 'content-type': 'application/json', 'x-request-id': 'a', ...fields.head }),
  });
  const check = (answer: Answer, method = 'GET', path = '/livez'): Promise<void> =>
    expectDocumented(api.url, { method, path, hasBody: false }, answer);
  const problem = (status: number, code: string) => ({
    ...answerOf({ status, head: { 'content-type': 'application/problem+json' } }),
    body: { type: 'about:blank', title: 'x', status, detail: 'x', instance: '/', code, requestId: 'a' },
  });

  test('passes for a documented response, and for an undocumented path', async () => {
    await expect(check(answerOf({}))).resolves.toBeUndefined();
    await expect(check(answerOf({ text: '' }), 'HEAD')).resolves.toBeUndefined();
    await expect(check(answerOf({ status: 418 }), 'GET', '/nowhere')).resolves.toBeUndefined();
  });

  test.each<[string, Answer, RegExp]>([
    ['a status', answerOf({ status: 418 }), /the status 418 is not documented/],
    ['a header', answerOf({ head: { 'x-new': '1' } }), /the header x-new is not documented/],
    ['a media type', answerOf({ head: { 'content-type': 'text/html' } }), /media type "text\/html"/],
    ['a code', problem(500, 'forbidden'), /the code forbidden is not documented/],
    ['a value', answerOf({ body: { status: 'ill' } }), /\/status must be equal to one of the allowed values/],
    ['a member', answerOf({ body: { status: 'ok', more: 1 } }), /must NOT have additional properties/],
  ])('fails when the document does not name %s', async (_what, answer, message) => {
    await expect(check(answer)).rejects.toThrow(message);
  });

  test('fails when a required header is missing', async () => {
    const answer = answerOf({});
    answer.headers.delete('x-request-id');
    await expect(check(answer)).rejects.toThrow(/the documented header X-Request-Id is missing/);
  });
});
