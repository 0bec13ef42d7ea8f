import fc from 'fast-check';
import { Problem, type FieldError } from '../common/problem.js';
import {
  MAX_ITEMS,
  MAX_TTL_SECONDS,
  MAX_VALUE_BYTES,
  faultOfKey,
  faultOfTtl,
  readDeleteBody,
  readReadBody,
  readValue,
  readWriteBody,
} from './store-body.js';
import { PROPERTY, SEED } from '../../test/support/sizes.js';

type Refusal = [code: string, pointers?: string[]];

function errorsOf(work: () => unknown): { code: string; errors: FieldError[] | undefined } {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return { code: error.code, errors: error.extra.errors };
    throw error;
  }
  return { code: 'none', errors: undefined };
}

function refusalOf(work: () => unknown): Refusal {
  const { code, errors } = errorsOf(work);
  return errors ? [code, errors.map(({ pointer }) => pointer)] : [code];
}

const toBytes = (body: unknown): Buffer => Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));

const write = (body: unknown) => readWriteBody(toBytes(body));
const read = (body: unknown) => readReadBody(toBytes(body));
const remove = (body: unknown) => readDeleteBody(toBytes(body));

/** The problem code and error pointers of a body. */
const wrongOf = {
  write: (body: unknown): Refusal => refusalOf(() => write(body)),
  read: (body: unknown): Refusal => refusalOf(() => read(body)),
  delete: (body: unknown): Refusal => refusalOf(() => remove(body)),
};

/** The problem code and error pointers of a write body with this one entry. */
const wrongEntry = (entry: string): Refusal => wrongOf.write(`{"entries":[${entry}]}`);

const invalid = (...pointers: string[]): Refusal => ['validation_failed', pointers];

const KINDS = ['write', 'read', 'delete'] as const;

const GOOD = {
  write: '"entries":[{"key":"a","value":1}]',
  read: '"keys":["a"]',
  delete: '"keys":["a"]',
};

const UNKNOWN = ['unknown', 'Keys', 'Entries', '', ' ', 'a/b~c', '$where', '0', 'length', '💥'];

const INHERITED = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__'];

const pointerTo = (name: string): string => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;

