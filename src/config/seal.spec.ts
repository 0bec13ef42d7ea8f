import { randomBytes } from 'node:crypto';
import { Seal } from './seal.js';

describe('Seal', () => {
  const key = randomBytes(32);
  const seal = new Seal(key);

  test.each(['', 'a token', 'žluťoučký\0kůň', 'x'.repeat(100_000)])('open returns the sealed text', (text) => {
    expect(seal.open(seal.seal(text)).toString()).toBe(text);
    const bytes = Buffer.from(text, 'utf16le');
    expect(new Seal(key).open(seal.seal(bytes, 'there'), 'there')).toEqual(bytes);
  });

  test('seal does not reveal the plain text and differs each time', () => {
    const [one, other] = [seal.seal('a token that is secret'), seal.seal('a token that is secret')];
    expect(one).not.toEqual(other);
    expect(one.toString('latin1')).not.toContain('token');
  });

  test('open throws for another key or context', () => {
    const sealed = seal.seal('a token', 'here');
    for (const open of [
      () => new Seal(randomBytes(32)).open(sealed, 'here'),
      () => seal.open(sealed, 'there'),
      () => seal.open(sealed),
    ]) {
      expect(open).toThrow();
    }
  });

  test('open throws if a byte is altered or missing', () => {
    const sealed = seal.seal('a token');
    for (let at = 0; at < sealed.length; at++) {
      const altered = Buffer.from(sealed);
      altered[at]! ^= 1;
      expect(() => seal.open(altered)).toThrow();
      expect(() => seal.open(sealed.subarray(0, at))).toThrow();
    }
  });
});
