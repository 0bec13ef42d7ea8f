import fc from 'fast-check';
import { nestsDeeperThan } from './json-body.js';
import { anyCharacter } from '../../test/support/characters.js';
import { PROPERTY, SEED } from '../../test/support/sizes.js';

/** Computes the nesting depth of a parsed value. */
function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

/** Strings of characters that look like JSON structure. */
const tricky = fc.string({ unit: fc.constantFrom(...'[]{}"\\:,', 'a', '\n', '\u2028', '💥') });

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 8 },
    fc.oneof(tricky, fc.integer(), fc.boolean(), fc.constant(null)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(tricky, tie('value'), { maxKeys: 4 }),
  ),
})).value;

describe('nestsDeeperThan', () => {
  test(`any JSON, bound and whitespace: agrees with the depth of the parsed value (SEED=${SEED})`, () => {
    fc.assert(
      fc.property(json, fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        const depth = depthOf(JSON.parse(text));
        for (let max = 0; max <= depth + 1; max++) expect(nestsDeeperThan(text, max)).toBe(depth > max);
      }),
      PROPERTY,
    );
  });

  test(`any text, JSON or not: does not throw (SEED=${SEED})`, () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: anyCharacter }), tricky), fc.nat(5), (text, max) => {
        expect(typeof nestsDeeperThan(text, max)).toBe('boolean');
      }),
      PROPERTY,
    );
  });

  test.each([
    ['[]', 0, true],
    ['[]', 1, false],
    ['{"a":[{}]}', 2, true],
    ['{"a":[{}]}', 3, false],
    ['[[],[],[]]', 2, false],
    ['"[[[["', 0, false],
    [String.raw`"\"[[["`, 0, false],
    [String.raw`["\\",[]]`, 1, true],
    ['', 0, false],
  ])('%s nests deeper than %d: %s', (text, max, deeper) => {
    expect(nestsDeeperThan(text, max)).toBe(deeper);
  });

  test('one million levels: no stack overflow', () => {
    expect(nestsDeeperThan('['.repeat(1_000_000), 999_999)).toBe(true);
    expect(nestsDeeperThan('['.repeat(1_000_000), 1_000_000)).toBe(false);
  });
});
