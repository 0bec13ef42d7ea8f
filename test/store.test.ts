import { randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import {
  expectProblem,
  sendExactly,
  sharedApi,
  uniqueName,
  type Account,
  type Answer,
  type Api,
} from './support/api.js';
import { anyCharacter } from './support/characters.js';
import { query } from './support/server.js';
import { until } from './support/until.js';

const api = sharedApi();

let admin: Api;
let shared: Api;

beforeAll(async () => {
  [admin, shared] = await Promise.all([api.admin(), someone()]);
});

const sql = (text: string, values: unknown[]): Promise<any[]> =>
  query(process.env.TEST_SERVER_DATABASE ?? '', text, values);

/** Creates a user and signs it in. */
const someone = async (): Promise<Api> => api.as(await api.createUser());

/** Returns an empty store that sequential tests share: each new user costs two password hashes. */
async function emptyStore(): Promise<Api> {
  for (;;) {
    const { body } = await shared.get('/v1/store?limit=100');
    if (body.data.length === 0) return shared;
    await remove(
      shared,
      body.data.map(({ key }: { key: string }) => key),
    );
  }
}

const pathOf = (key: string, rest = ''): string => `/v1/store/${encodeURIComponent(key)}${rest}`;

const put = (as: Api, key: string, text: string, headers: Record<string, string> = {}): Promise<Answer> =>
  as.put(pathOf(key), undefined, { raw: text, headers });

const write = (as: Api, entries: object[], options: object = {}): Promise<Answer> =>
  as.post('/v1/store/write', { entries, ...options });

const read = (as: Api, keys: string[], options: object = {}): Promise<Answer> =>
  as.post('/v1/store/read', { keys, ...options });

const remove = (as: Api, keys: string[], options: object = {}): Promise<Answer> =>
  as.post('/v1/store/delete', { keys, ...options });

/** Writes values given as JSON text in one batch, overwriting existing entries. */
function writeTexts(as: Api, texts: [key: string, text: string][]): Promise<Answer> {
  const entries = texts.map(([key, text]) => `{"key":${JSON.stringify(key)},"value":${text}}`);
  return as.post('/v1/store/write', undefined, { raw: `{"onConflict":"replace","entries":[${entries.join(',')}]}` });
}

/** Returns all pages of a store. */
async function pagesOf(as: Api, queryText = ''): Promise<any[][]> {
  const pages: any[][] = [];
  for (let path = `/v1/store?${queryText}`; ;) {
    const { status, body, headers } = await as.get(path);
    expect(status).toBe(200);
    pages.push(body.data);
    if (body.nextCursor === null) {
      expect(headers.get('link')).toBeNull();
      return pages;
    }
    path = /^<(.*)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1] ?? '';
    expect(new URLSearchParams(path.split('?')[1]).get('cursor')).toBe(body.nextCursor);
  }
}

const keysOf = async (as: Api, queryText = 'limit=100'): Promise<string[]> =>
  (await pagesOf(as, queryText)).flat().map(({ key }: { key: string }) => key);

/** Sorts by code point, which equals the byte order of UTF-8. */
const inOrder = (keys: string[]): string[] => [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

function expectField(answer: Answer, pointer: string): void {
  expectProblem(answer, 400, 'validation_failed');
  const pointers = answer.body.errors.map((error: { pointer: string }) => error.pointer);
  expect([...new Set(pointers)]).toEqual([pointer]);
}

/** Valid keys with unusual characters. */
const KEYS = [
  ...[
    'a',
    'A',
    '0',
    ' ',
    '  a  ',
    '/',
    'carts/17',
    '../',
    '..',
    '.',
    '../../etc/passwd',
    '%',
    '%2F',
    '%252F',
    '*',
    '?',
    '#',
  ],
  ...[
    'a?b=c',
    'a&b',
    'a+b',
    '__proto__',
    'constructor',
    'toString',
    'null',
    'write',
    'read',
    'delete',
    '"',
    "'; --",
    '\\',
  ],
  ...[
    '\u0001',
    '\t',
    '\n',
    '\u007f',
    'é',
    'e\u0301',
    '日本',
    '💥',
    '👨‍👩‍👧',
    '\u2028',
    '\ufeff',
    '\uffff',
    '\u{10ffff}',
    '\ud7ff',
  ],
  ...['x'.repeat(512), 'é'.repeat(256), '💥'.repeat(128), '\u{10ffff}'.repeat(128), '%'.repeat(512), 'a;b', '$1', '{}'],
  ...['\\n', '\\\n', '\\\\n', '\\\\', 'a\nb', 'a\\nb', '\r\n', '\n1\n2\n', '\\N', 'NULL', '{a,b}', '""'],
];

/** JSON values that other stores change or reject. */
const TEXTS = [
  ...[
    'null',
    'true',
    'false',
    '0',
    '-0',
    '12345678901234567890',
    '-98765432109876543210.5',
    '0.10',
    '1.0',
    '1e400',
    '-1E+400',
  ],
  ...[
    '1e-400',
    '0.1e1',
    `0.${'1234567890'.repeat(100)}`,
    '9'.repeat(1_000),
    '""',
    '"text"',
    '"\\u0000"',
    '"a\\u0000b"',
  ],
  ...[
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\uD83D\\uDCA5"',
    '"💥"',
    '"\\/"',
    '"/"',
    '"\u2028\u2029\ufeff\u007f"',
    '"\\u0041"',
  ],
  ...[
    '"  two  "',
    '" \\t "',
    '[]',
    '{}',
    '[[],{}]',
    '{"":""}',
    '{"":{"":[{"":null}]}}',
    '{"b":1,"a":2}',
    '{"2":1,"1":2}',
  ],
  ...[
    '{"a":1,"a":2,"a":3}',
    '{"__proto__":{"x":1},"constructor":2,"toString":3}',
    '{"\\u0061":1,"a":2}',
    '"\uffff\u{10ffff}"',
  ],
  ...[
    '['.repeat(64) + ']'.repeat(64),
    `${'{"a":'.repeat(64)}1${'}'.repeat(64)}`,
    `"${'x'.repeat(262_142)}"`,
    '"$1 \\\\ %s \'"',
  ],
  ...[`"${'💥'.repeat(65_535)}"`, `[${'1,'.repeat(131_070)}1]`, '"</script>"', '"\\\\x00"', '{"key":"a","value":1}'],
];

const number = fc.stringMatching(/^-?(0|[1-9]\d{0,24})(\.\d{1,24})?([eE][+-]?\d{1,4})?$/);

const string = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\\u0000',
        '\\ud800',
        '\\uDfFf',
        '\\"',
        '\\\\',
        '\\/',
        '\\n',
        '{',
        ']',
        ',',
        ':',
        '  ',
        '💥',
        '\u2028',
      ),
      fc.string({ unit: anyCharacter, maxLength: 3 }).map((text) => JSON.stringify(text).slice(1, -1)),
    ),
    { maxLength: 4 },
  )
  .map((units) => `"${units.join('')}"`);

/** Any JSON text without whitespace outside strings. */
const json = fc.letrec<{ text: string }>((tie) => ({
  text: fc.oneof(
    { maxDepth: 5, depthSize: 'medium' },
    fc.oneof(number, string, fc.constantFrom('true', 'false', 'null')),
    fc.array(tie('text'), { maxLength: 5 }).map((items) => `[${items.join(',')}]`),
    fc
      .array(fc.tuple(string, tie('text')), { maxLength: 5 })
      .map((members) => `{${members.map(([name, text]) => `${name}:${text}`).join(',')}}`),
  ),
})).text;

/** Adds whitespace wherever JSON allows it. */
const spaced = (text: string): string =>
  text.replace(/("(?:\\.|[^"\\])*")|([[\]{},:])/gs, (_match, quoted: string | undefined, mark: string) =>
    quoted === undefined ? `\r\n ${mark}\t` : ` ${quoted} `,
  );

