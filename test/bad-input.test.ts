import { globalAgent } from 'node:http';
import { gzipSync } from 'node:zlib';
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
  type BodyProperty,
} from './support/api.js';
import { enableTotp, prepareTotp } from './support/totp.js';
import { rowsOf } from './support/rows.js';
import { confirmationToken } from './support/confirmation-token.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

const api = sharedApi();

const PASSWORD = 'Unguessable-7';

let admin: Api;

beforeAll(async () => {
  admin = await api.admin();
});

interface Target {
  /** The caller. */
  as: 'nobody' | 'user' | 'admin';
  path?: (user: Account) => string | Promise<string>;
  /** A valid body; `marker` is an unused name. */
  body: (user: Account, marker: string) => Record<string, unknown> | Promise<Record<string, unknown>>;
  /** Also accepts no body, or an empty object. */
  mayBeEmpty?: boolean;
  /** Maximum size of the body in bytes. Default: 1 MiB. */
  maxBytes?: number;
}

/** A limit that is valid for plans and keys. */
const LIMITS = [{ meter: 'api:api1', limit: 5, window: 'day' }];

const taskPath = async (user: Account): Promise<string> =>
  `/v1/tasks/${(await api.as(user).post('/v1/tasks')).body.id}`;

const keyPath = async (user: Account): Promise<string> => `/v1/keys/${(await api.as(user).createKey()).id}`;

const totpPath = (name: string, make: (server: Api, user: Account) => Promise<unknown>) => async (user: Account) => {
  await make(api, user);
  return `/v1/auth/totp/${name}`;
};

/** The batch operations of the store accept larger bodies. */
const BATCH = { maxBytes: 2 ** 24 };

/** RFC 9421, appendix B.1.4. */
const PUBLIC_KEY = 'JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=';

/** A valid body for each operation that takes one. */
const TARGETS: Record<string, Target> = {
  'POST /v1/auth/register': {
    as: 'nobody',
    body: (_user, marker) => ({ username: marker, email: `${marker}@example.com`, password: PASSWORD }),
  },
  'POST /v1/auth/login': {
    as: 'nobody',
    // The server checks codes only when two-factor sign-in is enabled.
    path: async (user) => {
      await enableTotp(api, user);
      return '/v1/auth/login';
    },
    body: ({ username, password }) => ({ login: username, password }),
  },
  'POST /v1/auth/refresh': { as: 'nobody', body: ({ refreshToken }) => ({ refreshToken }), mayBeEmpty: true },
  'POST /v1/auth/password': {
    as: 'user',
    body: ({ password }) => ({ currentPassword: password, newPassword: 'Unguessable-8' }),
  },
  'POST /v1/auth/totp': { as: 'user', body: ({ password }) => ({ password }) },
  'POST /v1/auth/totp/confirm': {
    as: 'user',
    path: totpPath('confirm', prepareTotp),
    body: () => ({ code: '123456' }),
  },
  'POST /v1/auth/totp/disable': {
    as: 'user',
    path: totpPath('disable', enableTotp),
    body: ({ password }) => ({ password, code: '123456' }),
  },
  'POST /v1/auth/totp/recovery-codes': {
    as: 'user',
    path: totpPath('recovery-codes', enableTotp),
    body: ({ password }) => ({ password, code: '123456' }),
  },
  'POST /v1/auth/signing-keys': { as: 'user', body: () => ({ name: 'x', publicKey: PUBLIC_KEY }) },
  'POST /v1/auth/recovery': { as: 'nobody', body: ({ username }) => ({ login: username }) },
  'POST /v1/auth/recovery/confirm': {
    as: 'nobody',
    body: async ({ id }) => ({
      token: (await admin.post(`/v1/users/${id}/reset-link`)).body.token,
      newPassword: 'Unguessable-8',
    }),
  },
  'POST /v1/auth/email-confirmation/confirm': {
    as: 'nobody',
    body: async ({ id }) => ({ token: await confirmationToken(id) }),
  },
  'POST /v1/users': {
    as: 'admin',
    body: (_user, marker) => ({ username: marker, email: `${marker}@example.com`, password: PASSWORD }),
  },
  'DELETE /v1/users/{user}': {
    as: 'user',
    path: ({ id }) => `/v1/users/${id}`,
    body: ({ password }) => ({ password }),
    mayBeEmpty: true,
  },
  'PATCH /v1/users/{user}': {
    as: 'admin',
    path: ({ id }) => `/v1/users/${id}`,
    body: (_user, marker) => ({ username: marker, firstName: 'Eve' }),
    mayBeEmpty: true,
  },
  'PUT /v1/users/{user}/quotas/{meter}': {
    as: 'admin',
    path: ({ id }) => `/v1/users/${id}/quotas/resources`,
    body: () => ({ limit: 5 }),
  },
  'POST /v1/users/{user}/credits': {
    as: 'admin',
    path: ({ id }) => `/v1/users/${id}/credits`,
    body: () => ({ amount: 5, reason: 'x', expiresAt: '2999-01-31T12:00:00Z' }),
  },
  'PATCH /v1/platform': { as: 'admin', body: () => ({ registration: 'open' }), mayBeEmpty: true },
  'POST /v1/resources': { as: 'user', body: () => ({ value: 'x' }) },
  'POST /v1/tasks': { as: 'user', body: () => ({ title: 'x', completed: false }), mayBeEmpty: true },
  'PATCH /v1/tasks/{id}': {
    as: 'user',
    path: taskPath,
    body: () => ({ title: 'x', completed: true }),
    mayBeEmpty: true,
  },
  'PUT /v1/platform/quotas/{meter}': {
    as: 'admin',
    path: () => '/v1/platform/quotas/resources',
    body: () => ({ limit: 1_000_000 }),
  },
  'POST /v1/plans': { as: 'admin', body: (_user, slug) => ({ slug, name: 'x', limits: LIMITS }) },
  'PATCH /v1/plans/{slug}': {
    as: 'admin',
    path: async () => `/v1/plans/${await api.createPlan()}`,
    body: () => ({ name: 'x', limits: LIMITS }),
    mayBeEmpty: true,
  },
  'POST /v1/apis': { as: 'admin', body: (_user, slug) => ({ slug, name: 'x', answer: 'x' }) },
  'PATCH /v1/apis/{slug}': {
    as: 'admin',
    path: async () => `/v1/apis/${await api.createApi()}`,
    body: () => ({ name: 'x' }),
    mayBeEmpty: true,
  },
  'POST /v1/keys': { as: 'user', body: () => ({ name: 'x', scopes: ['api1'], limits: LIMITS }) },
  'PATCH /v1/keys/{id}': { as: 'user', path: keyPath, body: () => ({ name: 'x' }), mayBeEmpty: true },
  'POST /v1/keys/{id}/rotate': {
    as: 'user',
    path: async (user) => `${await keyPath(user)}/rotate`,
    body: () => ({ graceSeconds: 60 }),
    mayBeEmpty: true,
  },
  'PUT /v1/keys/{id}/quotas/{meter}': {
    as: 'user',
    path: async (user) => `${await keyPath(user)}/quotas/api:api1`,
    body: () => ({ limit: 5 }),
  },
  'POST /v1/store/write': {
    as: 'user',
    body: (_user, key) => ({ entries: [{ key, value: 1 }], onConflict: 'replace', atomic: true }),
    ...BATCH,
  },
  'POST /v1/store/read': { as: 'user', body: (_user, key) => ({ keys: [key], onMissing: 'report' }), ...BATCH },
  'POST /v1/store/delete': { as: 'user', body: () => ({ keys: ['kept'] }), ...BATCH },
  'POST /v1/verify': {
    as: 'nobody',
    body: async (user) => ({ key: (await api.as(user).createKey({ limits: LIMITS })).key, api: 'api1', cost: 1 }),
  },
};