describe('readWriteBody', () => {
  test('valid body: returns the entries and options', () => {
    const body = `{"onConflict":"replace","entries":[
      {"key":"a","value":{"b": 1, "a" :[ 1e400 , "x y" ]}},
      {"ttlSeconds":60,"ifVersion":0,"value":null,"key":"\\u0062"},
      {"ifVersion":9007199254740991,"key":"c","value":"\\u0000","ttlSeconds":3155760000}
    ],"atomic":true,"owner":"me"}`;
    const { entries, ...rest } = write(body);
    expect(rest).toEqual({ onConflict: 'replace', atomic: true, owner: 'me' });
    expect(entries.map((entry) => ({ ...entry, value: entry.value.toString() }))).toEqual([
      { key: 'a', value: '{"b":1,"a":[1e400,"x y"]}', ttlSeconds: null, ifVersion: null },
      { key: 'b', value: 'null', ttlSeconds: 60, ifVersion: 0 },
      { key: 'c', value: '"\\u0000"', ttlSeconds: MAX_TTL_SECONDS, ifVersion: Number.MAX_SAFE_INTEGER },
    ]);
    expect(write(`{${GOOD.write}}`)).toMatchObject({ onConflict: 'skip', atomic: false, owner: undefined });
  });

  test(`members in any order: same result (SEED=${SEED})`, () => {
    const members = [GOOD.write, '"onConflict":"fail"', '"atomic":true', '"owner":"ada"'];
    const entry = ['"key":"a"', '"value":[1]', '"ttlSeconds":5', '"ifVersion":7'];
    fc.assert(
      fc.property(
        fc.shuffledSubarray(members, { minLength: 4 }),
        fc.shuffledSubarray(entry, { minLength: 4 }),
        (outer, inner) => {
          const body = `{${outer.map((each) => (each === GOOD.write ? `"entries":[{${inner.join()}}]` : each)).join(' , ')}}`;
          expect(write(body)).toEqual({
            entries: [{ key: 'a', value: Buffer.from('[1]'), ttlSeconds: 5, ifVersion: 7 }],
            ...{ onConflict: 'fail', atomic: true, owner: 'ada' },
          });
        },
      ),
      PROPERTY,
    );
  });

  test('1,000 entries: kept in order; 1,001: validation_failed', () => {
    const entries = Array.from({ length: MAX_ITEMS }, (_, i) => ({ key: `k${(i * 7_919) % 10_007}`, value: i }));
    expect(write({ entries }).entries.map(({ key, value }) => ({ key, value: Number(value) }))).toEqual(entries);
    expect(wrongOf.write({ entries: [...entries, { key: 'x', value: 1 }] })).toEqual(invalid('/entries'));
  });

  test('member of a wrong type: validation_failed', () => {
    for (const entries of ['null', '{}', '"x"', '1', '[]', '{"0":{"key":"a","value":1},"length":1}']) {
      expect(wrongOf.write(`{"entries":${entries}}`)).toEqual(invalid('/entries'));
    }
    for (const onConflict of ['null', '1', '"Skip"', '""', '"skip "', '["skip"]', '"toString"', '"__proto__"']) {
      expect(wrongOf.write(`{${GOOD.write},"onConflict":${onConflict}}`)).toEqual(invalid('/onConflict'));
      expect(wrongOf.write(`{"onConflict":${onConflict},${GOOD.write}}`)).toEqual(invalid('/onConflict'));
    }
    for (const atomic of ['null', '1', '0', '"true"', '[true]', '{}', `"${'x'.repeat(5_000)}"`]) {
      expect(wrongOf.write(`{${GOOD.write},"atomic":${atomic}}`)).toEqual(invalid('/atomic'));
    }
    expect(write(`{${GOOD.write},"onConflict":"\\u0073kip","atomic":false}`)).toMatchObject({ onConflict: 'skip' });
  });

  test('entry with a missing member or a wrong type: validation_failed', () => {
    for (const entry of ['null', '[]', '"x"', '1', '[{"key":"a","value":1}]']) {
      expect(wrongEntry(entry)).toEqual(invalid('/entries/0'));
    }
    expect(wrongEntry('{}')).toEqual(invalid('/entries/0/key', '/entries/0/value'));
    expect(wrongEntry('{"key":"a"}')).toEqual(invalid('/entries/0/value'));
    expect(wrongEntry('{"value":null}')).toEqual(invalid('/entries/0/key'));
    for (const key of ['null', '1', '["a"]', '{}', 'true']) {
      expect(wrongEntry(`{"key":${key},"value":1}`)).toEqual(invalid('/entries/0/key'));
    }
    for (const ttl of ['null', '0', '-1', '1.5', '1e12', '3155760001', '"1"', '[1]', 'true', '1e400', '1e-400']) {
      expect(wrongEntry(`{"key":"a","value":1,"ttlSeconds":${ttl}}`)).toEqual(invalid('/entries/0/ttlSeconds'));
    }
    for (const version of [
      'null',
      '-1',
      '0.5',
      '9007199254740992',
      '1e400',
      '"1"',
      '[0]',
      'false',
      '99999999999999999999',
    ]) {
      expect(wrongEntry(`{"key":"a","value":1,"ifVersion":${version}}`)).toEqual(invalid('/entries/0/ifVersion'));
    }
    // All of these are the integer 1.
    for (const one of ['1', '1.0', '1e0', '10e-1', '0.1E+1']) {
      expect(write(`{"entries":[{"key":"a","value":1,"ttlSeconds":${one},"ifVersion":${one}}]}`).entries).toMatchObject(
        [{ ttlSeconds: 1, ifVersion: 1 }],
      );
    }
  });

  test('unknown, inherited or duplicate member: validation_failed', () => {
    for (const name of ['ttl', 'version', ...UNKNOWN, ...INHERITED]) {
      for (const value of ['{"role":"admin"}', 'null', '1', '"]}"']) {
        const member = `${JSON.stringify(name)}:${value}`;
        expect(wrongEntry(`{"key":"a",${member},"value":1}`)).toEqual(invalid(`/entries/0${pointerTo(name)}`));
      }
    }
    expect(
      wrongOf.write(`{"atomic":true,"atomic":true,${GOOD.write},"onConflict":"skip","onConflict":"skip"}`),
    ).toEqual(invalid('/atomic', '/onConflict'));
    expect(wrongEntry('{"key":"a","value":1,"value":1,"key":"b"}')).toEqual(
      invalid('/entries/0/value', '/entries/0/key'),
    );
    expect(wrongEntry('{"key":"a","value":1,"ttlSeconds":1,"ttlSeconds":1,"ifVersion":1,"ifVersion":1}')).toEqual(
      invalid('/entries/0/ttlSeconds', '/entries/0/ifVersion'),
    );
  });

  test('value too large or too deep, not counting whitespace: validation_failed', () => {
    const fits = `"${'x'.repeat(MAX_VALUE_BYTES - 2)}"`;
    expect(write(`{"entries":[{"key":"a","value":  ${fits}\n}]}`).entries[0]?.value).toHaveLength(MAX_VALUE_BYTES);
    expect(wrongEntry(`{"key":"a","value":"x${fits.slice(1)}}`)).toEqual(invalid('/entries/0/value'));
    const wide = `[${Array(1_000).fill(' '.repeat(300)).join('1,')}2]`;
    expect(write(`{"entries":[{"key":"a","value":${wide}}]}`).entries[0]?.value).toHaveLength(2_001);
    const nested = (depth: number): string => `{"key":"a","value":${'['.repeat(depth)}${']'.repeat(depth)}}`;
    expect(write(`{"entries":[${nested(64)}]}`).entries).toHaveLength(1);
    expect(wrongEntry(nested(65))).toEqual(invalid('/entries/0/value'));
    expect(wrongEntry(`{"key":"a","value":${'['.repeat(100_000)}`)).toEqual(invalid('/entries/0/value'));
    // The size is counted in UTF-8 bytes.
    expect(wrongEntry(`{"key":"a","value":"${'ü'.repeat(MAX_VALUE_BYTES / 2 - 1)}x"}`)).toEqual(
      invalid('/entries/0/value'),
    );
  });
});