describe('PUT, GET, HEAD, DELETE /v1/store/{key}', () => {
  test('creates, reads, replaces and deletes a value', async () => {
    const mine = await emptyStore();
    const made = await mine.put(pathOf('carts/17'), { items: ['tea'], total: 12.5 });
    expect(made).toMatchObject({ status: 201, body: { key: 'carts/17', version: expect.any(Number) } });
    expect(Object.keys(made.body)).toEqual(['key', 'version']);
    expect(made.headers.get('etag')).toBe(`"${made.body.version}"`);
    const got = await mine.get(pathOf('carts/17'));
    expect(got).toMatchObject({ status: 200, text: '{"items":["tea"],"total":12.5}' });
    expect(got.headers.get('etag')).toBe(made.headers.get('etag'));
    expect(got.headers.get('content-type')).toBe('application/json; charset=utf-8');
    const replaced = await mine.put(pathOf('carts/17'), null);
    expect(replaced).toMatchObject({ status: 200, body: { key: 'carts/17' } });
    expect(replaced.body.version).toBeGreaterThan(made.body.version);
    expect((await mine.get(pathOf('carts/17'))).text).toBe('null');
    // Some clients send a content type without a body.
    const deleted = await mine.delete(pathOf('carts/17'), { headers: { 'content-type': 'application/json' } });
    expect(deleted).toMatchObject({ status: 204, text: '' });
    for (const answer of [await mine.get(pathOf('carts/17')), await mine.delete(pathOf('carts/17'))]) {
      expectProblem(answer, 404, 'not_found');
    }
    expect(await keysOf(mine)).toEqual([]);
  });

  test('unusual JSON values: returned exactly as written, by every read', async () => {
    const mine = await emptyStore();
    const texts = TEXTS.map((text, i): [string, string] => [`t${String(i).padStart(3, '0')}`, text]);
    await Promise.all(
      texts.map(async ([key, text]) => {
        const answer = await put(mine, key, text.length > 1_000 ? text : spaced(text));
        expect({ text, status: answer.status }).toEqual({ text, status: 201 });
        expect((await mine.get(pathOf(key))).text).toBe(text);
      }),
    );
    const versions = new Map((await pagesOf(mine)).flat().map(({ key, version }) => [key, version]));
    const entry = ([key, text]: [string, string]): string =>
      `{"key":"${key}","value":${text},"version":${versions.get(key)},"expiresAt":null}`;
    const keys = texts.map(([key]) => key).reverse();
    const all = await read(mine, keys);
    expect(all.text === `{"entries":[${[...texts].reverse().map(entry).join(',')}],"missing":[]}`).toBe(true);
    const page = await mine.get('/v1/store?limit=100&values=true');
    for (const [, text] of texts) expect(page.text.includes(`"value":${text}}`)).toBe(true);
    // The same values, written in a batch.
    const other = await someone();
    const written = await writeTexts(other, texts);
    expect(written).toMatchObject({ status: 200, body: { written: texts.length } });
    for (const [key, text] of texts) expect((await other.get(pathOf(key))).text === text).toBe(true);
  });

  test('1,000 random JSON values: returned exactly as written', async () => {
    const mine = await emptyStore();
    await fc.assert(
      fc.asyncProperty(fc.array(json, { minLength: 250, maxLength: 250 }), async (values) => {
        const texts = values.map((text, i): [string, string] => [`k${i}`, text]);
        const written = await writeTexts(
          mine,
          texts.map(([key, text]) => [key, spaced(text)]),
        );
        expect(written.status).toBe(200);
        const entries = texts.map(
          ([key, text], i) =>
            `{"key":"${key}","value":${text},"version":${written.body.results[i].version},"expiresAt":null}`,
        );
        const keys = texts.map(([key]) => key);
        expect((await read(mine, keys)).text).toBe(`{"entries":[${entries.join(',')}],"missing":[]}`);
        const i = values.length - 1;
        expect((await mine.get(pathOf(`k${i}`))).text).toBe(values[i]);
      }),
      { numRuns: 4, endOnFailure: true },
    );
  });

  test('HEAD: the headers of GET, without the body', async () => {
    const mine = await emptyStore();
    const { body } = await mine.put(pathOf('a'), 'text');
    const answer = await mine.send('HEAD', pathOf('a'));
    expect(answer).toMatchObject({ status: 200, text: '' });
    expect(answer.headers.get('etag')).toBe(`"${body.version}"`);
    expect(answer.headers.get('content-length')).toBe('6');
    expect(await mine.send('HEAD', pathOf('b'))).toMatchObject({ status: 404, text: '' });
    const known = { 'if-none-match': `"${body.version}"` };
    expect(await mine.send('HEAD', pathOf('a'), undefined, { headers: known })).toMatchObject({
      status: 304,
      text: '',
    });
  });

  test('compressed response: same value, with an ETag for each encoding', async () => {
    const mine = await emptyStore();
    const text = `["${'all alike '.repeat(5_000)}"]`;
    await put(mine, 'a', text);
    const tags = new Set<string>();
    for (const encoding of ['identity', 'gzip', 'br']) {
      const answer = await mine.get(pathOf('a'), { headers: { 'accept-encoding': encoding } });
      expect(answer.headers.get('content-encoding')).toBe(encoding === 'identity' ? null : encoding);
      expect(answer.text === text).toBe(true);
      // Caches need Vary, because the ETag depends on the encoding.
      expect(answer.headers.get('vary')).toBe('accept-encoding');
      tags.add(answer.headers.get('etag') ?? '');
    }
    expect(tags.size).toBe(3);
    for (const tag of tags) {
      const known = await mine.get(pathOf('a'), { headers: { 'if-none-match': tag, 'accept-encoding': 'br' } });
      expect(known).toMatchObject({ status: 304, text: '' });
      expect(known.headers.get('etag')).toBe(tag);
      expect(known.headers.get('vary')).toBe('accept-encoding');
      // Every ETag of a version works for writes, even if a proxy has weakened it.
      for (const sent of [tag, `W/${tag}`]) {
        const { version } = (await put(mine, 'b', text)).body;
        const ofB = sent.replace(/\d+/, version);
        expect((await put(mine, 'b', '1', { 'if-match': ofB })).status).toBe(200);
        expectProblem(await put(mine, 'b', '2', { 'if-match': ofB }), 412, 'version_mismatch');
      }
    }
  });
});

describe('keys', () => {
  test('unusual keys: work in paths and bodies', async () => {
    const mine = await emptyStore();
    await Promise.all(
      KEYS.map(async (key) => {
        // fetch would normalize the path.
        const dotted = ['.', '..'].includes(key);
        const made = dotted ? await write(mine, [{ key, value: key }]) : await mine.put(pathOf(key), key);
        expect(made).toMatchObject(dotted ? { status: 200 } : { status: 201, body: { key } });
        const got = await sendExactly(mine, 'GET', pathOf(key));
        expect({ key, body: got.body }).toEqual({ key, body: key });
      }),
    );
    const { body } = await read(mine, KEYS);
    expect(body.entries.map(({ key, value }: any) => [key, value])).toEqual(KEYS.map((key) => [key, key]));
    expect(await keysOf(mine)).toEqual(inOrder(KEYS));
    const { body: again } = await write(
      mine,
      KEYS.map((key) => ({ key, value: 0 })),
    );
    expect(again).toMatchObject({ written: 0, skipped: KEYS.length });
    const [dots, rest] = [KEYS.slice(0, 20), KEYS.slice(20)];
    const answers = await Promise.all(rest.map((key) => sendExactly(mine, 'DELETE', pathOf(key))));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([204]));
    expect((await remove(mine, KEYS)).body).toEqual({ deleted: dots.length, missing: rest });
    expect(await keysOf(mine)).toEqual([]);
  });

  test('random keys: work in batches of 150', async () => {
    const mine = await emptyStore();
    const unit = fc.oneof(
      fc.constantFrom('\\', 'n', '\n', '"', "'", '{', ',', '%'),
      fc.string({ unit: anyCharacter, maxLength: 2 }),
    );
    const key = fc
      .array(unit, { minLength: 1, maxLength: 5 })
      .map((units) => units.join('').replaceAll('\0', ''))
      .filter((text) => text !== '');
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { minLength: 150, maxLength: 150 }), async (keys) => {
        const entries = keys.map((each) => ({ key: each, value: each }));
        expect((await write(mine, entries, { onConflict: 'fail' })).body).toMatchObject({ written: keys.length });
        const { body } = await read(mine, keys);
        expect(body.entries.map(({ key: name, value }: any) => ({ key: name, value }))).toEqual(entries);
        expect(await keysOf(mine, 'limit=40')).toEqual(inOrder(keys));
        expect((await remove(mine, [...keys, 'x'.repeat(20)])).body).toEqual({
          ...{ deleted: keys.length, missing: ['x'.repeat(20)] },
        });
      }),
      { numRuns: 4, endOnFailure: true },
    );
  });

  test('percent-encoding of the path: equivalent spellings find the entry, others get 404', async () => {
    const mine = await emptyStore();
    await mine.put(pathOf('a/b c'), 1);
    for (const spelling of ['a%2Fb%20c', 'a%2fb%20c', '%61%2F%62%20%63']) {
      expect((await sendExactly(mine, 'GET', `/v1/store/${spelling}`)).body).toBe(1);
    }
    for (const path of [
      '/v1/store/a/b%20c',
      '/v1/store/a%2Fb+c',
      '/v1/store/a%252Fb%20c',
      '/v1/store/a%2Fb%20c/',
      '/v1/store/',
    ]) {
      expectProblem(await sendExactly(mine, 'GET', path), 404, 'not_found');
    }
  });

  test.each([
    ['of 513 bytes', 'x'.repeat(513)],
    ['of 513 bytes in 257 letters', `x${'é'.repeat(256)}`],
    ['of 516 bytes, each of them encoded', '💥'.repeat(129)],
    ['of 2,048 bytes', 'x'.repeat(2_048)],
    ['of 2,049 bytes', 'x'.repeat(2_049)],
    ['of 3,000 bytes, each of them encoded', '💥'.repeat(750)],
    ['of 6,000 bytes', 'x'.repeat(6_000)],
    ['of U+0000', '\0'],
    ['with U+0000 in them', 'a\0b'],
  ])('GET, PUT, DELETE: 400 for a key %s', async (_name, key) => {
    const mine = await emptyStore();
    for (const method of ['GET', 'DELETE', 'PUT']) {
      const answer = await mine.send(method, pathOf(key), method === 'PUT' ? 1 : undefined);
      expectProblem(answer, 400, 'validation_failed');
    }
    expect(await keysOf(mine)).toEqual([]);
  });

  test.each(['%', '%zz', '%ff', '%C0%80', '%ed%a0%80', 'a%2'])(
    'GET, DELETE: 400 for a key that cannot be decoded: %s',
    async (key) => {
      const mine = await emptyStore();
      for (const method of ['GET', 'DELETE']) {
        expectProblem(await sendExactly(mine, method, `/v1/store/${key}`), 400, 'validation_failed');
      }
    },
  );
});

