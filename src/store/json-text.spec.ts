import fc from 'fast-check';
import { Problem } from '../common/problem.js';
import { Random } from '../../test/support/random.js';
import { PROPERTY, SEED, seeds, sizesOf } from '../../test/support/sizes.js';
import { JsonText } from './json-text.js';

/** Returns the text that JsonText keeps of a source. */
function kept(source: string | Buffer, maxDepth = 1_000): string {
  const json = new JsonText(Buffer.from(source as string));
  const value = json.readValue(maxDepth, '/value');
  json.expectEnd();
  return value.toString();
}

/** Returns the kept text; undefined if the source is not JSON. Any other error fails the test. */
function keptIfAny(source: string | Buffer): string | undefined {
  try {
    return kept(source);
  } catch (error) {
    if (error instanceof Problem && error.code === 'malformed_json') return undefined;
    throw error;
  }
}

/** The expected text, from an independent implementation: JSON.parse, and a regex that only recognises strings. */
function expectedOf(bytes: Buffer): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    JSON.parse(text);
    return text.replace(/("(?:\\.|[^"\\])*")|[ \t\n\r]+/gs, '$1');
  } catch {
    return undefined;
  }
}

function refusalOf(work: () => unknown): object {
  try {
    work();
  } catch (error) {
    if (error instanceof Problem) return { code: error.code, errors: error.extra.errors };
    throw error;
  }
  return { code: 'none' };
}

const MALFORMED = { code: 'malformed_json', errors: undefined };

const NUMBERS = [
  ...['0', '-0', '7', '12345678901234567890', '-98765432109876543210', '0.10', '1.000', '1e400', '-1E+400', '1e-400'],
  ...['0.1e1', '3.14159265358979323846264338327950288', '1E0', '9007199254740993', '0e0', '-0.0e-0'],
];

const PIECES = [
  ...['a', 'B', ' ', '\t'.trim(), '[', ']', '{', '}', ':', ',', '/', 'null', '1e5', '\u007f', '\u0080', 'ü', '✓', '💥'],
  ...['\u2028', '\ufeff', '\uffff', '\u{10ffff}', '\\"', '\\\\', '\\/', '\\b', '\\f', '\\n', '\\r', '\\t', '\\u0000'],
  ...['\\ud800', '\\uDFFF', '\\ud83d\\udca5', '\\u0022', '\\u005C', '__proto__', '  '],
];

const BLANKS = ['', '', '', ' ', '\n', '\t', '\r\n', '   ', ' \t\r\n '];

/** Generates random JSON text with whitespace wherever it is allowed. */
class Writer {
  constructor(private readonly random: Random) {}

  text(depth = 0): string {
    return this.blank() + this.value(depth) + this.blank();
  }

  string(): string {
    return `"${Array.from({ length: this.random.below(5) }, () => this.random.pick(PIECES)).join('')}"`;
  }

  private blank(): string {
    return this.random.pick(BLANKS);
  }

  private value(depth: number): string {
    const { random } = this;
    const kind = random.below(depth > 6 ? 3 : 5);
    if (kind === 0) return random.pick(['true', 'false', 'null']);
    if (kind === 1) return random.pick(NUMBERS);
    if (kind === 2) return this.string();
    const items = Array.from({ length: random.below(4) }, () =>
      kind === 3 ? this.text(depth + 1) : `${this.blank()}${this.string()}${this.blank()}:${this.text(depth + 1)}`,
    ).join(',');
    return kind === 3 ? `[${items || this.blank()}]` : `{${items || this.blank()}}`;
  }
}

const SPLINTERS = [
  ...[
    '"',
    '\\',
    '[',
    ']',
    '{',
    '}',
    ':',
    ',',
    '-',
    '+',
    '.',
    'e',
    'E',
    '0',
    '1',
    'u',
    't',
    'n',
    ' ',
    '\n',
    '\0',
    '\x1f',
  ],
  ...[
    '\v',
    '\f',
    '\u00a0',
    '\u2028',
    '\ufeff',
    "'",
    '/',
    '//',
    '/**/',
    'NaN',
    'Infinity',
    '0x1',
    '01',
    ',]',
    '\\u12',
    '\x80',
  ],
];

/** Damages a JSON text at random. The result can still be JSON. */
function damaged(text: string, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(text);
  for (let count = 1 + random.below(3); count > 0; count--) {
    const at = random.below(bytes.length + 1);
    const to = Math.min(bytes.length, at + 1 + random.below(3));
    const [before, between, after] = [bytes.subarray(0, at), bytes.subarray(at, to), bytes.subarray(to)];
    const splinter = Buffer.from(random.pick(SPLINTERS));
    bytes = Buffer.concat(
      random.pick([
        [before],
        [between, after],
        [before, after],
        [before, splinter, between, after],
        [before, splinter, after],
        [before, between, between, after],
        // Any byte: rarely valid UTF-8.
        [before, Buffer.of(random.below(256)), after],
      ]),
    );
  }
  return bytes;
}

