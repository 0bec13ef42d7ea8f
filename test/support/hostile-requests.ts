import fc from 'fast-check';
import { anyCharacter } from './characters.js';
import type { Operation } from './api.js';
import { acceptedBody, schemaOf, type Document, type Schema } from './subjects.js';

/** Who sends a hostile request. */
export type Caller = 'nobody' | 'user' | 'other' | 'admin' | 'key' | 'unscoped';

/**
 * A generated request. `<<name>>` stands for a value that only the run knows, so that a seed generates the same request
 * again.
 */
export interface HostileRequest {
  caller: Caller;
  /** The path parameters; `raw` ones are sent without percent-encoding. */
  path: Record<string, { text: string; raw: boolean }>;
  query: [name: string, value: string][];
  headers: Record<string, string>;
  /** UTF-8 text. If `bytes` is set, they are inserted at `at`; otherwise the text is cut there. */
  body?: { text: string; at?: number; bytes?: number[] };
}

/** Strings that are known to break software. */
const TEXTS = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\ud800',
  'x\udfff',
  '\u202e',
  '\ufeff',
  'İ',
  'ﬁ',
  '👩‍👩‍👧‍👦',
  '0',
  '-1',
  '1e3',
  '0x10',
  'NaN',
  'null',
  'true',
  '[]',
  '{}',
  '*',
  '%',
  '%00',
  '_',
  '\\',
  "'",
  '"',
  "' OR 1=1 --",
  '$1',
  '${7*7}',
  '{{7*7}}',
  '<script>',
  '../../etc/passwd',
  'a/b',
  'a\r\nX-Injected: 1',
  '__proto__',
  'constructor',
  'toString',
  'x'.repeat(300),
  'x'.repeat(5_000),
  'é'.repeat(700),
  '9'.repeat(40),
  '2026-02-30T00:00:00Z',
  '+275760-09-13T00:00:00.000Z',
  '9999-12-31T23:59:59.999999999Z',
  '-000001-01-01T00:00:00Z',
  '1970-01-01',
];

const NUMBERS = [0, -0, -1, 1, 1.5, 2 ** 31, 2 ** 53 - 1, 2 ** 53, -(2 ** 63), 1e20, 1e308, -1e-308];

/** Placeholders of a run; the fuzzer replaces them. */
const NAMES = ['user', 'other', 'victim'].flatMap((who) => [`<<${who}.id>>`, `<<${who}.username>>`]);

const anyOf = <T>(values: readonly T[]) => fc.constantFrom(...values);

const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  anyOf<unknown>([null, true, false, [], {}, [[]], [null], { length: 5 }, { toString: 1 }, { $ne: null }]),
  anyOf<unknown>(NUMBERS),
  anyOf<unknown>(TEXTS),
  anyOf<unknown>(NAMES),
  fc.jsonValue({ maxDepth: 3 }),
  fc.integer({ min: 2, max: 120 }).map((depth) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown),
);

/** Strings for a parameter: existing, plausible and invalid values. */
const hostileText: fc.Arbitrary<string> = fc.oneof(
  anyOf(TEXTS),
  anyOf(NAMES),
  fc.string({ unit: anyCharacter, maxLength: 20 }),
  fc.uuid({ version: 7 }),
);