describe('POST /v1/store/write', () => {
  /** Creates a store with a, b and c. Returns their versions. */
  async function withThree(): Promise<{ mine: Api; versions: Record<string, number> }> {
    const mine = await emptyStore();
    const { body } = await write(
      mine,
      ['a', 'b', 'c'].map((key) => ({ key, value: `old ${key}` })),
    );
    expect(body).toMatchObject({ written: 3, skipped: 0, warnings: [] });
    return { mine, versions: Object.fromEntries(body.results.map(({ key, version }: any) => [key, version])) };
  }

  const valuesOf = async (mine: Api): Promise<object> =>
    Object.fromEntries((await pagesOf(mine, 'values=true')).flat().map(({ key, value }) => [key, value]));

  const OLD = { a: 'old a', b: 'old b', c: 'old c' };

  const NEW = ['b', 'x', 'a', 'y'].map((key) => ({ key, value: `new ${key}` }));

  test.each([{}, { onConflict: 'skip' }, { onConflict: 'skip', atomic: true }, { atomic: false }])(
    'skips existing entries with a warning: %j',
    async (options) => {
      const { mine, versions } = await withThree();
      const answer = await write(mine, NEW, options);
      expect(answer).toMatchObject({ status: 200, body: { written: 2, skipped: 2 } });
      expect(Object.keys(answer.body)).toEqual(['written', 'skipped', 'results', 'warnings']);
      expect(answer.body.results).toEqual([
        { key: 'b', status: 'skipped', version: versions.b },
        { key: 'x', status: 'written', version: expect.any(Number) },
        { key: 'a', status: 'skipped', version: versions.a },
        { key: 'y', status: 'written', version: expect.any(Number) },
      ]);
      expect(answer.body.warnings).toEqual([expect.stringContaining('"b"'), expect.stringContaining('"a"')]);
      expect(await valuesOf(mine)).toEqual({ ...OLD, x: 'new x', y: 'new y' });
    },
  );

  test('200 when all entries exist and are skipped', async () => {
    const { mine, versions } = await withThree();
    const answer = await write(mine, [{ key: 'c', value: 1 }]);
    expect(answer).toMatchObject({ status: 200, body: { written: 0, skipped: 1, warnings: [expect.any(String)] } });
    expect(answer.body.results).toEqual([{ key: 'c', status: 'skipped', version: versions.c }]);
    expect(await valuesOf(mine)).toEqual(OLD);
  });

  test.each([false, true])('onConflict replace: overwrites existing entries (atomic: %p)', async (atomic) => {
    const { mine, versions } = await withThree();
    const answer = await write(mine, NEW, { onConflict: 'replace', atomic });
    expect(answer).toMatchObject({ status: 200, body: { written: 4, skipped: 0, warnings: [] } });
    expect(answer.body.results.map(({ key, status }: any) => [key, status])).toEqual(
      NEW.map(({ key }) => [key, 'written']),
    );
    const given: number[] = answer.body.results.map(({ version }: any) => version);
    expect(new Set(given).size).toBe(4);
    expect(Math.min(...given)).toBeGreaterThan(Math.max(...Object.values(versions)));
    expect(await valuesOf(mine)).toEqual({ a: 'new a', b: 'new b', c: 'old c', x: 'new x', y: 'new y' });
  });

  test.each([false, true])(
    'onConflict fail: 412 and nothing written when an entry exists (atomic: %p)',
    async (atomic) => {
      const { mine, versions } = await withThree();
      const answer = await write(mine, NEW, { onConflict: 'fail', atomic });
      expectProblem(answer, 412, 'version_mismatch');
      expect(answer.body).toMatchObject({ written: 0, skipped: 0, warnings: [] });
      expect(answer.body.results).toEqual([
        { key: 'b', status: 'failed', code: 'version_mismatch', version: versions.b },
        { key: 'x', status: 'aborted' },
        { key: 'a', status: 'failed', code: 'version_mismatch', version: versions.a },
        { key: 'y', status: 'aborted' },
      ]);
      expect(await valuesOf(mine)).toEqual(OLD);
      const fresh = await write(mine, [{ key: 'x', value: 1 }], { onConflict: 'fail', atomic });
      expect(fresh).toMatchObject({ status: 200, body: { written: 1 } });
    },
  );

  test.each(['skip', 'replace'])('ifVersion: checked before onConflict %s', async (onConflict) => {
    const { mine, versions } = await withThree();
    const stale = versions.a!;
    await put(mine, 'a', '"newer"');
    const entries = [
      { key: 'a', value: 1, ifVersion: stale },
      { key: 'b', value: 2, ifVersion: versions.b },
      { key: 'c', value: 3, ifVersion: 0 },
      { key: 'x', value: 4, ifVersion: 0 },
      { key: 'y', value: 5, ifVersion: 7 },
      { key: 'z', value: 6 },
    ];
    const answer = await write(mine, entries, { onConflict });
    expect(answer).toMatchObject({ status: 200, body: { written: 3, skipped: 0 } });
    expect(answer.body.results).toEqual([
      { key: 'a', status: 'failed', code: 'version_mismatch', version: expect.any(Number) },
      { key: 'b', status: 'written', version: expect.any(Number) },
      { key: 'c', status: 'failed', code: 'version_mismatch', version: versions.c },
      { key: 'x', status: 'written', version: expect.any(Number) },
      { key: 'y', status: 'failed', code: 'version_mismatch' },
      { key: 'z', status: 'written', version: expect.any(Number) },
    ]);
    expect(answer.body.results[0].version).toBeGreaterThan(stale);
    expect(await valuesOf(mine)).toEqual({ a: 'newer', b: 2, c: 'old c', x: 4, z: 6 });
  });

  test.each([
    { onConflict: 'skip', atomic: true },
    { onConflict: 'replace', atomic: true },
    { onConflict: 'fail', atomic: false },
    { onConflict: 'fail', atomic: true },
  ])('one wrong ifVersion: 412 and nothing written with %j', async (options) => {
    const { mine, versions } = await withThree();
    const entries = [
      { key: 'x', value: 1 },
      { key: 'a', value: 2, ifVersion: versions.a! + 100 },
      { key: 'b', value: 3, ifVersion: versions.b },
    ];
    const answer = await write(mine, entries, options);
    expectProblem(answer, 412, 'version_mismatch');
    expect(answer.body.results).toEqual([
      { key: 'x', status: 'aborted' },
      { key: 'a', status: 'failed', code: 'version_mismatch', version: versions.a },
      { key: 'b', status: 'aborted' },
    ]);
    expect(await valuesOf(mine)).toEqual(OLD);
    // With the right version all entries are written: ifVersion has priority over onConflict.
    const good = await write(mine, [entries[0]!, entries[2]!], options);
    expect(good).toMatchObject({ status: 200, body: { written: 2 } });
  });

  test('412 when no entry could be written', async () => {
    const { mine, versions } = await withThree();
    const entries = [
      { key: 'a', value: 1, ifVersion: 0 },
      { key: 'x', value: 2, ifVersion: 1 },
    ];
    const answer = await write(mine, entries, { onConflict: 'replace' });
    expectProblem(answer, 412, 'version_mismatch');
    expect(answer.body).toMatchObject({ written: 0, skipped: 0, warnings: [] });
    expect(answer.body.results).toEqual([
      { key: 'a', status: 'failed', code: 'version_mismatch', version: versions.a },
      { key: 'x', status: 'failed', code: 'version_mismatch' },
    ]);
    // One skipped entry is enough for 200.
    expect(await write(mine, [...entries, { key: 'b', value: 1 }])).toMatchObject({
      status: 200,
      body: { written: 0, skipped: 1, results: [{ status: 'failed' }, { status: 'failed' }, { status: 'skipped' }] },
    });
    expect(await valuesOf(mine)).toEqual(OLD);
  });

  test('quota reached: writes the entries that fit; atomic: 403 and nothing written', async () => {
    const owner = await api.createUser();
    const mine = api.as(owner);
    await admin.put(`/v1/users/${owner.id}/quotas/store.entries`, { limit: 2 });
    const entries = ['a', 'b', 'c'].map((key) => ({ key, value: key }));
    for (const onConflict of ['skip', 'replace', 'fail']) {
      const refused = await write(mine, entries, { atomic: true, onConflict });
      expectProblem(refused, 403, 'quota_exceeded');
      expect(refused.body).toMatchObject({ written: 0, skipped: 0, limits: [{ meter: 'store.entries', limit: 2 }] });
      expect(refused.body.results).toHaveLength(3);
    }
    expect(await keysOf(mine)).toEqual([]);
    const partly = await write(mine, entries);
    expect(partly).toMatchObject({ status: 200, body: { written: 2, skipped: 0 } });
    expect(partly.body.results[2]).toEqual({ key: 'c', status: 'failed', code: 'quota_exceeded' });
    // Also when one of its entries would only be skipped.
    const whole = await write(mine, [entries[0]!, { key: 'd', value: 1 }], { atomic: true });
    expectProblem(whole, 403, 'quota_exceeded');
    expect(whole.body).toMatchObject({
      ...{ written: 0, skipped: 0, warnings: [] },
      results: [{ status: 'aborted' }, { status: 'failed', code: 'quota_exceeded' }],
    });
    const none = await write(mine, [
      { key: 'd', value: 1 },
      { key: 'a', value: 1, ifVersion: 0 },
    ]);
    expectProblem(none, 403, 'quota_exceeded');
    expect(none.body.results.map(({ code }: any) => code)).toEqual(['quota_exceeded', 'version_mismatch']);
    const other = await write(mine, [
      { key: 'a', value: 1, ifVersion: 0 },
      { key: 'd', value: 1 },
    ]);
    expectProblem(other, 412, 'version_mismatch');
    expectProblem(await put(mine, 'd', '1'), 403, 'quota_exceeded');
    expect(await put(mine, 'a', '1')).toMatchObject({ status: 200 });
    expect(await keysOf(mine)).toEqual(['a', 'b']);
  });

  test('accepts up to 1,000 entries and returns results in their order', async () => {
    const mine = await emptyStore();
    const entries = Array.from({ length: 1_000 }, (_, i) => ({ key: `k${(i * 7_919) % 10_007}`, value: i }));
    expectField(await write(mine, [...entries, { key: 'x', value: 1 }]), '/entries');
    expect(await keysOf(mine)).toEqual([]);
    const answer = await write(mine, entries);
    expect(answer).toMatchObject({ status: 200, body: { written: 1_000 } });
    const keys = entries.map(({ key }) => key);
    expect(answer.body.results.map(({ key }: any) => key)).toEqual(keys);
    const { body } = await read(mine, keys);
    expect(body.entries.map(({ key, value }: any) => ({ key, value }))).toEqual(entries);
    expectField(await read(mine, [...keys, 'x']), '/keys');
    expectField(await remove(mine, [...keys, 'x']), '/keys');
    expect((await remove(mine, keys)).body).toEqual({ deleted: 1_000, missing: [] });
  });
});