/** Runs a case for each seed. @returns the first five failures, each with its seed */
function faultsOf(list: number[], run: (random: Random) => string | undefined): string[] {
  return list
    .flatMap((seed) => {
      const fault = run(new Random(seed));
      return fault === undefined ? [] : [`SEED=${seed} ${fault}`];
    })
    .slice(0, 5);
}

/** The difference between the kept and the expected text; undefined if they are equal. */
function differenceOf(bytes: Buffer): string | undefined {
  const [is, shouldBe] = [keptIfAny(bytes), expectedOf(bytes)];
  return is === shouldBe ? undefined : JSON.stringify({ source: bytes.toString(), is, shouldBe });
}

const SEEDS = seeds(sizesOf('jsonText').SEEDS);

describe('JsonText.readValue', () => {
  test(`random JSON: removes only the whitespace outside strings (SEED=${SEED})`, () => {
    const fault = (text: string): string | undefined =>
      keptIfAny(text) === undefined ? `refused: ${text}` : differenceOf(Buffer.from(text));
    expect(faultsOf(SEEDS, (random) => fault(new Writer(random).text()))).toEqual([]);
  });

  test(`damaged JSON: accepts exactly what JSON.parse accepts (SEED=${SEED})`, () => {
    const make = (random: Random): Buffer => damaged(new Writer(random).text(4), random);
    expect(faultsOf(SEEDS, (random) => differenceOf(make(random)))).toEqual([]);
    // Some damaged texts are still JSON, but most must not be.
    const taken = seeds(200).filter((seed) => keptIfAny(make(new Random(seed))) !== undefined);
    expect(taken.length).toBeLessThan(150);
  });

  test(`output of JSON.stringify with any indent: keeps the compact form (SEED=${SEED})`, () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: 'binary' }), fc.constantFrom(undefined, 1, '\t', '\n\r'), (text, space) => {
        const value: unknown = JSON.parse(text);
        expect(kept(JSON.stringify(value, null, space))).toBe(JSON.stringify(value));
      }),
      PROPERTY,
    );
  });

  test('values of every type: keeps them unchanged', () => {
    for (const text of [
      ...[...NUMBERS, 'true', 'false', 'null', '""', '[]', '{}', '[[],{}]', '{"":{"":[]}}', '"\u007f\u2028\ufeff💥"'],
      ...['{"b":1,"a":2,"b":3}', '{"__proto__":1,"constructor":2}', '{"2":1,"1":2}', '"\\u0000\\ud800\\uDC00\\/"'],
    ]) {
      expect(kept(text)).toBe(text);
      expect(kept(` \t\r\n${text}\n `)).toBe(text);
    }
    expect(kept('[ "a b" , " ]\\" [ " ,\t{ " x " :\r\n-1 } ]')).toBe('["a b"," ]\\" [ ",{" x ":-1}]');
  });

  test.each([
    ...['', ' ', '\n', '{', '[', '"', ']', '}', ',', ':', '[,]', '[1,]', '[,1]', '{,}', '{"a":1,}', '{"a"}', '{"a":}'],
    ...['{"a",1}', '{a:1}', '{1:1}', '{"a":1 "b":2}', '[1 2]', '[1:2]', '[}', '{]', '[1}', '{"a":1]', '1 2', '[] []'],
    ...[
      '{}x',
      '[]]',
      '{}}',
      '""x',
      '1,',
      'tru',
      'truee',
      'True',
      'nul',
      'nulll',
      'falsey',
      'undefined',
      'NaN',
      '-',
      '+1',
    ],
    ...[
      '--1',
      '01',
      '-01',
      '00',
      '1.',
      '.1',
      '-.1',
      '1.e1',
      '1e',
      '1e+',
      '1e1.5',
      '0x10',
      '1_000',
      'Infinity',
      '-Infinity',
    ],
    ...[
      '"\t"',
      '"\n"',
      '"\0"',
      '"\x1f"',
      '"\\x"',
      '"\\u12"',
      '"\\u12G4"',
      '"\\U0000"',
      "'a'",
      '"\\',
      '"\\"',
      '"a',
      '"\\u',
    ],
    ...['\ufeff{}', '\u00a01', '\v1', '\f1', '/**/1', '1//', '\0', '1\0', '[1,\0]', '\u20281'],
  ])('invalid JSON: throws malformed_json: %j', (text) => {
    expect(refusalOf(() => kept(text))).toEqual(MALFORMED);
    expect(() => JSON.parse(text) as unknown).toThrow();
  });

  test('trailing text after the value: throws malformed_json', () => {
    for (const text of ['1', '"a"', '[1]', '{"a":1}', 'null']) {
      for (const behind of ['1', ' "', '\n[', ' ]', ',', ' null', '\0', '\ufeff']) {
        if (text + behind === '11') continue;
        expect(refusalOf(() => kept(text + behind))).toEqual(MALFORMED);
      }
      expect(kept(`${text} \t\r\n`)).toBe(text);
    }
  });

  test.each([
    ['an overlong slash', [0x22, 0xc0, 0xaf, 0x22]],
    ['an overlong U+0000', [0x22, 0xc0, 0x80, 0x22]],
    ['a surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a pair of surrogates, CESU-8', [0x22, 0xed, 0xa0, 0xbd, 0xed, 0xb2, 0xa5, 0x22]],
    ['a code point above U+10FFFF', [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]],
    ['a continuation alone', [0x22, 0x80, 0x22]],
    ['a sequence cut short', [0x22, 0xf0, 0x9f, 0x92, 0x22]],
    ['a sequence cut short by the end', [0x22, 0xf0, 0x9f, 0x92]],
    ['Latin-1', [0x22, 0xfc, 0x22]],
    ['UTF-16', [0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]],
    ['a BOM', [0xef, 0xbb, 0xbf, 0x7b, 0x7d]],
    ['an invalid byte after the value', [0x7b, 0x7d, 0xff]],
  ])('bytes that are not UTF-8: throws malformed_json: %s', (_name, bytes) => {
    expect(refusalOf(() => kept(Buffer.from(bytes)))).toEqual(MALFORMED);
  });

  test('nesting: accepts the maximum depth, rejects deeper values', () => {
    const nests = (depth: number): string[] => [
      '['.repeat(depth) + ']'.repeat(depth),
      `${'[ '.repeat(depth)}1${' ]'.repeat(depth)}`,
      `${'{"a":'.repeat(depth)}null${'}'.repeat(depth)}`,
      `[[],[],{},${'[1,'.repeat(depth - 1)}2${']'.repeat(depth - 1)},[[]]]`,
      `${'[{"a":'.repeat(depth / 2)}"[[[[{{{{"${'}]'.repeat(depth / 2)}`,
    ];
    for (const text of nests(64)) expect(kept(text, 64)).toBe(text.replaceAll(' ', ''));
    for (const text of nests(66)) {
      expect(refusalOf(() => kept(text, 64))).toEqual({
        code: 'validation_failed',
        errors: [{ pointer: '/value', detail: 'must not nest deeper than 64 levels' }],
      });
    }
    expect(kept('7', 0)).toBe('7');
    expect(refusalOf(() => kept('[]', 0))).toMatchObject({ code: 'validation_failed' });
    expect(refusalOf(() => kept('['.repeat(65) + ']'.repeat(65), 64))).toMatchObject({ code: 'validation_failed' });
  });

  test('very deep nesting: no stack overflow; the depth error comes before the missing end', () => {
    for (const open of ['[', '{"a":']) {
      expect(refusalOf(() => kept(open.repeat(100_000), 64))).toMatchObject({ code: 'validation_failed' });
      expect(refusalOf(() => kept(open.repeat(1_000_000), 2_000_000))).toEqual(MALFORMED);
    }
    const deep = '['.repeat(1_000_000) + ']'.repeat(1_000_000);
    expect(kept(deep, 1_000_000) === deep).toBe(true);
  });
});

