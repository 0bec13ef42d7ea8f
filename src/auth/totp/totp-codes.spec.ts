import { jest } from '@jest/globals';
import { Secrets } from '../../config/secrets.js';
import { TotpCodes } from './totp-codes.js';
import { Seal } from '../../config/seal.js';

const OWNER = '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c';

describe('codes of second factors', () => {
  const secrets = new Secrets('a secret of thirty-two characters, only for tests');
  const codes = new TotpCodes(secrets);
  const seal = new Seal(secrets.derive('totp-secret'));

  afterEach(() => {
    jest.useRealTimers();
  });

  // RFC 6238, appendix B (SHA-1): the last six of the eight digits.
  test.each([
    [59, '287082', 1],
    [1_111_111_109, '081804', 37_037_036],
    [1_111_111_111, '050471', 37_037_037],
    [1_234_567_890, '005924', 41_152_263],
    [2_000_000_000, '279037', 66_666_666],
    [20_000_000_000, '353130', 666_666_666],
  ])('stepOf: accepts the codes of RFC 6238 at %d', (seconds, code, step) => {
    jest.useFakeTimers({ now: seconds * 1_000 });
    const sealed = seal.seal('12345678901234567890', OWNER);
    expect(codes.stepOf(OWNER, sealed, code)).toBe(step);
    // Clocks differ: one step before and after is accepted.
    for (const [shift, expected] of [
      [-60_000, undefined],
      [-30_000, step],
      [30_000, step],
      [60_000, undefined],
    ] as const) {
      jest.setSystemTime(seconds * 1_000 + shift);
      expect(codes.stepOf(OWNER, sealed, code)).toBe(expected);
    }
  });

  test.each(['', '28708', '2870822', '28708a', '２８７０８２', '-87082', '1e5000'])(
    'stepOf: rejects "%s", which is not the six digits',
    (code) => {
      jest.useFakeTimers({ now: 59_000 });
      expect(codes.stepOf(OWNER, seal.seal('12345678901234567890', OWNER), code)).toBeUndefined();
    },
  );

  test.each([' 287082', '287 082', '287-082', '287\u00a0082\n', '2 8 7 0 8 2'])(
    'stepOf: ignores white space and hyphens in "%s"',
    (code) => {
      jest.useFakeTimers({ now: 59_000 });
      expect(codes.stepOf(OWNER, seal.seal('12345678901234567890', OWNER), code)).toBe(1);
    },
  );

  test('makeSecret: seals the secret for its owner', () => {
    const { sealed, secret, uri } = codes.makeSecret(OWNER, 'ada');
    expect(secret).toMatch(/^[A-Z2-7]{32}$/);
    expect(sealed.toString('latin1')).not.toContain(secret);
    expect(new URL(uri).searchParams.get('secret')).toBe(secret);
    expect(uri).toMatch(/^otpauth:\/\/totp\/Quartermaster:ada\?/);
    expect(() => codes.stepOf('019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3d', sealed, '123456')).toThrow();
  });

  test('makeRecoveryCodes: makes ten different codes, whose hash ignores case and separators', () => {
    const made = codes.makeRecoveryCodes(OWNER);
    expect(new Set(made.codes).size).toBe(10);
    for (const [i, code] of made.codes.entries()) {
      expect(code).toMatch(/^[2-9a-hjkmnp-tv-z]{5}-[2-9a-hjkmnp-tv-z]{5}$/);
      expect(codes.hashOf(OWNER, ` ${code.toUpperCase().replace('-', ' ')}`)).toEqual(made.hashes[i]);
      expect(codes.hashOf('019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3d', code)).not.toEqual(made.hashes[i]);
    }
  });
});