describe('POST /v1/store/read', () => {
  test('404 with all missing keys; onMissing report: 200 with the rest', async () => {
    const mine = await emptyStore();
    const { body } = await write(mine, [
      { key: 'a', value: [1] },
      { key: 'b', value: null, ttlSeconds: 1_000 },
    ]);
    const [a, b] = body.results;
    const keys = ['x', 'b', '__proto__', 'a', 'é"\\\u0001'];
    const missing = ['x', '__proto__', 'é"\\\u0001'];
    for (const options of [{}, { onMissing: 'fail' }]) {
      const refused = await read(mine, keys, options);
      expectProblem(refused, 404, 'keys_not_found');
      expect(refused.body.missing).toEqual(missing);
      expect(refused.body).not.toHaveProperty('entries');
    }
    const answer = await read(mine, keys, { onMissing: 'report' });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(answer.body).toEqual({
      entries: [
        {
          key: 'b',
          value: null,
          version: b.version,
          expiresAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/),
        },
        { key: 'a', value: [1], version: a.version, expiresAt: null },
      ],
      missing,
    });
    expect((await read(mine, ['x', 'y'], { onMissing: 'report' })).body).toEqual({ entries: [], missing: ['x', 'y'] });
    expect((await read(mine, ['a'], { onMissing: 'fail' })).body.missing).toEqual([]);
    expect((await remove(mine, keys)).body).toEqual({ deleted: 2, missing });
    expect((await remove(mine, ['a'])).body).toEqual({ deleted: 0, missing: ['a'] });
  });
});

describe('versions', () => {
  test('rise with every write of a store, even after deletion and expiry', async () => {
    const [owner, other] = await Promise.all([api.createUser(), someone()]);
    const mine = api.as(owner);
    let last = 0;
    const expectHigher = (version: unknown): void => {
      expect(version).toBeGreaterThan(last);
      last = version as number;
    };
    for (const key of ['a', 'b', 'a', 'c']) expectHigher((await put(mine, key, '1')).body.version);
    await mine.delete(pathOf('c'));
    expectHigher((await put(mine, 'c', '1')).body.version);
    await remove(mine, ['a', 'b', 'c']);
    for (const { version } of (
      await write(
        mine,
        ['c', 'b', 'a'].map((key) => ({ key, value: 1 })),
      )
    ).body.results) {
      expectHigher(version);
    }
    expectHigher((await put(mine, 'a', '1')).body.version);
    await sql('UPDATE store_entries SET expires_at = now() WHERE owner_id = $1', [owner.id]);
    expectHigher((await put(mine, 'a', '1')).body.version);
    expectHigher((await write(mine, [{ key: 'b', value: 1 }])).body.results[0].version);
    // Each store has its own sequence.
    expect((await put(other, 'a', '1')).body.version).toBeLessThan(last);
    // The ETag of a deleted entry does not match its successor.
    const tag = (await mine.get(pathOf('a'))).headers.get('etag') ?? '';
    await mine.delete(pathOf('a'));
    await put(mine, 'a', '1');
    expectProblem(await put(mine, 'a', '2', { 'if-match': tag }), 412, 'version_mismatch');
    expect((await mine.get(pathOf('a'), { headers: { 'if-none-match': tag } })).status).toBe(200);
  });

  test('do not change on rejected or skipped writes', async () => {
    const mine = await emptyStore();
    const first = (await put(mine, 'a', '1')).body.version;
    await write(mine, [{ key: 'a', value: 2 }]);
    await write(mine, [{ key: 'a', value: 2 }], { onConflict: 'fail' });
    await put(mine, 'a', '2', { 'if-match': '"999999999"' });
    expect((await mine.get(pathOf('a'))).headers.get('etag')).toBe(`"${first}"`);
  });
});

describe('conditional requests', () => {
  interface Case {
    match?: string;
    noneMatch?: string;
  }

  const TAGS: Case[] = [
    {},
    ...['*', '"V"', '"OLD"', '"OLD", "V"', 'W/"V"', 'W/"OLD"', '"x"', '"V", W/"OLD"'].flatMap((tags) => [
      { match: tags },
      { noneMatch: tags },
    ]),
    { match: '"V"', noneMatch: '"V"' },
    { match: '"V"', noneMatch: '"OLD"' },
    { match: '"OLD"', noneMatch: '"OLD"' },
    { match: '*', noneMatch: '*' },
    { match: '*', noneMatch: '"OLD"' },
  ];

  /** Evaluates each condition (RFC 9110, section 13.1). */
  function judge({ match, noneMatch }: Case, there: boolean): { match: boolean; noneMatch: boolean } {
    return {
      match: match === undefined || (there && (match === '*' || match.includes('"V"'))),
      noneMatch: noneMatch === undefined || !(there && (noneMatch === '*' || noneMatch.includes('"V"'))),
    };
  }

  /** Writes an entry twice, and deletes it if `there` is false. Returns its version and the headers to send. */
  async function tried(mine: Api, key: string, there: boolean, { match, noneMatch }: Case) {
    const old = (await put(mine, key, '"oldest"')).body.version as number;
    const version = (await put(mine, key, '"old"')).body.version as number;
    if (!there) await mine.delete(pathOf(key));
    const tags = (text: string): string => text.replaceAll('OLD', String(old)).replaceAll('V', String(version));
    const headers = {
      ...(match === undefined ? {} : { 'if-match': tags(match) }),
      ...(noneMatch === undefined ? {} : { 'if-none-match': tags(noneMatch) }),
    };
    return { version, headers };
  }

  test.each([true, false])('PUT: conditions are evaluated (entry exists: %p)', async (there) => {
    const mine = await emptyStore();
    await Promise.all(
      TAGS.map(async (each, i) => {
        const key = `k${i}`;
        const { headers, version } = await tried(mine, key, there, each);
        const { match, noneMatch } = judge(each, there);
        const answer = await put(mine, key, '"new"', headers);
        const status = match && noneMatch ? (there ? 200 : 201) : 412;
        const code = status === 412 ? 'version_mismatch' : undefined;
        expect({ ...each, status: answer.status, code: answer.body.code }).toEqual({ ...each, status, code });
        const left = there ? [200, '"old"', `"${version}"`] : [404];
        const after = await mine.get(pathOf(key));
        expect([after.status, after.text, after.headers.get('etag')]).toEqual(
          expect.arrayContaining(status === 412 ? left : [200, '"new"', answer.headers.get('etag')]),
        );
      }),
    );
  });

  test.each([true, false])('DELETE: conditions are evaluated (entry exists: %p)', async (there) => {
    const mine = await emptyStore();
    await Promise.all(
      TAGS.map(async (each, i) => {
        const key = `k${i}`;
        const { headers } = await tried(mine, key, there, each);
        const { match, noneMatch } = judge(each, there);
        const answer = await mine.delete(pathOf(key), { headers });
        // A missing entry gets 404 regardless of conditions (section 13.2.1).
        const status = !there ? 404 : match && noneMatch ? 204 : 412;
        expect({ ...each, status: answer.status }).toEqual({ ...each, status });
        if (status !== 204) expectProblem(answer, status, status === 404 ? 'not_found' : 'version_mismatch');
        expect((await mine.get(pathOf(key))).status).toBe(status === 412 ? 200 : 404);
      }),
    );
  });

  test.each([true, false])('GET: conditions are evaluated (entry exists: %p)', async (there) => {
    const mine = await emptyStore();
    await Promise.all(
      TAGS.map(async (each, i) => {
        const key = `k${i}`;
        const { headers, version } = await tried(mine, key, there, each);
        const { match, noneMatch } = judge(each, there);
        const answer = await mine.get(pathOf(key), { headers });
        const status = !there ? 404 : !match ? 412 : noneMatch ? 200 : 304;
        expect({ ...each, status: answer.status }).toEqual({ ...each, status });
        const answered = [answer.headers.get('etag'), answer.text, answer.body.code];
        const code = status === 404 ? 'not_found' : 'version_mismatch';
        const shown = status === 200 ? '"old"' : '';
        expect(answered).toEqual(expect.arrayContaining(status < 400 ? [`"${version}"`, shown] : [code]));
      }),
    );
  });

  test('400 for a malformed condition, and nothing changes', async () => {
    const mine = await emptyStore();
    await put(mine, 'a', '1');
    for (const tags of ['42', '"42', '', '*, "1"', "'42'", 'garbage', '"1" "2"', ',']) {
      for (const name of ['If-Match', 'If-None-Match']) {
        const headers = { [name]: tags };
        expectField(await put(mine, 'a', '2', headers), `/${name}`);
        expectField(await mine.delete(pathOf('a'), { headers }), `/${name}`);
        expectField(await mine.get(pathOf('a'), { headers }), `/${name}`);
      }
    }
    expect((await mine.get(pathOf('a'))).text).toBe('1');
  });
});