describe('readReadBody and readDeleteBody', () => {
  test('valid body: return the keys and options', () => {
    expect(read('{"keys":["b","\\u0061"," "]}')).toEqual({
      ...{ keys: ['b', 'a', ' '], onMissing: 'fail', owner: undefined },
    });
    expect(read('{"owner":"me","onMissing":"report","keys":["a"]}')).toEqual({
      ...{ keys: ['a'], onMissing: 'report', owner: 'me' },
    });
    expect(remove('{"owner":"me","keys":["a"]}')).toEqual({ keys: ['a'], owner: 'me' });
    expect(wrongOf.delete('{"keys":["a"],"onMissing":"fail"}')).toEqual(invalid('/onMissing'));
    for (const onMissing of ['null', '"skip"', '1', '["fail"]', '"Fail"']) {
      expect(wrongOf.read(`{"keys":["a"],"onMissing":${onMissing}}`)).toEqual(invalid('/onMissing'));
    }
  });

  test.each(['read', 'delete'] as const)(
    'keys that are not a list of 1 to 1,000 strings: validation_failed: %s',
    (kind) => {
      for (const keys of ['null', '{}', '"a"', '1', '[]', '{"0":"a"}']) {
        expect(wrongOf[kind](`{"keys":${keys}}`)).toEqual(invalid('/keys'));
      }
      expect(wrongOf[kind]('{"keys":["a",1,null,["b"],{"key":"c"},true,"d"]}')).toEqual(
        invalid('/keys/1', '/keys/2', '/keys/3', '/keys/4', '/keys/5'),
      );
      const keys = Array.from({ length: MAX_ITEMS }, (_, i) => String(i));
      const body = toBytes({ keys });
      expect((kind === 'read' ? readReadBody : readDeleteBody)(body).keys).toEqual(keys);
      expect(wrongOf[kind]({ keys: [...keys, 'x'] })).toEqual(invalid('/keys'));
    },
  );
});

