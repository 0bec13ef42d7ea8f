import { matchesTag } from './etag.js';

test.each([
  ['"abc"', '"abc"', true],
  ['W/"abc"', '"abc"', true],
  ['"abc"', 'W/"abc"', true],
  ['W/"abc"', 'W/"abc"', true],
  ['*', '"abc"', true],
  [' * ', '"abc"', true],
  ['"x", "abc"', '"abc"', true],
  ['"x","abc","y"', '"abc"', true],
  ['"x" ,  W/"abc"', '"abc"', true],
  ['\t"abc" ', '"abc"', true],
  ['"abcd"', '"abc"', false],
  ['"ab"', '"abc"', false],
  ['"ABC"', '"abc"', false],
  ['abc', '"abc"', false],
  ['w/"abc"', '"abc"', false],
  ['"*"', '"abc"', false],
  ['"x", "y"', '"abc"', false],
  ['', '"abc"', false],
  [',', '"abc"', false],
])('matchesTag: If-None-Match: %s, tag %s: %s', (header, tag, matches) => {
  expect(matchesTag(header, tag)).toBe(matches);
});