describe('entry with a time to live', () => {
  /** Checks that no operation returns or counts the expired entry. */
  async function expectGone(owner: Account, key: string, version: number): Promise<void> {
    const mine = api.as(owner);
    expectProblem(await mine.get(pathOf(key)), 404, 'not_found');
    expectProblem(await read(mine, [key]), 404, 'keys_not_found');
    expect(await keysOf(mine, `prefix=${encodeURIComponent(key)}`)).toEqual([]);
    expect((await remove(mine, [key])).body).toEqual({ deleted: 0, missing: [key] });
    expectProblem(await mine.delete(pathOf(key)), 404, 'not_found');
    expectProblem(await put(mine, key, '1', { 'if-match': `"${version}"` }), 412, 'version_mismatch');
    expectProblem(await put(mine, key, '1', { 'if-match': '*' }), 412, 'version_mismatch');
  }

  test('reports expiresAt, and expires then', async () => {
    const owner = await api.createUser();
    const mine = api.as(owner);
    const before = Date.now();
    const single = await mine.put(pathOf('a', '?ttl=1000'), 1);
    const batch = await write(mine, [{ key: 'b', value: 1, ttlSeconds: 1_000 }]);
    const after = Date.now();
    const { body } = await mine.get('/v1/store');
    expect(body.data).toHaveLength(2);
    for (const { expiresAt } of body.data) {
      expect(Date.parse(expiresAt)).toBeGreaterThanOrEqual(before + 1_000_000);
      expect(Date.parse(expiresAt)).toBeLessThanOrEqual(after + 1_000_001);
      expect(expiresAt).toBe(new Date(expiresAt).toISOString());
    }
    // One entry expires by the clock, the others through SQL.
    await mine.put(pathOf('second', '?ttl=1'), 1);
    await until(async () => !(await keysOf(mine)).includes('second'));
    expect(await keysOf(mine)).toEqual(['a', 'b']);
    const earlier = await sql(
      `SELECT key, (expires_at - interval '1000 s')::text AS at FROM store_entries WHERE owner_id = $1`,
      [owner.id],
    );
    for (const { key, at } of earlier) {
      await sql('UPDATE store_entries SET expires_at = $3 WHERE owner_id = $1 AND key = $2', [owner.id, key, at]);
    }
    await expectGone(owner, 'a', single.body.version);
    await expectGone(owner, 'b', batch.body.results[0].version);
  });

  test('expired: gone at once, swept or not, and the key can be written again', async () => {
    const owner = await api.createUser();
    const mine = api.as(owner);
    const expire = (): Promise<any[]> =>
      sql(`UPDATE store_entries SET expires_at = now() WHERE owner_id = $1 AND key <> 'stays'`, [owner.id]);
    const { version } = (await mine.put(pathOf('a', '?ttl=1000'), 'old')).body;
    await put(mine, 'stays', '1');
    await expire();
    await expectGone(owner, 'a', version);
    expect(await keysOf(mine)).toEqual(['stays']);
    for (const again of [
      () => write(mine, [{ key: 'a', value: 'new' }]),
      () => write(mine, [{ key: 'a', value: 'new' }], { onConflict: 'fail' }),
      () => write(mine, [{ key: 'a', value: 'new', ifVersion: 0 }], { atomic: true }),
      () => put(mine, 'a', '"new"', { 'if-none-match': '*' }),
    ]) {
      const answer = await again();
      expect([200, 201]).toContain(answer.status);
      expect(answer.body.written ?? 1).toBe(1);
      const { body } = await read(mine, ['a']);
      // The new entry inherits nothing from the expired one.
      expect(body.entries).toMatchObject([{ value: 'new', expiresAt: null }]);
      await expire();
    }
    expectProblem(await mine.get(pathOf('a')), 404, 'not_found');
  });

  test('each write sets or removes the time to live', async () => {
    const mine = await emptyStore();
    const expiryOf = async (): Promise<string | null> => (await read(mine, ['a'])).body.entries[0].expiresAt;
    await mine.put(pathOf('a', '?ttl=1000'), 1);
    const first = (await expiryOf()) ?? '';
    await mine.put(pathOf('a', '?ttl=2000'), 1);
    expect((await expiryOf())! > first).toBe(true);
    await mine.put(pathOf('a'), 1);
    expect(await expiryOf()).toBeNull();
    await write(mine, [{ key: 'a', value: 1, ttlSeconds: 3_155_760_000 }], { onConflict: 'replace' });
    expect(await expiryOf()).toMatch(/^2\d{3}-/);
    await write(mine, [{ key: 'a', value: 1, ttlSeconds: 1 }]);
    expect(await expiryOf()).toMatch(/^2[1-9]\d\d-/);
  });
});

test.each(['carts/17', 'a/', '/a', 'a//b', 'a/b/c?owner=me'])(
  '/v1/store/%s with an unencoded slash: 404 that explains how to encode it',
  async (path) => {
    const mine = await emptyStore();
    for (const method of ['GET', 'PUT', 'DELETE', 'POST']) {
      const answer = await sendExactly(mine, method, `/v1/store/${path}`);
      expectProblem(answer, 404, 'not_found');
      expect(answer.body.detail).toContain('%2F');
    }
    expectProblem(await mine.get('/v1/nope/carts/17'), 404, 'not_found');
    expect((await mine.get(pathOf('nope'))).body.detail).not.toContain('%2F');
  },
);