/** Strings that are only compared with a stored value: any invalid string gets the error of a wrong value. */
const COMPARED: Record<string, [number, string]> = {
  'DELETE /v1/users/{user} password': [403, 'forbidden'],
  'POST /v1/auth/login password': [401, 'invalid_credentials'],
  'POST /v1/auth/login code': [401, 'invalid_totp'],
  'POST /v1/auth/password currentPassword': [401, 'invalid_credentials'],
  'POST /v1/auth/totp password': [401, 'invalid_credentials'],
  'POST /v1/auth/totp/confirm code': [401, 'invalid_totp'],
  'POST /v1/auth/totp/disable password': [401, 'invalid_credentials'],
  'POST /v1/auth/totp/disable code': [401, 'invalid_totp'],
  'POST /v1/auth/totp/recovery-codes password': [401, 'invalid_credentials'],
  'POST /v1/auth/totp/recovery-codes code': [401, 'invalid_totp'],
  'POST /v1/auth/refresh refreshToken': [401, 'invalid_token'],
  'POST /v1/auth/recovery/confirm token': [401, 'invalid_token'],
  'POST /v1/auth/email-confirmation/confirm token': [401, 'invalid_token'],
  'POST /v1/verify key': [200, 'invalid_api_key'],
  'POST /v1/verify api': [404, 'not_found'],
};

/** Whether a string is valid as `answer` of an API, which can be empty or long. */
const isAnswer = (name: string, text: string): boolean =>
  name === 'answer' && text.length <= 65_536 && text.isWellFormed() && !text.includes('\0');

const OPERATIONS = Object.keys(TARGETS);

const { SHARE } = sizesOf('badInput');

/** The share of cases for one operation: at least one. All operations together cover all cases. */
function shareOf<T>(id: string, cases: readonly T[]): T[] {
  const place = OPERATIONS.indexOf(id);
  const share = Math.min(SHARE, cases.length);
  return cases.filter((_case, i) => (i + place) % share === 0);
}

interface Sender {
  send: (raw: string | Buffer, headers?: Record<string, string>) => Promise<Answer>;
  valid: Record<string, unknown>;
  properties: [string, BodyProperty][];
}

interface Subject {
  user: Account;
  target: string;
  marker: string;
  valid: Record<string, unknown>;
  /** Its rows before the first test. */
  rows: unknown;
}

/** The user for each operation: the same for all its tests, because none of them changes anything. */
const subjects = new Map<string, Promise<Subject>>();

async function subjectOf(id: string): Promise<Subject> {
  const { path, body } = TARGETS[id]!;
  const user = await api.createUser();
  const marker = uniqueName();
  await api.as(user).put('/v1/store/kept', 1);
  const target = (await path?.(user)) ?? id.split(' ')[1] ?? '';
  const subject = { user, target, marker, valid: await body(user, marker) };
  return { ...subject, rows: await rowsAbout(subject) };
}

/**
 * Runs `work` with a sender for an operation. Then checks that the bodies changed nothing: no row of the user or its
 * objects differs, no object was created, and the user's token still works.
 */
async function withoutEffect(id: string, work: (sender: Sender) => Promise<void>): Promise<void> {
  const { as } = TARGETS[id]!;
  const [method = ''] = id.split(' ');
  if (!subjects.has(id)) subjects.set(id, subjectOf(id));
  const [subject, bodies] = await Promise.all([subjects.get(id)!, listBodies(api)]);
  const { user, target, valid, rows } = subject;
  const caller: Api = { nobody: api, user: api.as(user), admin }[as];
  await work({
    send: (raw, headers = {}) => caller.send(method, target, undefined, { raw: raw as string, headers }),
    valid,
    properties: Object.entries(bodies.get(id)!),
  });
  expect(await rowsAbout(subject)).toEqual(rows);
  expect((await api.as(user).get('/v1/users/me')).status).toBe(200);
}

/** Rows of a subject, and of objects that its bodies would create. */
function rowsAbout({ user, target, marker }: Omit<Subject, 'rows'>): Promise<unknown> {
  return rowsOf(user.id, [marker, `${marker}@%`, target.split('/').at(-1)!]);
}

/** Values of all types that the property does not accept. */
function wrongValues(property: BodyProperty): unknown[] {
  const types = [property.type].flat();
  const ofAll: unknown[] = [
    {},
    [['x']],
    [null],
    { toString: 'x' },
    { length: 5 },
    ...(types.includes('null') ? [] : [null]),
  ];
  switch (types[0]) {
    case 'number':
    case 'integer':
      return [...ofAll, true, [], '1', '', 1.5, -1, 2 ** 53, 1e300];
    case 'boolean':
      return [...ofAll, [], 'true', 0, 1, ''];
    case 'array':
      return [...ofAll, true, 'x', 7, [[]], [7], [true]];
    default:
      return [...ofAll, true, [], 0, 12345678, 1.5];
  }
}