describe('JsonText', () => {
  test(`readString: decodes strings like JSON.parse (SEED=${SEED})`, () => {
    const fault = (text: string): string | undefined => {
      const json = new JsonText(Buffer.from(` ${text} ,`));
      const said = json.readString();
      json.expect(0x2c);
      json.expectEnd();
      return said === JSON.parse(text) ? undefined : text;
    };
    expect(faultsOf(SEEDS, (random) => fault(new Writer(random).string()))).toEqual([]);
    for (const text of ['1', '[]', 'a', '', '"\\x"']) {
      expect(refusalOf(() => new JsonText(Buffer.from(text)).readString())).toEqual(MALFORMED);
    }
  });

  test('consecutive reads: each starts where the previous one ended', () => {
    const json = new JsonText(Buffer.from(' { "a" : [ 1 , 2 ] , "b":true}'));
    expect(json.take(0x7d)).toBe(false);
    expect(json.take(0x7b)).toBe(true);
    expect(json.readString()).toBe('a');
    json.expect(0x3a);
    expect(json.readValue(1, '').toString()).toBe('[1,2]');
    expect(json.take(0x2c)).toBe(true);
    expect(json.readString()).toBe('b');
    expect(refusalOf(() => json.expect(0x2c))).toEqual(MALFORMED);
    json.expect(0x3a);
    expect(json.parseValue('')).toBe(true);
    expect(refusalOf(() => json.expectEnd())).toEqual(MALFORMED);
    json.expect(0x7d);
    json.expectEnd();
    expect(json.peek()).toBeUndefined();
    expect(refusalOf(() => json.expect(0x7d))).toEqual(MALFORMED);
  });

  test('parseValue: parses small values only', () => {
    const parsed = (text: string): unknown => new JsonText(Buffer.from(text)).parseValue('/at');
    expect(parsed(' 1.0 ')).toBe(1);
    expect(parsed('[1, {"a": null}]')).toEqual([1, { a: null }]);
    expect(parsed(`"${'x'.repeat(2_000)}"`)).toBeUndefined();
    expect(parsed('9'.repeat(100_000))).toBeUndefined();
    expect(refusalOf(() => parsed('['.repeat(100)))).toMatchObject({
      code: 'validation_failed',
      errors: [{ pointer: '/at' }],
    });
  });
});