describe('stores of different owners', () => {
  test('same key in two stores: independent entries', async () => {
    const [one, two] = await Promise.all([someone(), someone()]);
    await put(one, 'a', '"one"');
    for (const answer of [
      await two.get(pathOf('a')),
      await two.delete(pathOf('a')),
      await put(two, 'a', '1', { 'if-match': '*' }),
    ]) {
      expect([404, 412]).toContain(answer.status);
      expect(answer.text).not.toContain('one');
    }
    expectProblem(await read(two, ['a']), 404, 'keys_not_found');
    expect((await remove(two, ['a'])).body).toEqual({ deleted: 0, missing: ['a'] });
    expect(await keysOf(two)).toEqual([]);
    expect(await write(two, [{ key: 'a', value: 'two' }], { onConflict: 'fail' })).toMatchObject({ status: 200 });
    expect((await one.get(pathOf('a'))).body).toBe('one');
    expect((await two.get(pathOf('a'))).body).toBe('two');
    await two.delete(pathOf('a'));
    expect((await one.get(pathOf('a'))).body).toBe('one');
  });

  /** Sends every operation to the store of an owner, which contains `a`. */
  const operations = (as: Api, owner: string): Promise<Answer>[] => [
    as.get(`/v1/store?owner=${owner}`),
    as.get(pathOf('a', `?owner=${owner}`)),
    as.put(pathOf('b', `?owner=${owner}`), 1),
    as.delete(pathOf('zzz', `?owner=${owner}`)),
    write(as, [{ key: 'c', value: 1 }], { owner }),
    read(as, ['a'], { owner }),
    remove(as, ['zzz'], { owner }),
  ];

  test('`owner` of another user: allowed for administrators, 403 for users', async () => {
    const [owner, stranger] = await Promise.all([api.createUser(), api.createUser()]);
    const mine = api.as(owner);
    await put(mine, 'a', '"mine"');
    for (const name of [owner.id, owner.username, 'me']) {
      for (const as of name === 'me' ? [mine] : [mine, admin]) {
        const answers = await Promise.all(operations(as, name));
        expect(answers.map(({ status }) => (status === 201 ? 200 : status))).toEqual([
          200, 200, 200, 404, 200, 200, 200,
        ]);
        expect(answers[0]!.body.data).toEqual(
          expect.arrayContaining([{ key: 'a', version: expect.any(Number), expiresAt: null, owner: owner.id }]),
        );
        expect(answers[1]!.body).toBe('mine');
        expect(answers[5]!.body.entries).toMatchObject([{ key: 'a', value: 'mine' }]);
      }
    }
    expect(await keysOf(mine)).toEqual(['a', 'b', 'c']);
    for (const name of [owner.id, owner.username, 'admin', randomUUID(), 'nosuchuser', '*']) {
      const answers = await Promise.all(operations(api.as(stranger), name));
      for (const answer of answers) {
        expectProblem(answer, 403, 'forbidden');
        expect(answer.text).not.toContain('mine');
      }
    }
    expect(await keysOf(api.as(stranger))).toEqual([]);
    // The administrator has a separate store.
    expectProblem(await admin.get(pathOf('a')), 404, 'not_found');
  });

  test('`owner` that does not exist: 404 for administrators; malformed: 400', async () => {
    for (const name of [randomUUID(), 'nosuchuser', 'nobody@example.com']) {
      for (const answer of await Promise.all(operations(admin, name))) expectProblem(answer, 404, 'not_found');
    }
    // `*` is allowed only for the list.
    for (const answer of (await Promise.all(operations(admin, '*'))).slice(1)) {
      expect([400, 404]).toContain(answer.status);
    }
    for (const name of ['', '%00', 'x'.repeat(255), 'me&owner=me']) {
      for (const answer of (await Promise.all(operations(admin, name))).slice(0, 4)) expectField(answer, '/owner');
    }
    const batches = (owner: string) => operations(admin, owner).slice(4);
    for (const name of ['', '\0', 'x'.repeat(255), '\ud800']) {
      for (const answer of await Promise.all(batches(name))) expectField(answer, '/owner');
    }
  });

  test('DELETE /v1/users/{user}: deletes the store', async () => {
    const owner = await api.createUser();
    await put(api.as(owner), 'a', '1');
    expect((await admin.delete(`/v1/users/${owner.id}`)).status).toBe(204);
    expect(await sql('SELECT FROM store_entries WHERE owner_id = $1', [owner.id])).toEqual([]);
    for (const answer of await Promise.all(operations(admin, owner.id))) expectProblem(answer, 404, 'not_found');
    for (const answer of await Promise.all(operations(api.as(owner), 'me')))
      expectProblem(answer, 401, 'invalid_token');
  });
});

describe('POST /v1/store/write with an Idempotency-Key', () => {
  const once = (as: Api, key: string, entries: object[], options: object = {}): Promise<Answer> =>
    as.post('/v1/store/write', { entries, ...options }, { headers: { 'idempotency-key': key } });

  test('repeated: replays the response and writes once', async () => {
    const [mine, other] = await Promise.all([someone(), someone()]);
    const key = uniqueName();
    const entries = [{ key: 'a', value: 1 }];
    const options = { onConflict: 'replace' };
    const first = await once(mine, key, entries, options);
    expect(first).toMatchObject({ status: 200, body: { written: 1 } });
    await put(mine, 'a', '2');
    const again = await once(mine, key, entries, options);
    expect(again.text).toBe(first.text);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect((await mine.get(pathOf('a'))).text).toBe('2');
    for (const [others, more] of [
      [[{ key: 'a', value: 2 }], options],
      [[{ key: 'b', value: 1 }], options],
      [entries, { onConflict: 'skip' }],
      [entries, { ...options, atomic: true }],
    ] as const) {
      expectProblem(await once(mine, key, [...others], more), 422, 'idempotency_key_reused');
    }
    expect(await keysOf(mine)).toEqual(['a']);
    // Keys are separate for each user.
    expect((await once(other, key, entries, options)).headers.get('idempotency-replayed')).toBeNull();
  });

  test('repeated after 412: judged again; repeated after a partial write: replayed', async () => {
    const mine = await emptyStore();
    const key = uniqueName();
    const entries = [{ key: 'a', value: 1 }];
    await put(mine, 'a', '0');
    expectProblem(await once(mine, key, entries, { onConflict: 'fail' }), 412, 'version_mismatch');
    await mine.delete(pathOf('a'));
    expect(await once(mine, key, entries, { onConflict: 'fail' })).toMatchObject({ status: 200, body: { written: 1 } });
    const mixed = [...entries, { key: 'b', value: 1 }];
    const first = await once(mine, `${key}2`, mixed);
    expect(first.body).toMatchObject({ written: 1, skipped: 1 });
    expect((await once(mine, `${key}2`, mixed)).text).toBe(first.text);
    const wrong = await once(mine, 'ü', [{ key: 'c', value: 1 }]);
    expectField(wrong, '/Idempotency-Key');
    expect(await keysOf(mine)).toEqual(['a', 'b']);
  });
});