/** Plausible values by member or parameter name, where the document declares only a type. */
const USUAL: Record<string, readonly string[]> = {
  user: ['me', 'me', '<<user.id>>', '<<user.username>>', '<<other.username>>', '<<victim.id>>', '<<victim.username>>'],
  owner: ['me', '*', '<<user.username>>', '<<victim.id>>', '<<victim.username>>'],
  meter: ['resources', 'tasks', 'store.entries', 'store.bytes', 'api:*', 'api:api1', 'api:none', 'objects'],
  slug: ['api1', 'api2', '<<plan>>', '<<api>>', 'none'],
  key: ['kept', 'written', '<<user.key>>', '<<other.key>>', '<<own.key>>'],
  path: ['below', 'a/b', '..', '%2e%2e'],
  login: ['<<user.username>>', '<<other.username>>', '<<victim.username>>', 'nobody'],
  password: ['Unguessable-7', 'Wrong-Password-7'],
  currentPassword: ['Unguessable-7', 'Wrong-Password-7'],
  newPassword: ['Unguessable-7', 'Unguessable-8', 'password'],
  code: ['<<own.code>>', '<<own.code>>', '755224', 'k7m2p-xw9ra'],
  token: ['<<own.token>>', '<<own.token>>', '<<user.refreshToken>>', 'qmt_x'],
  actor: ['me', '<<user.id>>', '<<victim.username>>'],
  target: ['<<user.id>>', '<<victim.id>>', 'api1'],
  action: ['user.create', 'user.*', 'none'],
  publicKey: ['JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs='],
  refreshToken: ['<<user.refreshToken>>', '<<user.accessToken>>', 'qmr_x'],
  cursor: ['<<cursor>>', 'AAAAAAAAAAA'],
  scopes: ['*', 'api1', 'api*', 'none'],
  keys: ['kept', 'written', 'none'],
  api: ['api1', 'none'],
  plan: ['<<plan>>', 'none'],
  defaultPlan: ['<<plan>>', 'none'],
  // A closed port of this machine, so that no request leaves it.
  upstream: ['http://127.0.0.1:1/', 'http://127.0.0.1:1', 'ftp://127.0.0.1/', 'http://user:pass@127.0.0.1:1/', 'x'],
  from: ['2026-11-01', '2026-11-21T12:00:00Z', '1970-01-01'],
  to: ['2026-11-22', '2099-01-01', '2026-11-21T12:00:00Z'],
  expiresAt: ['2030-01-31T12:00:00Z', '2030-01-31T12:00:00+14:00', '2020-01-01T00:00:00Z'],
  ids: ['<<id>>', '<<other.owned>>', '<<victim.owned>>'],
};

/** Values for operations that act on another user. */
const USUAL_OF: Record<string, readonly string[]> = {
  'DELETE /v1/users/{user}/totp user': ['<<guarded.username>>', '<<guarded.id>>', 'me', '<<victim.username>>'],
};

/** Returns plausible values of a path parameter, if known. */
const usualOf = ({ id }: Operation, name: string): readonly string[] | undefined =>
  USUAL_OF[`${id} ${name}`] ?? USUAL[name === 'id' ? 'ids' : name];

/** Generates values that a schema allows, or almost allows. @param name of the member or parameter */
function valid(document: Document, given: Schema, name: string): fc.Arbitrary<unknown> {
  const schema = schemaOf(document, given);
  const usual = USUAL[name];
  const made = typed(document, schema, name);
  const known =
    usual && typesOf(schema)[0] === 'string' ? fc.oneof({ weight: 4, arbitrary: anyOf(usual) }, made) : made;
  return typesOf(schema).includes('null') ? fc.oneof({ weight: 5, arbitrary: known }, fc.constant(null)) : known;
}

/** Returns the types of a schema, in declared order with `null` last. */
function typesOf({ type }: Schema): string[] {
  return [type ?? []].flat();
}

function typed(document: Document, schema: Schema, name: string): fc.Arbitrary<unknown> {
  if (schema.enum) return anyOf(schema.enum as unknown[]);
  const choices = (schema.oneOf ?? schema.anyOf) as Schema[] | undefined;
  if (choices) return fc.oneof(...choices.map((each) => valid(document, each, name)));
  switch (typesOf(schema)[0]) {
    case 'null':
      return fc.constant(null);
    case 'string':
      return text(schema);
    case 'integer':
    case 'number':
      return fc.oneof(
        fc.integer({
          min: Math.ceil(schema.minimum ?? -5),
          max: Math.floor(Math.min(schema.maximum ?? 100, (schema.minimum ?? 0) + 1_000)),
        }),
        anyOf([schema.minimum ?? 0, schema.maximum ?? 2 ** 31]),
      );
    case 'boolean':
      return fc.boolean();
    case 'array':
      return fc.array(valid(document, schema.items, name), { minLength: schema.minItems ?? 0, maxLength: 4 });
    case 'object':
      return schema.properties ? members(document, schema) : fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue());
    default:
      return fc.jsonValue({ maxDepth: 3 });
  }
}

function text({ format, pattern, minLength = 0, maxLength = 64 }: Schema): fc.Arbitrary<string> {
  if (format === 'email') return fc.stringMatching(/^[a-z]{3,12}@[a-z]{3,12}\.example$/);
  if (format === 'date-time') return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
  if (typeof pattern === 'string')
    return fc.stringMatching(new RegExp(pattern), { maxLength: Math.min(maxLength, 64) });
  return fc.string({ minLength, maxLength: Math.min(maxLength, 40), unit: 'grapheme-ascii' });
}