describe.each(KINDS)('every body: %s', (kind) => {
  const wrong = wrongOf[kind];
  const good = GOOD[kind];
  const list = kind === 'write' ? '/entries' : '/keys';

  test('not an object, or without its required member: validation_failed', () => {
    for (const body of ['null', '[]', '[{}]', '"text"', '1', 'true', ` [{${good}}] `])
      expect(wrong(body)).toEqual(invalid(''));
    expect(wrong('{}')).toEqual(invalid(list));
    expect(wrong('{"owner":"me"}')).toEqual(invalid(list));
  });

  test('unknown member: validation_failed with its pointer', () => {
    for (const name of ['key', ...UNKNOWN]) {
      const pointer = pointerTo(name);
      for (const value of ['1', 'null', '[[{"a":"}"}]]', '"]}"']) {
        const member = `${JSON.stringify(name)}:${value}`;
        expect(wrong(`{${member},${good}}`)).toEqual(invalid(pointer));
        expect(wrong(`{${good} , ${member} }`)).toEqual(invalid(pointer));
      }
    }
  });

  test('member with the name of an inherited property: validation_failed', () => {
    for (const name of INHERITED) {
      for (const value of ['{"role":"admin"}', 'null', '1', '{"prototype":{"role":"admin"}}']) {
        expect(wrong(`{"${name}":${value},${good}}`)).toEqual(invalid(`/${name}`));
      }
    }
    expect(wrong(`{"\\u005f_proto__":{"atomic":true},${good}}`)).toEqual(invalid('/__proto__'));
    expect(({} as Record<string, unknown>).role).toBeUndefined();
  });

  test('duplicate member: validation_failed', () => {
    expect(wrong(`{${good},${good}}`)).toEqual(invalid(list));
    expect(wrong(`{${good},"${list.slice(1, 3)}\\u00${list.charCodeAt(3).toString(16)}${list.slice(4)}":[]}`)).toEqual(
      invalid(list),
    );
    expect(wrong(`{"owner":"me",${good},"owner":"me"}`)).toEqual(invalid('/owner'));
    expect(wrong(`{"x":1,"x":2,${good}}`)).toEqual(invalid('/x'));
  });

  test('invalid owner: validation_failed', () => {
    for (const owner of [
      'null',
      '1',
      '""',
      '["me"]',
      '{}',
      JSON.stringify('x'.repeat(255)),
      '"\\u0000"',
      '"a\\ud800"',
    ]) {
      expect(wrong(`{${good},"owner":${owner}}`)).toEqual(invalid('/owner'));
    }
    expect(wrong(`{${good},"owner":${JSON.stringify('x'.repeat(254))}}`)).toEqual(['none']);
  });

  test('invalid JSON: malformed_json, even if members are invalid too', () => {
    for (const body of [
      ...['', ' ', '{', '}', `{${good}`, `{${good}}}`, `{${good},}`, `{${good}} {}`, `{,${good}}`, `{${good} ${good}}`],
      ...['{"x":}', '{"x"}', '{"x":1,}', '{x:1}', '{"x":01}', '{"x":NaN}', '[1,]', 'undefined', '"\t"', '\ufeff{}'],
      ...[`{${good},"x":tru}`, `{${good},"owner":me}`, `{"x":1,"y":[}`, `{${good},"owner":"\\x"}`],
    ]) {
      expect(wrong(body)).toEqual(['malformed_json']);
    }
    expect(wrong(`{${good}`.replace('[', '[[[,'))).toEqual(['malformed_json']);
  });

  test('too deep nesting anywhere: validation_failed, no stack overflow', () => {
    for (const body of [
      '['.repeat(100_000),
      '{"a":'.repeat(100_000),
      `{"keys":${'['.repeat(100_000)}`,
      `{"entries":${'['.repeat(100_000)}`,
      `{"owner":${'['.repeat(100_000)}`,
      `{"atomic":${'{"a":'.repeat(100_000)}`,
    ]) {
      expect(wrong(body)[0]).toBe('validation_failed');
    }
  });

  test('key that is not 1 to 512 bytes of text, or a duplicate: validation_failed', () => {
    const keysOf = (...keys: string[]): Refusal =>
      wrong(
        `{"${list.slice(1)}":[${keys.map((key) => (kind === 'write' ? `{"key":${key},"value":0}` : key)).join()}]}`,
      );
    const at = (i: number): string => `${list}/${i}${kind === 'write' ? '/key' : ''}`;
    for (const key of [
      ...['""', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfffx"', '"\\udca5\\ud83d"'],
      ...['x'.repeat(513), 'ü'.repeat(257), `x${'💥'.repeat(128)}`].map((text) => JSON.stringify(text)),
    ]) {
      expect(keysOf('"a"', key, '"b"')).toEqual(invalid(at(1)));
    }
    for (const key of [
      ...[
        '__proto__',
        'constructor',
        'toString',
        '../',
        '..',
        '.',
        '/',
        '%2F',
        '%',
        '💥',
        ' ',
        '\n',
        '\u007f',
        '\ufeff',
      ],
      ...[
        'x'.repeat(512),
        'ü'.repeat(256),
        '💥'.repeat(128),
        'null',
        '0',
        '*',
        "'; --",
        '\u{10ffff}',
        '\uffff',
        '\u0001',
      ],
    ]) {
      expect(keysOf(JSON.stringify(key))).toEqual(['none']);
    }
    expect(keysOf('"\\ud83d\\udca5"')).toEqual(['none']);
    const twice = errorsOf(() => {
      const texts = ['"a"', '"b"', '"\\u0061"', '"A"', '"a"'];
      const items = texts.map((key) => (kind === 'write' ? `{"key":${key},"value":0}` : key)).join();
      const body = Buffer.from(`{"${list.slice(1)}":[${items}]}`);
      return { write: readWriteBody, read: readReadBody, delete: readDeleteBody }[kind](body);
    });
    expect(twice.errors).toMatchObject(
      [2, 4].map((i) => ({ pointer: at(i), detail: expect.stringContaining(`${list}/0`) })),
    );
    expect(keysOf('"__proto__"', '"__proto__"')).toEqual(invalid(at(1)));
    // The composed and the decomposed form are different keys.
    expect(keysOf('"\\u00e9"', '"e\\u0301"')).toEqual(['none']);
  });

  test('many errors: reports the first 100, in order', () => {
    const items = Array.from({ length: MAX_ITEMS }, () => (kind === 'write' ? '{"key":1,"value":1}' : '1')).join();
    const [code, pointers] = wrong(`{"${list.slice(1)}":[${items}]}`);
    expect(code).toBe('validation_failed');
    expect(pointers).toEqual(Array.from({ length: 100 }, (_, i) => `${list}/${i}${kind === 'write' ? '/key' : ''}`));
    const unknown = Array.from({ length: 5_000 }, (_, i) => `"m${i}":1`).join();
    expect(wrong(`{${unknown},${good}}`)[1]).toEqual(Array.from({ length: 100 }, (_, i) => `/m${i}`));
  });

  test('unknown member with a long name: the pointer is truncated', () => {
    const { errors } = errorsOf(() => {
      const body = Buffer.from(
        `{"${'~/'.repeat(100_000)}":1,"${'💥'.repeat(1_000)}x":1,"a${'💥'.repeat(100)}":1,${good}}`,
      );
      return { write: readWriteBody, read: readReadBody, delete: readDeleteBody }[kind](body);
    });
    expect(errors).toHaveLength(3);
    for (const { pointer } of errors ?? []) {
      expect(pointer.length).toBeLessThan(200);
      expect(pointer.isWellFormed()).toBe(true);
    }
  });
});

describe('readValue', () => {
  test('body that is one value: kept without whitespace; invalid JSON: malformed_json', () => {
    expect(readValue(Buffer.from(' {"b" : 1,\n"a": "x y"} ')).toString()).toBe('{"b":1,"a":"x y"}');
    for (const text of ['', ' ', '{', '1 2', 'x', '{}}', '\ufeff1']) {
      expect(refusalOf(() => readValue(Buffer.from(text)))).toEqual(['malformed_json']);
    }
    expect(refusalOf(() => readValue(Buffer.of(0x22, 0xff, 0x22)))).toEqual(['malformed_json']);
  });

  test('value larger than 256 KiB: body_too_large; deeper than 64 levels: validation_failed', () => {
    const text = (bytes: number): Buffer => Buffer.from(`"${'x'.repeat(bytes - 2)}"`);
    expect(readValue(text(MAX_VALUE_BYTES))).toHaveLength(MAX_VALUE_BYTES);
    expect(refusalOf(() => readValue(text(MAX_VALUE_BYTES + 1)))).toEqual(['body_too_large']);
    expect(readValue(Buffer.from(`[1${' '.repeat(MAX_VALUE_BYTES)}]`)).toString()).toBe('[1]');
    expect(readValue(Buffer.from('['.repeat(64) + ']'.repeat(64)))).toHaveLength(128);
    for (const depth of [65, 100_000]) {
      expect(refusalOf(() => readValue(Buffer.from('['.repeat(depth) + ']'.repeat(depth))))).toEqual(invalid(''));
    }
    expect(refusalOf(() => readValue(Buffer.from('['.repeat(100_000))))).toEqual(invalid(''));
  });
});

test('faultOfKey and faultOfTtl: accept valid and reject invalid values', () => {
  for (const key of ['a', 'x'.repeat(512), '__proto__', '💥'.repeat(128)]) expect(faultOfKey(key)).toBeUndefined();
  for (const key of ['', 'x'.repeat(513), '\0', '\ud800', '💥'.repeat(129)])
    expect(faultOfKey(key)?.detail).toMatch(/^must /);
  for (const ttl of [1, 60, MAX_TTL_SECONDS]) expect(faultOfTtl(ttl)).toBeUndefined();
  for (const ttl of [0, -1, 1.5, 1e12, MAX_TTL_SECONDS + 1, NaN, Infinity, '1', null, undefined, true, [1]]) {
    expect(faultOfTtl(ttl)?.detail).toMatch(/^must /);
  }
});