describe('GET /v1/store', () => {
  const SORTED = [
    ...[
      '\u0001',
      ' ',
      '0',
      'A',
      'Z',
      'a',
      'a\u0001',
      'a ',
      'a/',
      'a/b',
      'aa',
      'ab',
      'a\u{10ffff}',
      'a\u{10ffff}b',
      'b',
      'ba',
      'z',
    ],
    ...[
      '\u007f',
      '\u0080',
      'e\u0301',
      'é',
      'ÿ',
      '\u07ff',
      '\u0800',
      '\ud7fe',
      '\ud7ff',
      '\ud7ffx',
      '\ue000',
      '\ue000x',
      '\ufeff',
    ],
    ...[
      '\uffff',
      '\u{10000}',
      '💥',
      '💥x',
      '\u{10fffe}',
      '\u{10fffe}x',
      '\u{10ffff}',
      '\u{10ffff}a',
      '\u{10ffff}\u{10ffff}',
    ],
    ...['\u{10ffff}'.repeat(128), 'x'.repeat(512), '%', '_', '\\', '%_\\'],
  ];
  let owner: Account;
  let mine: Api;

  beforeAll(async () => {
    owner = await api.createUser();
    mine = api.as(owner);
    await write(
      mine,
      SORTED.map((key) => ({ key, value: { of: key } })),
    );
  });

  test.each([1, 7, 46, 47, 100])('sorted by code point, %d entries a page', async (limit) => {
    const pages = await pagesOf(mine, `limit=${limit}`);
    expect(pages.flat().map(({ key }) => key)).toEqual(inOrder(SORTED));
    expect(
      pages
        .map((page) => page.length)
        .slice(0, -1)
        .every((length) => length === limit),
    ).toBe(true);
    for (const item of pages.flat()) {
      expect(item).toEqual({ key: item.key, version: expect.any(Number), expiresAt: null, owner: owner.id });
    }
  });

  test('50 entries a page by default', async () => {
    const store = await someone();
    await write(
      store,
      Array.from({ length: 51 }, (_, i) => ({ key: `k${i}`, value: i })),
    );
    expect((await pagesOf(store)).map((page) => page.length)).toEqual([50, 1]);
  });

  test('values=true: includes the values', async () => {
    for (const flag of ['true', '1']) {
      const items = (await pagesOf(mine, `values=${flag}&limit=20`)).flat();
      expect(items.map(({ key, value }) => [key, value])).toEqual(inOrder(SORTED).map((key) => [key, { of: key }]));
    }
    for (const flag of ['false', '0']) {
      for (const item of (await pagesOf(mine, `values=${flag}`)).flat()) expect(item).not.toHaveProperty('value');
    }
    for (const flag of ['', 'yes', 'TRUE', '2', 'true&values=true']) {
      expectField(await mine.get(`/v1/store?values=${flag}`), '/values');
    }
  });

  test('after: exactly the later keys in the order of their bytes, also within a prefix', async () => {
    const texts = ['', 'a', 'a/', 'a/\u{10ffff}', 'ä', '\u{10ffff}', ...SORTED.slice(0, 5)];
    const isLater = (key: string, after: string): boolean => Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0;
    for (const prefix of ['', 'a']) {
      for (const after of texts) {
        const query = `limit=7&prefix=${prefix}&after=${encodeURIComponent(after)}`;
        const expected = SORTED.filter((key) => key.startsWith(prefix) && (after === '' || isLater(key, after)));
        expect({ prefix, after, keys: await keysOf(mine, query) }).toEqual({ prefix, after, keys: inOrder(expected) });
      }
    }
  });

  test('prefix: exactly the keys that start with it', async () => {
    const prefixes = [
      ...SORTED,
      '',
      'c',
      'a/c',
      'aaa',
      '\ud7ff\u{10ffff}',
      '\u{10fffe}\u{10ffff}',
      '~',
      'A\u{10ffff}',
      '/',
    ];
    await Promise.all(
      prefixes.map(async (prefix) => {
        const keys = await keysOf(mine, `limit=${prefix === '' ? 40 : 3}&prefix=${encodeURIComponent(prefix)}`);
        expect({ prefix, keys }).toEqual({ prefix, keys: inOrder(SORTED.filter((key) => key.startsWith(prefix))) });
      }),
    );
    for (const after of ['%00', 'x'.repeat(513)]) expectField(await mine.get(`/v1/store?after=${after}`), '/after');
    for (const prefix of ['%00', 'a%00', 'x'.repeat(513), 'a&prefix=a']) {
      expectField(await mine.get(`/v1/store?prefix=${prefix}`), '/prefix');
    }
  });

  test('cursor: continues at its position despite deletions and writes', async () => {
    const store = await someone();
    const put3 = (keys: string[]) =>
      write(
        store,
        keys.map((key) => ({ key, value: key })),
      );
    await put3(['a', 'b', 'c', 'd', 'e']);
    const { body: first } = await store.get('/v1/store?limit=2');
    expect(first.data.map(({ key }: any) => key)).toEqual(['a', 'b']);
    await remove(store, ['b', 'c']);
    await put3(['aa', 'b\u0001', 'bb']);
    const { body: next } = await store.get(`/v1/store?limit=3&values=true&cursor=${first.nextCursor}`);
    expect(next.data.map(({ value }: any) => value)).toEqual(['b\u0001', 'bb', 'd']);
    // A page after the last entry is empty.
    await remove(store, ['e']);
    const { body: last } = await store.get(`/v1/store?cursor=${next.nextCursor}`);
    expect(last).toEqual({ data: [], nextCursor: null });
  });

  test('cursor of another list, or altered: 400', async () => {
    const [other, boss] = await Promise.all([someone(), api.createUser({ role: 'admin' })]);
    const cursorOf = async (as: Api, path: string): Promise<string> => (await as.get(path)).body.nextCursor;
    const good = await cursorOf(mine, '/v1/store?limit=1');
    const prefixed = await cursorOf(mine, '/v1/store?limit=1&prefix=a');
    const everyone = await cursorOf(api.as(boss), '/v1/store?limit=1&owner=*');
    const ofOther = await cursorOf(api.as(boss), `/v1/store?limit=1&owner=${owner.id}`);
    const flipped = (at: number): string => `${good.slice(0, at)}${good[at] === 'A' ? 'B' : 'A'}${good.slice(at + 1)}`;
    const forged = Buffer.from(`12345678${owner.id} a`).toString('base64url');
    for (const cursor of [
      '',
      'x',
      '%00',
      `${good}A`,
      good.slice(0, -1),
      flipped(0),
      flipped(20),
      forged,
      everyone,
      prefixed,
    ]) {
      expectField(await mine.get(`/v1/store?cursor=${cursor}`), '/cursor');
    }
    for (const cursor of [good, ofOther]) {
      expectField(await other.get(`/v1/store?cursor=${cursor}`), '/cursor');
      expectField(await mine.get(`/v1/store?prefix=a&cursor=${cursor}`), '/cursor');
      expectField(await api.as(boss).get(`/v1/store?owner=*&cursor=${cursor}`), '/cursor');
    }
    expect((await mine.get(`/v1/store?cursor=${ofOther}`)).status).toBe(200);
  });

  test('owner=*: sorted by owner, for administrators only', async () => {
    const mark = uniqueName();
    const owners = await Promise.all([api.createUser(), api.createUser(), api.createUser()]);
    await Promise.all(
      owners.map((each) =>
        write(
          api.as(each),
          ['z', 'a', 'm'].map((key) => ({ key: `${mark}${key}`, value: each.id })),
        ),
      ),
    );
    await remove(api.as(owners[1]), [`${mark}m`, `${mark}z`]);
    const expected = owners
      .flatMap(({ id }, i) => ['a', 'm', 'z'].slice(0, i === 1 ? 1 : 3).map((key) => [id, `${mark}${key}`, id]))
      .sort(([one = ''], [two = '']) => (one < two ? -1 : one > two ? 1 : 0));
    for (const limit of [1, 2, 3, 100]) {
      const items = (await pagesOf(admin, `owner=*&values=true&limit=${limit}&prefix=${mark}`)).flat();
      expect(items.map((item) => [item.owner, item.key, item.value])).toEqual(expected);
    }
    expect(await keysOf(admin, `owner=*&prefix=${mark}a`)).toHaveLength(3);
    expectProblem(await mine.get('/v1/store?owner=*'), 403, 'forbidden');
  });
});

describe('size limits', () => {
  test('batches of 16 MiB are written, batches of 32 MiB are read, and larger reads get 413', async () => {
    const owner = await api.createUser();
    const mine = api.as(owner);
    const nameOf = (i: number): string => `k${String(i).padStart(3, '0')}`;
    const texts = Array.from({ length: 60 }, (_, i): [string, string] => [
      nameOf(i),
      `"${String(i).padStart(4, '0')}${'x'.repeat(262_138)}"`,
    ]);
    expect(await writeTexts(mine, texts)).toMatchObject({ status: 200, body: { written: 60 } });
    // One entry more than a response can hold. Inserted in SQL, because requests would take seconds.
    await sql(
      `INSERT INTO store_entries (owner_id, key, value, version)
      SELECT $1, 'k' || lpad(n::text, 3, '0'), '"' || repeat('y', 262142) || '"', 1 FROM generate_series(60, 128) AS n`,
      [owner.id],
    );
    const keys = Array.from({ length: 129 }, (_, i) => nameOf(i));
    const pages = await pagesOf(mine, 'values=true&limit=100');
    expect(pages.flat().map(({ key }) => key)).toEqual(keys);
    expect(pages.flat().every(({ value }, i) => `"${value}"` === (texts[i]?.[1] ?? `"${'y'.repeat(262_142)}"`))).toBe(
      true,
    );
    const refused = await read(mine, keys);
    expectProblem(refused, 413, 'body_too_large');
    expect(refused.body).not.toHaveProperty('entries');
    expectProblem(await read(mine, [...keys, 'x'], { onMissing: 'report' }), 413, 'body_too_large');
    const all = await read(mine, keys.slice(1));
    expect(all.body.entries.map(({ key }: any) => key)).toEqual(keys.slice(1));
  });

  test('body beyond the limit: 413, and the client receives the response', async () => {
    const mine = await emptyStore();
    const large = `{"entries":[{"key":"a","value":"${'x'.repeat(16_777_216)}"}]}`;
    for (const path of ['/v1/store/write', '/v1/store/read', '/v1/store/delete']) {
      expectProblem(await mine.post(path, undefined, { raw: large }), 413, 'body_too_large');
    }
    expectProblem(await put(mine, 'a', `"${'x'.repeat(2 ** 21)}"`), 413, 'body_too_large');
    expect(await keysOf(mine)).toEqual([]);
  });
});