interface Schema extends BodyProperty {
  $ref?: string;
  allOf?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  pattern?: string;
  format?: string;
  minimum?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
}

interface Case {
  pointer: string;
  sent: unknown;
  /** The expected detail of the error. */
  detail: unknown;
}

async function bodySchemaOf(id: string): Promise<Schema> {
  const operation = (await listOperations(api)).find((each) => each.id === id);
  return resolved(await openApiOf(api), operation!.declared.requestBody!.content['application/json']!.schema as Schema);
}

/** A schema with its references resolved. */
function resolved(document: any, schema: Schema): Schema {
  const name = (schema.$ref ?? schema.allOf?.[0]?.$ref)?.replace('#/components/schemas/', '');
  if (name !== undefined) return resolved(document, document.components.schemas[name]);
  return {
    ...schema,
    ...(schema.items ? { items: resolved(document, schema.items) } : {}),
    ...(schema.properties
      ? {
          properties: Object.fromEntries(
            Object.entries(schema.properties).map(([member, each]) => [member, resolved(document, each)]),
          ),
        }
      : {}),
  };
}

/** The type of a schema, without null. */
function typeOf({ type }: Schema): string {
  return [type].flat()[0]!;
}

/** The detail for a value of the wrong type. */
function typeFaultOf(schema: Schema): unknown {
  const { enum: words, oneOf } = schema;
  const type = typeOf(schema);
  if (oneOf) return 'must be a string or a JWK';
  if (words) return expect.stringMatching(/^must be (a string|a string, one of: .*)$/);
  const article = /^[aio]/.test(type) ? 'an' : 'a';
  return type === 'boolean' ? 'must be true or false' : `must be ${article} ${type === 'number' ? 'integer' : type}`;
}

/** Values of another type, for each type of a member. */
const OTHER: Record<string, unknown[]> = {
  string: [7, true, {}, ['x']],
  integer: ['1', 1.5, true, {}, []],
  number: ['1', 1.5, true, {}, []],
  boolean: ['true', 1, {}, []],
  array: ['x', 7, {}, true],
  object: ['x', 7, true],
};

const NO_TYPE = expect.stringMatching(/^must (?!be (a string|an integer|true or false|an array|an object)\b)/);

/** Bodies with one fault each: a member that is missing, null, of another type, empty, too long or too large. */
function casesOf(schema: Schema, valid: Record<string, unknown>, at: string): Case[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, member]): Case[] => {
    const pointer = `${at}/${name}`;
    const { [name]: given, ...rest } = valid;
    const withValue = (value: unknown) => ({ ...rest, [name]: value });
    const cases: Case[] = [];
    const add = (value: unknown, detail: unknown): void => {
      cases.push({ pointer, sent: withValue(value), detail });
    };
    if (schema.required?.includes(name)) cases.push({ pointer, sent: rest, detail: 'is required' });
    // A store value can be any JSON.
    if (member.anyOf) return cases;
    const [wrong, type] = [typeFaultOf(member), typeOf(member)];
    if (![member.type].flat().includes('null')) add(null, wrong);
    for (const value of member.oneOf ? [7, true] : (OTHER[type] ?? [])) add(value, wrong);
    const isText = type === 'string' && !member.oneOf;
    if (isText && ((member.minLength ?? 0) > 0 || member.enum || member.pattern || member.format)) add('', NO_TYPE);
    if (isText && (member.maxLength !== undefined || member.enum)) add('x'.repeat(70_000), NO_TYPE);
    if (member.minimum !== undefined) add(member.minimum - 1, `must be at least ${String(member.minimum)}`);
    if (['integer', 'number'].includes(type)) add(1e300, expect.stringMatching(/^must be at most \d+$/));
    if (member.minItems !== undefined) add([], expect.stringMatching(/^must have 1 to 1000 /));
    if (type !== 'array') return cases;
    const [element] = (given ?? []) as unknown[];
    const items = member.items!;
    // The store rejects duplicate keys.
    const more = Array.from({ length: (member.maxItems ?? 100) + 1 }, (_each, i) => {
      if (items.type === 'string') return `k${String(i)}`;
      return items.properties?.key ? { ...(element as object), key: `k${String(i)}` } : element;
    });
    add(more, expect.stringMatching(/^must have (at most 100 elements|1 to 1000 (entries|keys))$/));
    for (const value of [null, 7, [[]]]) {
      cases.push({ pointer: `${pointer}/0`, sent: withValue([value]), detail: typeFaultOf(items) });
    }
    const inner = items.properties ? casesOf(items, element as Record<string, unknown>, `${pointer}/0`) : [];
    return [...cases, ...inner.map((each) => ({ ...each, sent: withValue([each.sent]) }))];
  });
}

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  const pointers = answer.body.errors.map((error: { pointer: string }) => error.pointer);
  // The pointer can name an element of a list or a member of a JWK.
  expect(
    pointers.map((each: string) => each.replace(/^(\/(?:limits|scopes|entries|keys|publicKey))\/.*/, '$1')),
  ).toContain(pointer);
}