function members(document: Document, { properties, required = [] }: Schema): fc.Arbitrary<unknown> {
  const arbitraries = Object.fromEntries(
    Object.entries<Schema>(properties).map(([name, of]) => [name, valid(document, of, name)]),
  );
  return fc.record(arbitraries, { requiredKeys: required, noNullPrototype: true });
}

/** @param percent the probability of a value */
function sometimes<T>(arbitrary: fc.Arbitrary<T>, percent: number): fc.Arbitrary<T | undefined> {
  return fc.oneof({ weight: 100 - percent, arbitrary: fc.constant(undefined) }, { weight: percent, arbitrary });
}

/** Mutates a value: changes, adds or drops a member, wraps the value in an array, or replaces it. */
function spoiled(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const name = fc.oneof(
    anyOf(['id', 'ownerId', 'role', '__proto__', 'constructor', '', 'x']),
    fc.string({ maxLength: 5 }),
  );
  return fc
    .tuple(value, anyOf(['change', 'add', 'drop', 'replace', 'wrap'] as const), fc.nat(20), name, hostileValue)
    .map(([given, how, at, extra, other]) => {
      if (how === 'wrap') return [given];
      if (how === 'replace' || typeof given !== 'object' || given === null) return other;
      const made = structuredClone(given) as Record<string, unknown>;
      const names = Object.keys(made);
      const chosen = names[at % Math.max(1, names.length)];
      if (how === 'add' || chosen === undefined) define(made, extra, other);
      else if (how === 'drop') Reflect.deleteProperty(made, chosen);
      else define(made, chosen, other);
      return made;
    });
}

/** Defines a member; assignment would not create a member named `__proto__`. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

function bodies(document: Document, operation: Operation): fc.Arbitrary<HostileRequest['body']> {
  const schema = operation.declared.requestBody?.content['application/json']?.schema as Schema | undefined;
  if (!schema) {
    const stray = anyOf(['{}', 'x', '']).map((each) => ({ text: each }));
    return fc.oneof({ weight: 19, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: stray });
  }
  const good = valid(document, schema, '');
  const write = (value: unknown): { text: string } => ({ text: JSON.stringify(value) });
  const bytes = fc.array(fc.nat(255), { maxLength: 3 });
  return fc.oneof(
    { weight: 8, arbitrary: good.map(write) },
    { weight: 6, arbitrary: spoiled(good).map(write) },
    {
      weight: 1,
      arbitrary: fc.tuple(good, fc.nat(200), bytes).map(([value, at, put]) => ({ ...write(value), at, bytes: put })),
    },
    {
      weight: 1,
      arbitrary: anyOf(['', 'null', '{', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '[]', '\ufeff{}']).map((each) => ({
        text: each,
      })),
    },
  );
}

const HEADERS: Record<string, readonly string[]> = {
  'idempotency-key': ['a', '"a"', 'b', '', ' ', '"', 'x'.repeat(255), 'x'.repeat(256), 'é', 'a, b'],
  'if-match': ['*', '"1"', 'W/"1"', '"1", "2"', '', '"', 'x', `"${'9'.repeat(30)}"`],
  'if-none-match': ['*', '"1"', 'W/"1"', '"1", "2"', '', '"', 'x', `"${'9'.repeat(30)}"`],
  'accept-encoding': ['gzip', 'br', 'gzip;q=0', '*;q=0', 'identity;q=0', '*', 'x', ''],
  'content-type': ['application/json', 'application/json; charset=utf-16', 'text/plain', 'x', 'application/json;'],
  'content-encoding': ['gzip', 'identity', 'x'],
  accept: ['text/html', '*/*;q=0', 'application/xml', 'x'],
  range: ['bytes=0-1', 'x'],
  'x-request-id': ['a', 'x'.repeat(65), '<script>'],
  'x-forwarded-for': ['127.0.0.1', 'x'],
  'x-http-method-override': ['DELETE', 'GET'],
  origin: ['null', 'https://evil.example'],
  cookie: ['session=1'],
  authorization: ['Bearer', 'Bearer x', 'Basic YTpi', '<<user.key.secret>>'],
  'x-api-key': ['x', '<<user.key.secret>>', ''],
  'content-digest': ['sha-256=:AAAA:', 'x', ''],
  'signature-input': ['sig=("@method");created=1;nonce="x";keyid="x";alg="ed25519"', 'sig=()', 'x', ''],
  signature: ['sig=:AAAA:', 'x', ''],
};