describe('invalid requests', () => {
  const DEEP = '['.repeat(100_000);

  /** Rejected requests: method, path, body, and the expected status and pointer or code. */
  const REFUSED: [name: string, method: string, path: string, raw: string | undefined, refusal: string][] = [
    ...(['write', 'read', 'delete'] as const).flatMap((name): (typeof REFUSED)[number][] => {
      const list = name === 'write' ? 'entries' : 'keys';
      const item = (key: string): string => (name === 'write' ? `{"key":${key},"value":0}` : key);
      const at = (i: number): string => (name === 'write' ? `/entries/${i}/key` : `/keys/${i}`);
      const body = (...keys: string[]): string => `{"${list}":[${keys.map(item).join(',')}]}`;
      const key = (text: string): string => JSON.stringify(text);
      const path = `/v1/store/${name}`;
      return [
        ['no list', 'POST', path, '{}', `400 /${list}`],
        ['an empty list', 'POST', path, `{"${list}":[]}`, `400 /${list}`],
        ['null', 'POST', path, `{"${list}":null}`, `400 /${list}`],
        ['no object', 'POST', path, '[]', '400 '],
        ['a repeated key', 'POST', path, body('"a"', '"b"', '"\\u0061"'), `400 ${at(2)}`],
        ['an empty key', 'POST', path, body('"b"', '""'), `400 ${at(1)}`],
        ['a key of 513 bytes', 'POST', path, body(key('x'.repeat(513))), `400 ${at(0)}`],
        ['a key of 514 bytes in 257 letters', 'POST', path, body(key('é'.repeat(257))), `400 ${at(0)}`],
        ['a key with U+0000', 'POST', path, body('"a\\u0000"'), `400 ${at(0)}`],
        ['a key with half a character', 'POST', path, body('"\\ud83d"'), `400 ${at(0)}`],
        ['a key that is a number', 'POST', path, body('1'), `400 ${at(0)}`],
        ['1,001 keys', 'POST', path, body(...Array.from({ length: 1_001 }, (_, i) => key(`k${i}`))), `400 /${list}`],
        ['an unknown member', 'POST', path, `{"x":1,${body('"a"').slice(1)}`, '400 /x'],
        ['a member twice', 'POST', path, `{"owner":"me","owner":"me",${body('"a"').slice(1)}`, '400 /owner'],
        ['__proto__', 'POST', path, `{"__proto__":{"owner":"me"},${body('"a"').slice(1)}`, '400 /__proto__'],
        ['an unknown parameter', 'POST', `${path}?x=1`, body('"a"'), '400 /x'],
        ['owner as a parameter', 'POST', `${path}?owner=me`, body('"a"'), '400 /owner'],
        ['half of it', 'POST', path, body('"a"').slice(0, -1), 'malformed_json'],
        ['something behind it', 'POST', path, `${body('"a"')}x`, 'malformed_json'],
        ['nothing', 'POST', path, '', '400 '],
        ['blanks', 'POST', path, ' \n', 'malformed_json'],
        ['XML', 'POST', path, '<xml/>', 'malformed_json'],
        ['a BOM', 'POST', path, `\ufeff${body('"a"')}`, 'malformed_json'],
        ['opening brackets', 'POST', path, DEEP, '400 '],
        [
          'opening brackets within',
          'POST',
          path,
          `{"${list}":${DEEP}`,
          name === 'write' ? '400 /entries/0' : '400 /keys/0',
        ],
        ['no body', 'POST', path, undefined, '400 '],
      ];
    }),
    ...[
      ['null', '/ttlSeconds'],
      ['0', '/ttlSeconds'],
      ['-1', '/ttlSeconds'],
      ['1e12', '/ttlSeconds'],
      ['1.5', '/ttlSeconds'],
      ['"60"', '/ttlSeconds'],
      ['-1', '/ifVersion'],
      ['1.5', '/ifVersion'],
      ['9007199254740992', '/ifVersion'],
      ['"1"', '/ifVersion'],
      ['null', '/ifVersion'],
    ].map(([text = '', pointer = '']): (typeof REFUSED)[number] => [
      `${pointer} ${text}`,
      'POST',
      '/v1/store/write',
      `{"entries":[{"key":"b","value":0},{"key":"a","value":1,"${pointer.slice(1)}":${text}}]}`,
      `400 /entries/1${pointer}`,
    ]),
    ...[
      ['an entry without a value', '{"key":"a"}', '/value'],
      ['an entry without a key', '{"value":1}', '/key'],
      ['a value of 256 KiB and one byte', `{"key":"a","value":"${'x'.repeat(262_143)}"}`, '/value'],
      ['a value of 256 KiB and more in UTF-8', `{"key":"a","value":"${'é'.repeat(131_072)}"}`, '/value'],
      ['a value of 65 levels', `{"key":"a","value":${'['.repeat(65)}${']'.repeat(65)}}`, '/value'],
      ['a value of brackets', `{"key":"a","value":${DEEP}`, '/value'],
      ['an entry with an unknown member', '{"key":"a","value":1,"ttl":5}', '/ttl'],
      ['an entry with __proto__', '{"key":"a","value":1,"__proto__":{"ttlSeconds":5}}', '/__proto__'],
      ['an entry with constructor', '{"key":"a","value":1,"constructor":1}', '/constructor'],
      ['an entry with two values', '{"key":"a","value":1,"value":1}', '/value'],
    ].map(([name = '', entry = '', pointer = '']): (typeof REFUSED)[number] => [
      name,
      'POST',
      '/v1/store/write',
      `{"entries":[{"key":"b","value":0},${entry}${entry.endsWith('}') ? ']}' : ''}`,
      `400 /entries/1${pointer}`,
    ]),
    [
      'an unknown onConflict',
      'POST',
      '/v1/store/write',
      '{"entries":[{"key":"a","value":1}],"onConflict":"x"}',
      '400 /onConflict',
    ],
    [
      'atomic that is a text',
      'POST',
      '/v1/store/write',
      '{"entries":[{"key":"a","value":1}],"atomic":"true"}',
      '400 /atomic',
    ],
    ['an unknown onMissing', 'POST', '/v1/store/read', '{"keys":["a"],"onMissing":"skip"}', '400 /onMissing'],
    ['onMissing', 'POST', '/v1/store/delete', '{"keys":["a"],"onMissing":"report"}', '400 /onMissing'],
    ['a value of 256 KiB and one byte', 'PUT', '/v1/store/a', `"${'x'.repeat(262_143)}"`, 'body_too_large'],
    ['a value of 65 levels', 'PUT', '/v1/store/a', '['.repeat(65) + ']'.repeat(65), '400 '],
    ['a value of brackets', 'PUT', '/v1/store/a', DEEP, '400 '],
    ['half a value', 'PUT', '/v1/store/a', '{"a":1', 'malformed_json'],
    ['two values', 'PUT', '/v1/store/a', '1 2', 'malformed_json'],
    ['a text without quotes', 'PUT', '/v1/store/a', 'text', 'malformed_json'],
    ['an empty value', 'PUT', '/v1/store/a', '', 'malformed_json'],
    ['no value', 'PUT', '/v1/store/a', undefined, 'malformed_json'],
    ...['0', '-1', '1e12', '1000000000000', '3155760001', '', 'x', '1.5', '%2B1', '1&ttl=2'].map(
      (ttl): (typeof REFUSED)[number] => [`ttl=${ttl}`, 'PUT', `/v1/store/a?ttl=${ttl}`, '1', '400 /ttl'],
    ),
    ['ttl where there is none', 'GET', '/v1/store/a?ttl=1', undefined, '400 /ttl'],
    ['ttl where there is none', 'DELETE', '/v1/store/there?ttl=1', undefined, '400 /ttl'],
    ...['unknown', '__proto__', 'constructor', 'values'].flatMap((name): typeof REFUSED => [
      ['an unknown parameter', 'PUT', `/v1/store/a?${name}=1`, '1', `400 /${name}`],
      ['an unknown parameter', 'GET', `/v1/store/there?${name}=1`, undefined, `400 /${name}`],
      ['an unknown parameter', 'DELETE', `/v1/store/there?${name}=1`, undefined, `400 /${name}`],
    ]),
    ['an unknown parameter', 'GET', '/v1/store?unknown=1', undefined, '400 /unknown'],
  ];

  test('each gets its status and code, and nothing is written', async () => {
    const mine = await emptyStore();
    const { version } = (await put(mine, 'there', '"stays"')).body;
    for (let i = 0; i < REFUSED.length; i += 16) {
      await Promise.all(
        REFUSED.slice(i, i + 16).map(async ([name, method, path, raw, refusal]) => {
          const answer = await mine.send(method, path, undefined, raw === undefined ? {} : { raw });
          const errors = answer.body.errors?.map(({ pointer }: { pointer: string }) => pointer);
          const is = errors ? `${answer.status} ${errors.join(' ')}` : answer.body.code;
          expect({ name, method, path, is }).toEqual({ name, method, path, is: refusal });
          const [status, code] = errors
            ? [400, 'validation_failed']
            : refusal === 'body_too_large'
              ? [413, refusal]
              : [400, refusal];
          expectProblem(answer, status, code);
        }),
      );
    }
    expect((await pagesOf(mine, 'values=true')).flat()).toMatchObject([{ key: 'there', value: 'stays', version }]);
  });

  test('415 or 400 for a media type other than JSON, a compressed body, or invalid UTF-8', async () => {
    const mine = await emptyStore();
    const body = '{"entries":[{"key":"a","value":1}]}';
    const targets: [string, string][] = [
      ['POST', '/v1/store/write'],
      ['PUT', '/v1/store/a'],
    ];
    for (const [method, path] of targets) {
      const send = (raw: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
        mine.send(method, path, undefined, { raw: raw as string, headers });
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'application/octet-stream',
        'garbage',
        'text/json',
      ]) {
        expectProblem(await send(body, { 'content-type': type }), 415, 'unsupported_media_type');
      }
      for (const encoding of ['gzip', 'GZIP', 'br', 'x-unknown']) {
        expectProblem(await send(gzipSync(body), { 'content-encoding': encoding }), 415, 'unsupported_media_type');
      }
      expectProblem(await send(gzipSync(body)), 400, 'malformed_json');
      for (const bytes of [
        [0x22, 0xff, 0x22],
        [0x22, 0xed, 0xa0, 0x80, 0x22],
        [0x22, 0xc0, 0x80, 0x22],
        [0x31, 0xff],
      ]) {
        expectProblem(await send(Buffer.from(bytes)), 400, 'malformed_json');
      }
    }
    expect(await keysOf(mine)).toEqual([]);
    for (const type of ['application/json', 'application/json; charset=utf-8', 'Application/JSON']) {
      expect((await put(mine, 'a', '"ü"', { 'content-type': type })).status).toBeLessThan(300);
    }
    expect((await mine.get(pathOf('a'))).text).toBe('"ü"');
  });

  test('400 with at most 100 errors for 20,000 unknown members', async () => {
    const mine = await emptyStore();
    const members = Array.from({ length: 20_000 }, (_, i) => `"m${i}":1`).join(',');
    for (const raw of [`{${members}}`, `{"entries":[{${members}}]}`, `{"keys":["a"],${members}}`]) {
      for (const path of ['/v1/store/write', '/v1/store/read', '/v1/store/delete']) {
        const answer = await mine.post(path, undefined, { raw });
        expectProblem(answer, 400, 'validation_failed');
        expect(answer.body.errors.length).toBeLessThanOrEqual(100);
      }
    }
  });
});