/** Runs `work` for all items, 16 at a time. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += 16) await Promise.all(items.slice(i, i + 16).map(work));
}

describe('Request bodies', () => {
  test('TARGETS has every operation that takes a body', async () => {
    expect([...(await listBodies(api)).keys()].sort()).toEqual([...OPERATIONS].sort());
  });

  test.each(OPERATIONS)('%s with a member of the wrong type: 400', async (id) => {
    await withoutEffect(id, async ({ send, valid, properties }) => {
      const wrong = properties.flatMap(([name, property]) => wrongValues(property).map((value) => ({ name, value })));
      expect(wrong).not.toHaveLength(0);
      await forEach(shareOf(id, wrong), async ({ name, value }) => {
        expectField(await send(JSON.stringify({ ...valid, [name]: value })), `/${name}`);
      });
    });
  });

  test.each(OPERATIONS)('%s with one invalid member: 400 with its most basic fault', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      const cases = casesOf(await bodySchemaOf(id), valid, '');
      expect(cases).not.toHaveLength(0);
      await forEach(cases, async ({ pointer, sent, detail }) => {
        const answer = await send(JSON.stringify(sent));
        expectProblem(answer, 400, 'validation_failed');
        const seen = JSON.stringify(sent).slice(0, 200);
        expect({ seen, errors: answer.body.errors }).toEqual({ seen, errors: [{ pointer, detail }] });
        expect(answer.body.detail).toBe(`${pointer.slice(1)} ${answer.body.errors[0].detail}.`);
      });
    });
  });

  test('POST /v1/keys with many invalid members: 400 with one fault each, in the order missing, unknown, type, format, range', async () => {
    const limits = [{ meter: 'x', window: 7 }, 'x', { meter: 'api:api1', limit: -1, extra: 1 }];
    const body = { scopes: ['API1', 5, 'api1'], expiresAt: '2099-01-01', limits, owner: '', other: 1 };
    const raw = JSON.stringify(body).replace('{', '{"__proto__":{"x":1},');
    const answer = await admin.post('/v1/keys', undefined, { raw });
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.detail).toBe('name is required (and 12 more).');
    const windows = 'lifetime, minute, hour, day, month';
    expect(answer.body.errors).toEqual([
      { pointer: '/name', detail: 'is required' },
      { pointer: '/limits/0/limit', detail: 'is required' },
      { pointer: '/__proto__', detail: 'is not allowed' },
      { pointer: '/other', detail: 'is not allowed' },
      { pointer: '/limits/2/extra', detail: 'is not allowed' },
      { pointer: '/scopes/1', detail: 'must be a string' },
      { pointer: '/limits/1', detail: 'must be an object' },
      { pointer: '/limits/0/window', detail: `must be a string, one of: ${windows}` },
      { pointer: '/scopes/0', detail: 'must be a slug, the start of a slug and *, or *' },
      { pointer: '/expiresAt', detail: 'must be a date and time with an offset, like 2030-01-31T12:00:00Z' },
      { pointer: '/limits/0/meter', detail: expect.stringMatching(/^must be resources, .* or api:\*$/) },
      { pointer: '/limits/2/limit', detail: 'must be at least 0' },
      { pointer: '/owner', detail: 'must have 1 to 254 characters' },
    ]);
  });

  test.each(OPERATIONS)('%s with a body that is not an object, or is empty: 400', async (id) => {
    await withoutEffect(id, async ({ send }) => {
      const raws = ['null', '[]', '[{}]', '"text"', '1', 'true'];
      const { mayBeEmpty } = TARGETS[id]!;
      await forEach(mayBeEmpty && !id.startsWith('PATCH') ? raws : [...raws, ''], async (raw) => {
        expectProblem(await send(raw), 400, 'validation_failed');
      });
    });
  });

  // Skips operations that accept {}.
  test.each(OPERATIONS.filter((id) => !TARGETS[id]!.mayBeEmpty))('%s with {}: 400', async (id) => {
    await withoutEffect(id, async ({ send }) => {
      expectProblem(await send('{}'), 400, 'validation_failed');
    });
  });

  test.each(OPERATIONS)('%s with an unknown member: 400', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      for (const name of shareOf(id, ['unknown', 'Value', 'id', '', 'a/b~c', '$where'])) {
        const answer = await send(JSON.stringify({ ...valid, [name]: 'x' }));
        expectField(answer, `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`);
      }
    });
  });

  test.each(OPERATIONS)('%s with `__proto__` or another inherited name as a member: 400', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      const rest = JSON.stringify(valid).slice(1);
      const members = [
        '"__proto__":{"role":"admin"}',
        '"__proto__":null',
        '"__proto__":1',
        '"constructor":{"prototype":{"role":"admin"}}',
        '"constructor":1',
        '"prototype":{}',
        '"toString":1',
        '"hasOwnProperty":1',
        '"valueOf":"x"',
      ];
      const answers = await Promise.all(
        shareOf(id, members).map(async (member) => ({ member, answer: await send(`{${member},${rest}`) })),
      );
      for (const { member, answer } of answers) {
        expectProblem(answer, 400, 'validation_failed');
        const pointer = `/${/^"(\w+)"/.exec(member)?.[1] ?? ''}`;
        expect({ member, errors: answer.body.errors }).toEqual({
          member,
          errors: [{ pointer, detail: 'is not allowed' }],
        });
      }
    });
  });

  test.each(OPERATIONS)('%s with malformed JSON: 400', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      const good = JSON.stringify(valid);
      const broken = [
        '{',
        '}',
        good.slice(0, -1),
        `${good}}`,
        `${good},`,
        good.replaceAll('"', "'"),
        good.replace(':', '='),
        'undefined',
        '{"a":NaN}',
        '{"a":01}',
        '"\t"',
        '\ufeff{',
        '<xml/>',
        'a=1&b=2',
      ];
      await forEach(shareOf(id, broken), async (raw) => {
        expectProblem(await send(raw), 400, 'malformed_json');
      });
    });
  });

  test.each(OPERATIONS)('%s with another media type or a content coding: 415', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      const good = JSON.stringify(valid);
      const types = [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'application/xml',
        'application/jsonx',
        'text/json',
        'garbage',
      ];
      for (const type of shareOf(id, types)) {
        expectProblem(await send(good, { 'content-type': type }), 415, 'unsupported_media_type');
      }
      const gzipped = gzipSync(good);
      for (const encoding of shareOf(id, ['gzip', 'GZIP', 'br', 'deflate', 'x-unknown'])) {
        const answer = await send(gzipped, { 'content-encoding': encoding });
        expectProblem(answer, 415, 'unsupported_media_type');
      }
      expectProblem(await send(gzipped), 400, 'malformed_json');
    });
  });

  test.each(OPERATIONS)('%s with invalid UTF-8: 400; with another charset: 415', async (id) => {
    await withoutEffect(id, async ({ send, valid }) => {
      const good = JSON.stringify(valid);
      const broken = Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff]), Buffer.from(`",${good.slice(1)}`)]);
      expectProblem(await send(broken), 400, 'malformed_json');
      for (const charset of shareOf(id, ['utf-16', 'latin1', '"iso-8859-1"'])) {
        const type = { 'content-type': `application/json; charset=${charset}` };
        expectProblem(await send(good, type), 415, 'unsupported_media_type');
      }
      expectProblem(await send('{', { 'content-type': 'application/json; charset="UTF-8"' }), 400, 'malformed_json');
    });
  });

  test.each(OPERATIONS)('%s with JSON that is nested too deeply: 400', async (id) => {
    await withoutEffect(id, async ({ send }) => {
      const nested = ['['.repeat(100_000), '{"a":'.repeat(100_000), `${'['.repeat(100_000)}${']'.repeat(100_000)}`];
      for (const raw of shareOf(id, nested)) {
        expectProblem(await send(raw), 400, 'validation_failed');
      }
    });
  });

  test.each(OPERATIONS)('%s with a body that is too large: the client receives 413', async (id) => {
    await withoutEffect(id, async ({ send, valid, properties }) => {
      const bytes = TARGETS[id]!.maxBytes ?? 2 ** 20;
      const large = JSON.stringify({ ...valid, [properties[0]![0]]: 'x'.repeat(bytes + 2 ** 20) });
      for (const raw of shareOf(id, [large, ' '.repeat(bytes + 2 ** 20)])) {
        expectProblem(await send(raw), 413, 'body_too_large');
      }
    });
  });

  test.each(OPERATIONS)('%s with strings that are empty, too long, or not storable: rejected', async (id) => {
    await withoutEffect(id, async ({ send, valid, properties }) => {
      const texts = properties.filter(([, { type }]) => type === 'string').map(([name]) => name);
      const bad = (...values: string[]) =>
        texts
          .flatMap((name) => values.map((text) => ({ name, text })))
          .filter(({ name, text }) => !isAnswer(name, text));
      const wrong = bad('\u0000', 'Ada\u0000', '\ud800', 'Ada\udfff', 'Ada \ud83d Lovelace', '');
      await forEach(shareOf(id, wrong), async ({ name, text }) => {
        const answer = await send(JSON.stringify({ ...valid, [name]: text }));
        const isTooShort = text.length < (Object.fromEntries(properties)[name]?.minLength ?? 0);
        const compared = isTooShort ? undefined : COMPARED[`${id} ${name}`];
        const [status, code] = compared ?? [400, 'validation_failed'];
        const sent = JSON.stringify(text);
        expect({ name, sent, code: answer.body.code }).toEqual({ name, sent, code });
        if (status !== 200) expectProblem(answer, status, code);
      });
      const long = bad('x'.repeat(5_000), '𐐀'.repeat(5_000), ' '.repeat(900_000));
      await forEach(shareOf(id, long), async ({ name, text }) => {
        expectField(await send(JSON.stringify({ ...valid, [name]: text })), `/${name}`);
      });
    });
  });

  test('POST /v1/auth/refresh after rejected bodies: 200', async () => {
    expect(subjects.size).toBe(OPERATIONS.length);
    for (const { user } of await Promise.all(subjects.values())) {
      expect((await api.post('/v1/auth/refresh', { refreshToken: user.refreshToken })).status).toBe(200);
    }
  });
});

test.each(['text/plain', 'application/x-www-form-urlencoded', 'application/json'])(
  'requests without a body, with Content-Type %s and a content coding: 204',
  async (type) => {
    const user = await api.createUser();
    const headers = { 'content-type': type, 'content-encoding': 'gzip' };
    const { id } = (await api.as(user).post('/v1/resources', { value: 'x' })).body;
    await api.as(user).put('/v1/store/kept', 1);
    expect((await api.as(user).delete(`/v1/resources/${id}`, { headers })).status).toBe(204);
    expect((await api.as(user).delete('/v1/store/kept', { headers })).status).toBe(204);
    expect((await api.as(user).post('/v1/auth/logout', undefined, { headers })).status).toBe(204);
  },
);

describe('Names of things', () => {
  const key = { scopes: [] };
  const THINGS: [string, string, object][] = [
    ['/v1/keys', 'name', key],
    ['/v1/auth/signing-keys', 'name', {}],
    ['/v1/plans', 'name', { slug: uniqueName() }],
    ['/v1/apis', 'name', { slug: uniqueName() }],
    ['/v1/tasks', 'title', {}],
    ['/v1/users/me/credits', 'reason', { amount: 1 }],
  ];

  test.each(THINGS)('POST %s: 400 if %s is blank; other blanks stay', async (path, member, body) => {
    for (const blank of [' ', '\u00a0\t\n']) {
      const answer = await admin.post(path, { ...body, [member]: blank });
      expectProblem(answer, 400, 'validation_failed');
      expect(answer.body.errors).toEqual([
        { pointer: `/${member}`, detail: 'must have a character that is not a space' },
      ]);
    }
    expect((await admin.post(path, { ...body, [member]: ' a thing ' })).body).toMatchObject({ [member]: ' a thing ' });
  });
});

describe('Paths', () => {
  const NO_IDS = ['x', '1', '0', '-1', 'null', 'undefined', '%27', '%25', '%00', '..%2F..%2Fetc%2Fpasswd', '*', '%20'];

  test.each(NO_IDS)('APIs and plans with the invalid slug %s: 404', async (name) => {
    for (const path of [`/v1/apis/${name}`, `/v1/plans/${name}`]) {
      // Some of these names are valid slugs that do not exist.
      expectProblem(await admin.get(path), 404, 'not_found');
      expectProblem(await admin.patch(path, {}), 404, 'not_found');
      expectProblem(await admin.delete(path), 404, 'not_found');
    }
  });

  test('resources, tasks and sessions with an invalid id: 404', async () => {
    const user = await api.createUser();
    const id = '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c';
    const ids = [...NO_IDS, id.slice(1), `${id}0`, id.replaceAll('-', ''), `{${id}}`, `${id}%00`, id.replace('0', 'g')];
    for (const as of [api.as(user), admin]) {
      for (const name of [...ids, 'x'.repeat(1_000)]) {
        expectProblem(await as.get(`/v1/resources/${name}`), 404, 'not_found');
        expectProblem(await as.delete(`/v1/resources/${name}`), 404, 'not_found');
        expectProblem(await as.get(`/v1/tasks/${name}`), 404, 'not_found');
        expectProblem(await as.patch(`/v1/tasks/${name}`, { completed: true }), 404, 'not_found');
        expectProblem(await as.delete(`/v1/tasks/${name}`), 404, 'not_found');
        expectProblem(await as.delete(`/v1/auth/sessions/${name}`), 404, 'not_found');
      }
    }
  });

  test.each(NO_IDS)('the unknown user %s, as an administrator: 404', async (name) => {
    expectProblem(await admin.get(`/v1/users/${name}`), 404, 'not_found');
    expectProblem(await admin.get(`/v1/users/${name}/quotas`), 404, 'not_found');
    expectProblem(await admin.get(`/v1/users/${name}/security`), 404, 'not_found');
    expectProblem(await admin.post(`/v1/users/${name}/reset-link`), 404, 'not_found');
    expectProblem(await admin.get(`/v1/users/${name}/credits`), 404, 'not_found');
    expectProblem(await admin.post(`/v1/users/${name}/credits`, { amount: 1 }), 404, 'not_found');
    expectProblem(await admin.get(`/v1/metrics/users/${name}`), 404, 'not_found');
  });

  test.each(NO_IDS.filter((name) => name !== '*' && name !== '%00'))(
    'the unknown owner %s, as an administrator: 404',
    async (owner) => {
      expectProblem(await admin.get(`/v1/keys?owner=${owner}`), 404, 'not_found');
      expectProblem(await admin.get(`/v1/resources?owner=${owner}`), 404, 'not_found');
      const body = { value: 'x', owner: decodeURIComponent(owner) };
      expectProblem(await admin.post('/v1/resources', body), 404, 'not_found');
      expectProblem(await admin.get(`/v1/tasks?owner=${owner}`), 404, 'not_found');
      expectProblem(await admin.post('/v1/tasks', { owner: body.owner }), 404, 'not_found');
      expectProblem(await admin.get(`/v1/store?owner=${owner}`), 404, 'not_found');
      expectProblem(await admin.get(`/v1/store/a?owner=${owner}`), 404, 'not_found');
      const keys = { keys: ['a'], owner: body.owner };
      expectProblem(await admin.post('/v1/store/read', keys), 404, 'not_found');
    },
  );

  test('unknown paths, also below known ones: 404', async () => {
    for (const path of [
      '/nothing',
      '/v1',
      '/v1/',
      '/v2/users',
      '/v1/nothing',
      '/v1/users/me/nothing',
      '/docs/nothing',
      '/.env',
    ]) {
      expectProblem(await admin.get(path), 404, 'not_found');
      expectProblem(await admin.post(path, {}), 404, 'not_found');
    }
  });

  test('paths that leave /docs: 404', async () => {
    for (const path of ['/docs/../livez', '/docs/%2e%2e/livez', '/docs/..%2f..%2f..%2fpackage.json', '/docs/%00']) {
      const answer = await sendExactly(api, 'GET', path);
      expect({ path, status: answer.status }).toEqual({ path, status: 404 });
      expectProblem(answer, 404, 'not_found');
    }
  });

  test('paths that cannot be decoded: 400', async () => {
    for (const path of ['/%', '/v1/users/%', '/v1/users/%zz', '/v1/resources/%E0%A4%A', '/v1/users/%ff', '/%C0%AE']) {
      const answer = await sendExactly(api, 'GET', path);
      expect({ path, status: answer.status, code: answer.body.code }).toEqual({
        path,
        status: 400,
        code: 'validation_failed',
      });
      expectProblem(answer, 400, 'validation_failed');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      const isBare = /%(?![0-9a-f]{2})/i.test(path);
      expect(answer.body.detail).toBe(
        isBare ? 'A % in the path is written as %25.' : 'The URL path is invalid or too long.',
      );
    }
  });

  test.each([
    ['a foreign type', 'x', { 'content-type': 'text/plain' }],
    ['a compressed body', '{}', { 'content-encoding': 'gzip' }],
    ['malformed JSON', '{', {}],
    ['a body over the limit', JSON.stringify('x'.repeat(2 ** 21)), {}],
  ])('an unknown path or method with %s: 404 or 405', async (_case, raw, headers: Record<string, string>) => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      expectProblem(await api.send(method, '/v1/nothing', undefined, { raw, headers }), 404, 'not_found');
      const answer = await api.send(method, '/v1/auth/sessions', undefined, { raw, headers });
      expectProblem(answer, 405, 'method_not_allowed');
      expect(answer.headers.get('allow')).toBe('GET, HEAD');
    }
    expectProblem(await api.send('PATCH', '/v1/store/write', undefined, { raw, headers }), 405, 'method_not_allowed');
  });

  test('very long paths: 400, 401, 404 or 414 as a problem', async () => {
    for (const length of [1_100, 3_000, 12_000]) {
      const answer = await sendExactly(api, 'GET', `/v1/users/${'x'.repeat(length)}`);
      // A path up to the length of the longest store key can be valid, so 401 or 404 is possible.
      expect([400, 401, 404, 414]).toContain(answer.status);
      expectProblem(answer, answer.status, answer.body.code);
    }
  });

  test.each([
    ['a path', `/v1/users/${'x'.repeat(20_000)}`, {}],
    ['a header', '/livez', { 'x-large': 'x'.repeat(20_000) }],
  ])('20 kB in %s: 431 or 400', async (_case, path, headers: Record<string, string>) => {
    const answer = await sendExactly(api, 'GET', path, headers);
    expect([400, 431]).toContain(answer.status);
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(answer.body).toMatchObject({
      type: 'about:blank',
      title: expect.any(String),
      status: answer.status,
      detail: expect.any(String),
      code: 'validation_failed',
    });
    expect((await api.get('/livez')).status).toBe(200);
  });

  test('a method that the path does not support: 405 with Allow', async () => {
    const operations = await listOperations(api);
    for (const path of new Set(operations.map((operation) => operation.path))) {
      // `/v1/store/write` also matches `/v1/store/{key}`.
      const serves = (other: string): boolean => new RegExp(`^${other.replaceAll(/\{\w+\}/g, '[^/{}]+')}$`).test(path);
      const methods = operations
        .filter((operation) => operation.path === path || serves(operation.path))
        .map(({ method }) => method);
      const undocumented = isMetered(path) ? ['HEAD', 'OPTIONS'] : methods.includes('GET') ? ['HEAD'] : [];
      const allowed = [...methods, ...undocumented].sort();
      const others = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'];
      for (const method of others.filter((each) => !allowed.includes(each))) {
        for (const value of ['abc', 'x'.repeat(200)]) {
          const answer = await sendExactly(api, method, path.replaceAll(/\{\w+\}/g, value), {}, globalAgent);
          const seen = `${method} ${path} (${value.length}): ${answer.status}`;
          expect(seen).toBe(`${method} ${path} (${value.length}): 405`);
          expectProblem(answer, 405, 'method_not_allowed');
          expect(answer.headers.get('allow')).toBe(allowed.join(', '));
        }
      }
    }
  });

  test('paths with an empty segment: 404, not 405', async () => {
    const user = await api.createUser();
    for (const path of ['/v1/users/', '/v1/resources/', '/v1/auth/sessions/', '/v1/users//quotas']) {
      for (const method of ['GET', 'DELETE']) {
        const answer = await api.as(user).send(method, path);
        expect({ method, path, status: answer.status }).toEqual({ method, path, status: 404 });
        expectProblem(answer, 404, 'not_found');
      }
    }
    expect((await api.as(user).get('/v1/users/me')).status).toBe(200);
  });
});

describe('Query parameters', () => {
  const LISTS = [
    ...['/v1/users', '/v1/users/me/credits', '/v1/resources', '/v1/tasks', '/v1/auth/sessions', '/v1/keys'],
    ...['/v1/plans', '/v1/apis', '/v1/store', '/v1/auth/signing-keys', '/v1/audit', '/v1/metrics/refusals'],
    '/v1/users/me/sessions',
  ];

  test('LISTS has every operation with a cursor', async () => {
    const paged = (await listOperations(api)).filter(({ declared }) =>
      (declared.parameters ?? []).some(({ name }) => name === 'cursor'),
    );
    expect(paged.map(({ path }) => path.replace('{user}', 'me')).sort()).toEqual([...LISTS].sort());
  });

  test.each(LISTS)('GET %s with an invalid limit: 400', async (path) => {
    const limits = ['0', '-1', '101', '1.5', 'abc', '', '0x10', '1e1', '%201', '+1', '9'.repeat(30), 'null', '٣'];
    for (const limit of [...limits, '1&limit=2', '1&limit=1']) {
      expectField(await admin.get(`${path}?limit=${limit}`), '/limit');
    }
    for (const limit of ['limit[]=1', 'limit[gt]=1']) {
      expectProblem(await admin.get(`${path}?${limit}`), 400, 'validation_failed');
    }
    for (const limit of ['1', '100']) expect((await admin.get(`${path}?limit=${limit}`)).status).toBe(200);
  });

  test.each(LISTS)('GET %s with a forged cursor: 400', async (path) => {
    const boss = await api.createUser({ role: 'admin' });
    await api.signIn(boss.username, boss.password);
    for (const value of ['one', 'two']) {
      await api.as(boss).post('/v1/resources', { value });
      await api.as(boss).post('/v1/auth/signing-keys', { name: value });
      await api.as(boss).post('/v1/tasks', { title: value });
      await api.as(boss).post('/v1/users/me/credits', { amount: 1 });
      const key = await api.as(boss).createKey({ name: value, scopes: [] });
      expectProblem(await api.call('api1', key), 403, 'scope_denied');
      await api.as(boss).put(`/v1/store/${value}`, value);
      if (path === '/v1/plans') await api.createPlan();
    }
    // Refusals are written once a second.
    await until(async () => (await api.as(boss).get('/v1/metrics/refusals')).body.data.length === 2);
    const { nextCursor: good } = (await api.as(boss).get(`${path}?limit=1`)).body;
    expect((await api.as(boss).get(`${path}?limit=1&cursor=${good}`)).status).toBe(200);
    const flipped = (at: number) => `${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`;
    const sealed = (text: string) => Buffer.from(`12345678${text}`).toString('base64url');
    const forged = [
      flipped(0),
      flipped(20),
      flipped(good.length - 2),
      good.slice(0, -1),
      `${good}A`,
      `${good}=`,
      `${good}%00`,
      '',
      'x',
      '0',
      '%00',
      'AAAAAAAAAAA',
      sealed('019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c'),
      sealed("' OR 1=1 --"),
      '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c',
      'x'.repeat(1_025),
      `${good}&cursor=${good}`,
    ];
    for (const cursor of forged) expectField(await api.as(boss).get(`${path}?cursor=${cursor}`), '/cursor');
  });

  test.each([
    ['/v1/users?limit=abc', '/limit', 'must be an integer'],
    ['/v1/users?limit=0', '/limit', 'must be at least 1'],
    ['/v1/users?limit=101', '/limit', 'must be at most 100'],
    ['/v1/users?limit=1&limit=2', '/limit', 'must be given once'],
    ['/v1/users?query=', '/query', 'must have 1 to 254 characters'],
    ['/v1/users?query=%00', '/query', 'must not have U+0000 or lone surrogates'],
    ['/v1/users?query=%ff', '/query', 'must be percent-encoded UTF-8'],
    ['/v1/users?limit=2&query=100%', '/query', 'must have each % written as %25'],
    ['/v1/store?prefix=%E0%A4', '/prefix', 'must be percent-encoded UTF-8'],
    ['/v1/audit?target=%ff', '/target', 'must be percent-encoded UTF-8'],
    ['/v1/store/a?owner=%C0%AE', '/owner', 'must be percent-encoded UTF-8'],
    ['/v1/users?q%ff=1', '/q%ff', 'must be percent-encoded UTF-8'],
    ['/v1/metrics/usage?from=2026-01-01T00:00:00+01:00', '/from', 'must have the + of its offset written as %2B'],
    ['/v1/users?nope=1', '/nope', 'is not allowed'],
    ['/v1/users?__proto__=1', '/__proto__', 'is not allowed'],
    ['/v1/platform?nope=1', '/nope', 'is not allowed'],
    ['/v1/metrics/top?by=x', '/by', 'must be one of: tasks, resources, storeEntries, calls, requests'],
    ['/v1/tasks?completed=1', '/completed', 'must be true or false'],
    ['/v1/store?owner=a&owner=b', '/owner', 'must be given once'],
    ['/v1/store/a?owner=a&owner=b', '/owner', 'must be given once'],
    ['/v1/store/a?owner=', '/owner', 'must have 1 to 254 characters'],
    ['/v1/store/a?nope=1', '/nope', 'is not allowed'],
  ])('GET %s: 400 with the most basic fault of the parameter', async (path, pointer, detail) => {
    const answer = await admin.get(path);
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors).toEqual([{ pointer, detail }]);
    expect(answer.body.detail).toBe(`${pointer.slice(1)} ${detail}.`);
  });

  test('GET with an empty, too long, repeated or not storable `query` or `owner`: 400', async () => {
    for (const query of ['', '%00', 'x'.repeat(255), 'a&query=b']) {
      expectField(await admin.get(`/v1/users?query=${query}`), '/query');
    }
    for (const owner of ['', '%00', 'x'.repeat(255), 'me&owner=me']) {
      expectField(await admin.get(`/v1/resources?owner=${owner}`), '/owner');
      expectField(await admin.get(`/v1/tasks?owner=${owner}`), '/owner');
      expectField(await admin.get(`/v1/keys?owner=${owner}`), '/owner');
      expectField(await admin.get(`/v1/store?owner=${owner}`), '/owner');
    }
  });

  const fill = (path: string): string =>
    path.replace('{user}', 'me').replace('{id}', crypto.randomUUID()).replace('{slug}', 'api1').replace('{key}', 'a');

  test.each([
    'unknown',
    'Limit',
    'page',
    'toString',
    'constructor',
    '__proto__',
    'hasOwnProperty',
    '$where',
    '%00',
    '',
  ])('every GET with the unknown parameter %p: 400', async (name) => {
    // Skips /call, which forwards the query to the upstream, and paths that a gateway appends.
    const paths = (await listOperations(api))
      .filter(({ method, path }) => method === 'GET' && !(isMetered(path) && path !== '/v1/forward-auth'))
      .map(({ path }) => fill(path));
    const answers = await Promise.all(
      paths.map(async (path) => ({ path, answer: await admin.get(`${path}?${name}=1`) })),
    );
    expect(answers.filter(({ answer }) => answer.status !== 400).map(({ path }) => path)).toEqual([]);
    for (const { answer } of answers) expectProblem(answer, 400, 'validation_failed');
  });

  test('POST, PATCH and DELETE with an unknown parameter: 400, and nothing changes', async () => {
    const user = await api.createUser();
    const { id } = (await api.as(user).post('/v1/resources', { value: 'x' })).body;
    expectField(await api.as(user).post('/v1/resources?unknown=1', { value: 'x' }), '/unknown');
    expectField(await api.as(user).delete(`/v1/resources/${id}?unknown=1`), '/unknown');
    expectField(await api.as(user).patch('/v1/users/me?unknown=1', { firstName: 'Ada' }), '/unknown');
    expectField(await api.as(user).post('/v1/auth/logout?unknown=1'), '/unknown');
    expect((await api.as(user).get('/v1/resources')).body.data).toHaveLength(1);
    expect((await api.as(user).get('/v1/users/me')).body.firstName).toBeNull();
  });
});

describe('Responses', () => {
  test('a request with an Origin: no CORS headers', async () => {
    const user = await api.createUser();
    const headers = { origin: 'https://evil.example' };
    const preflight = { ...headers, 'access-control-request-method': 'GET' };
    for (const answer of [
      await api.as(user).get('/v1/users/me', { headers }),
      await api.get('/v1/users/me', { headers }),
      await api.get('/openapi.json', { headers }),
      await sendExactly(api, 'OPTIONS', '/v1/users/me', preflight),
    ]) {
      expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control-'))).toEqual([]);
    }
  });

  test.each(['/v1/users/me', '/v1/nothing', '/livez', '/openapi.json'])(
    'GET %s: headers that keep browsers from running or framing the data',
    async (path) => {
      const { headers } = await api.get(path);
      expect(headers.get('content-security-policy')).toMatch(/default-src '(none|self)'/);
      expect(headers.get('content-security-policy')).toMatch(/frame-ancestors '(none|self)'/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-powered-by')).toBeNull();
    },
  );

  test.each(['/docs', '/docs/swagger-ui.css', '/docs/page.js'])(
    'GET %s: the security headers of a page',
    async (path) => {
      const { headers } = await api.get(path);
      expect(headers.get('content-security-policy')).toContain("default-src 'self'");
      expect(headers.get('content-security-policy')).not.toMatch(/unsafe-eval|script-src[^;]*unsafe-inline/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('SAMEORIGIN');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('x-powered-by')).toBeNull();
    },
  );

  test('a long response with Accept-Encoding gzip or br: compressed', async () => {
    const user = await api.createUser();
    const value = 'all alike '.repeat(40);
    await Promise.all(Array.from({ length: 30 }, () => api.as(user).post('/v1/resources', { value })));
    const get = (encoding: string, path = '/v1/resources') =>
      api.as(user).get(path, { headers: { 'accept-encoding': encoding } });
    const plain = await get('identity');
    expect(plain.headers.get('content-encoding')).toBeNull();
    expect(plain.body.data).toHaveLength(30);
    for (const encoding of ['gzip', 'br']) {
      const packed = await get(encoding);
      expect(packed.headers.get('content-encoding')).toBe(encoding);
      expect(packed.headers.get('vary')).toMatch(/accept-encoding/i);
      expect(packed.body).toEqual(plain.body);
    }
    expect((await get('gzip', '/v1/users/me')).headers.get('content-encoding')).toBeNull();
  });

  test('X-Request-Id: returned if it is valid, otherwise replaced', async () => {
    for (const id of ['a', 'client-Id.7_x', '0'.repeat(64)]) {
      const answer = await api.get('/v1/users/me', { headers: { 'x-request-id': id } });
      expectProblem(answer, 401, 'unauthenticated');
      expect(answer.body.requestId).toBe(id);
    }
    const ids = new Set<string>();
    for (const id of ['', 'a b', '<script>', 'a"b', '{"a":1}', '0'.repeat(65), 'a,b', '../x', 'ü', 'a\tb']) {
      const answer = await api.get('/livez', { headers: { 'x-request-id': id } });
      const given = answer.headers.get('x-request-id') ?? '';
      expect(given).toMatch(/^[\w.-]{1,64}$/);
      expect(given).not.toBe(id);
      ids.add(given);
    }
    expect(ids.size).toBe(10);
  });
});
