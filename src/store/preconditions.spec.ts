import fc from 'fast-check';
import { Problem } from '../common/problem.js';
import { readPreconditions } from '../http/conditional/etag.js';
import { holds, tagOf, toVersions, versionFor } from './preconditions.js';
import { PROPERTY, SEED } from '../../test/support/sizes.js';

function read(match?: string, noneMatch?: string) {
  return toVersions(
    readPreconditions({
      ...(match === undefined ? {} : { 'if-match': match }),
      ...(noneMatch === undefined ? {} : { 'if-none-match': noneMatch }),
    }),
  );
}

/** Whether the conditions hold for stored version 42, and for a missing entry. */
const verdicts = (match?: string, noneMatch?: string): boolean[] =>
  [42, 0].map((version) => holds(read(match, noneMatch), version));

function refusalOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error instanceof Problem ? [error.code, error.extra.errors?.map(({ pointer }) => pointer)] : error;
  }
}

describe('If-Match', () => {
  test.each([
    [undefined, true, true],
    ['*', true, false],
    [' * ', true, false],
    ['"42"', true, false],
    [' "42"\t', true, false],
    ['"41"', false, false],
    ['"41", "42"', true, false],
    ['"41","42","43"', true, false],
    ['"42" ,\t"41"', true, false],
    // Compressing proxies make a tag weak or append the content coding.
    ['W/"42"', true, false],
    ['W/"41"', false, false],
    ['W/"42", "41"', true, false],
    ['"42-gzip"', true, false],
    ['"42-br"', true, false],
    ['"42--gzip"', true, false],
    ['W/"42-zstd"', true, false],
    ['"41-gzip"', false, false],
    ['"42-other"', false, false],
    ['"42-gzip-br"', false, false],
    ['"-gzip"', false, false],
    ['"042"', false, false],
    ['"+42"', false, false],
    ['"42.0"', false, false],
    ['"0"', false, false],
    ['""', false, false],
    ['"-1"', false, false],
    ['"*"', false, false],
    ['"4", "2"', false, false],
    ['"4,2"', false, false],
    ['"42,43"', false, false],
    ['"abc"', false, false],
    ['"99999999999999999999"', false, false],
  ])('%j: holds for version 42: %p; for a missing entry: %p', (header, there, nothing) => {
    expect(verdicts(header)).toEqual([there, nothing]);
  });
});

describe('If-None-Match', () => {
  test.each([
    [undefined, true, true],
    ['*', false, true],
    ['"42"', false, true],
    ['W/"42"', false, true],
    ['"42-br"', false, true],
    ['"41"', true, true],
    ['W/"41", W/"42"', false, true],
    ['"042"', true, true],
    ['"0"', true, true],
    ['"*"', true, true],
    ['"4,2"', true, true],
  ])('%j: holds for version 42: %p; for a missing entry: %p', (header, there, nothing) => {
    expect(verdicts(undefined, header)).toEqual([there, nothing]);
  });
});

describe('If-Match with If-None-Match', () => {
  test.each([
    ['"42"', '"42"', false],
    ['"42"', '"41"', true],
    ['*', '"41"', true],
    ['"41"', '"41"', false],
    ['*', '*', false],
    ['"42"', '*', false],
  ])('%s and %s: both conditions hold for version 42: %p', (match, noneMatch, there) => {
    expect(verdicts(match, noneMatch)).toEqual([there, false]);
  });
});

test.each([
  '',
  ' ',
  ',',
  '42',
  "'42'",
  '"42',
  '42"',
  '"42" "43"',
  '"42";',
  '*, "42"',
  '**',
  'w/"42"',
  'W/42',
  'W/ "42"',
])('header that is not a list of tags: validation_failed names the header: %j', (header) => {
  expect(refusalOf(() => read(header))).toEqual(['validation_failed', ['/If-Match']]);
  expect(refusalOf(() => read(undefined, header))).toEqual(['validation_failed', ['/If-None-Match']]);
});

test('tags with quotes, whitespace or control characters: validation_failed', () => {
  for (const inside of ['4"2', '4 2', '4\t2', '\u0000', '\u007f']) {
    expect(refusalOf(() => read(`"${inside}"`))).toEqual(['validation_failed', ['/If-Match']]);
  }
  // Node decodes headers as Latin-1.
  expect(verdicts('"\u0080\u00ff!#~"')).toEqual([false, false]);
});

test('very long valid and invalid tag lists: parsed without excessive backtracking', () => {
  const many = Array.from({ length: 2_000 }, (_, i) => `"${i}"`).join(' , ');
  expect(verdicts(many)).toEqual([true, false]);
  for (const header of [`${many} x`, `${' '.repeat(16_000)}x`, '"'.repeat(16_001), `"${'W/'.repeat(8_000)}`]) {
    expect(refusalOf(() => read(header))).toEqual(['validation_failed', ['/If-Match']]);
  }
});

test(`tagOf: the tag of a version matches only that version (SEED=${SEED})`, () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.integer({ min: 1 }), (one, other) => {
      expect(holds(read(tagOf(one)), one)).toBe(true);
      expect(holds(read(undefined, tagOf(one)), one)).toBe(false);
      expect(holds(read(tagOf(one)), other)).toBe(one === other);
    }),
    PROPERTY,
  );
});

test(`versionFor: the required version is equivalent to the conditions (SEED=${SEED})`, () => {
  const some = fc.oneof(fc.constant('*'), fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 3 }));
  const tags = fc.option(some, { nil: undefined });
  fc.assert(
    fc.property(tags, tags, (match, noneMatch) => {
      const wanted = versionFor({ match, noneMatch });
      if (wanted === undefined) return;
      for (let version = 0; version <= 5; version++) {
        const isGood = wanted === null || wanted === version || (wanted === -1 && version > 0);
        expect(isGood).toBe(holds({ match, noneMatch }, version));
      }
    }),
    PROPERTY,
  );
  expect(versionFor(read())).toBeNull();
  expect(versionFor(read('*'))).toBe(-1);
  expect(versionFor(read('"42"'))).toBe(42);
  expect(versionFor(read(undefined, '*'))).toBe(0);
  for (const conditions of [
    read('"1", "2"'),
    read('"x"'),
    read(undefined, '"1"'),
    read('*', '"1"'),
    read('"1"', '*'),
  ]) {
    expect(versionFor(conditions)).toBeUndefined();
  }
});