function headers(): fc.Arbitrary<Record<string, string>> {
  const names = Object.keys(HEADERS);
  const one = anyOf(names).chain((name) => anyOf(HEADERS[name]!).map((value) => [name, value] as const));
  return fc.oneof(
    { weight: 5, arbitrary: fc.constant({}) },
    { weight: 3, arbitrary: fc.array(one, { minLength: 1, maxLength: 3 }).map((each) => Object.fromEntries(each)) },
  );
}

function queries(document: Document, { declared }: Operation): fc.Arbitrary<[string, string][]> {
  const parameters = (declared.parameters ?? []).filter((parameter) => parameter.in === 'query');
  const stray = fc.tuple(anyOf(['unknown', 'owner', 'role', '__proto__', 'limit[]', '']), hostileText);
  const known = parameters.map(({ name, schema = {} }) => {
    const good = valid(document, schema, name).map(String);
    const value = fc.oneof({ weight: 4, arbitrary: good }, { weight: 1, arbitrary: hostileText });
    return sometimes(fc.tuple(fc.constant(name), value), 40);
  });
  return fc
    .tuple(fc.tuple(...known), sometimes(stray, 5))
    .map(([some, more]) => [...some, more].filter((each) => each !== undefined));
}

function paths(operation: Operation): fc.Arbitrary<HostileRequest['path']> {
  const names = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const of = (name: string): fc.Arbitrary<{ text: string; raw: boolean }> => {
    const usual = anyOf(usualOf(operation, name) ?? ['x']).map((each) => ({ text: each, raw: false }));
    const hostile = hostileText
      .filter((each) => each !== '' && each.isWellFormed())
      .map((each) => ({ text: each, raw: false }));
    const raw = anyOf([
      '%ff',
      '%2e%ff',
      '%2e.',
      '%',
      '%zz',
      '%c0%af',
      '%00',
      'a%2fb',
      '%252e',
      '..;',
      'a;b',
      'a%0d%0ab',
      '\\',
      '~',
    ]);
    return fc.oneof(
      { weight: 9, arbitrary: usual },
      { weight: 2, arbitrary: hostile },
      { weight: 1, arbitrary: raw.map((each) => ({ text: each, raw: true })) },
    );
  };
  return fc.record(Object.fromEntries(names.map((name) => [name, of(name)])), { noNullPrototype: true });
}

/** Generates callers that can use the security scheme of the operation. */
function callers({ declared }: Operation): fc.Arbitrary<Caller> {
  const isMetered = (declared.security ?? []).some((scheme) => 'key' in scheme);
  const session = ['nobody', 'user', 'user', 'user', 'other', 'admin', 'admin', 'admin'] as const;
  return isMetered ? anyOf(['nobody', 'user', 'key', 'key', 'key', 'unscoped'] as const) : anyOf(session);
}

/** Returns a request that the operation accepts, from which the fuzzer starts. */
export function acceptedRequest(document: Document, operation: Operation): HostileRequest {
  const isMetered = (operation.declared.security ?? []).some((scheme) => 'key' in scheme);
  const parameters = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const usual = (name: string): string => {
    if (name === 'slug' && !isMetered) return operation.path.startsWith('/v1/plans') ? '<<plan>>' : '<<api>>';
    return name === 'meter' ? 'api:api1' : (usualOf(operation, name)?.[0] ?? name);
  };
  const body = acceptedBody(document, operation, {
    username: '<<own.username>>',
    password: 'Unguessable-7',
    refreshToken: '<<own.refreshToken>>',
    canary: 'something',
    key: { key: '<<own.key>>', id: '', hint: '' },
    ...{ code: '<<own.code>>', token: '<<own.token>>' },
  });
  return {
    caller: isMetered ? 'key' : 'admin',
    path: Object.fromEntries(parameters.map((name) => [name, { text: usual(name), raw: false }])),
    query: [],
    headers: {},
    ...(body === undefined ? {} : { body: { text: JSON.stringify(body) } }),
  };
}

/** Generates requests of an operation: valid, nearly valid and malformed. */
export function hostileRequests(document: Document, operation: Operation): fc.Arbitrary<HostileRequest> {
  return fc.record(
    {
      caller: callers(operation),
      path: paths(operation),
      query: queries(document, operation),
      headers: headers(),
      body: bodies(document, operation),
    },
    { noNullPrototype: true },
  ) as fc.Arbitrary<HostileRequest>;
}
