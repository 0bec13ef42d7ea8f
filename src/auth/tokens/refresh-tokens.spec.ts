import { randomBytes, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { Secrets } from '../../config/secrets.js';
import { RefreshTokens } from './refresh-tokens.js';
import { PROPERTY, SEED } from '../../../test/support/sizes.js';

const tokens = new RefreshTokens(new Secrets('a secret of thirty-two characters'));
const nonce = randomBytes(32);
const claims = { ownerId: randomUUID(), sessionId: randomUUID(), generation: 7 };
const token = tokens.make(claims, nonce);

/** Returns whether a text is accepted as a valid token of the session. */
const passes = (text: string): boolean => tokens.read(text) !== undefined && tokens.isAuthentic(text, nonce);

const encode = (bytes: Buffer): string => `qmr_${bytes.toString('base64url')}`;

describe('a refresh token', () => {
  test(`returns its claims and is authentic (SEED=${SEED})`, () => {
    fc.assert(
      fc.property(fc.uuid(), fc.uuid(), fc.nat(0xffff_ffff), (ownerId, sessionId, generation) => {
        const made = tokens.make({ ownerId, sessionId, generation }, nonce);
        expect(made).toMatch(/^qmr_[\w-]+$/);
        expect(tokens.read(made)).toEqual({ ownerId, sessionId, generation });
        expect(tokens.isAuthentic(made, nonce)).toBe(true);
      }),
      PROPERTY,
    );
  });

  test('is always the same text for the same session and generation', () => {
    expect(tokens.make(claims, nonce)).toBe(token);
  });

  test('is rejected if any bit is changed', () => {
    const bytes = Buffer.from(token.slice(4), 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const forged = Buffer.from(bytes);
      forged[bit >> 3]! ^= 1 << (bit & 7);
      expect(tokens.read(encode(forged))).toBeDefined();
      expect(passes(encode(forged))).toBe(false);
    }
  });

  test('is rejected if any character is changed, left out or added', () => {
    for (let i = 0; i < token.length; i++) {
      const [head, tail] = [token.slice(0, i), token.slice(i + 1)];
      for (const letter of ['A', 'Q', 'g', 'w', '_', '=', '+', '/', ' ', '\0', 'é', '']) {
        const text = head + letter + tail;
        expect([text, passes(text)]).toEqual([text, text === token]);
      }
    }
    for (const text of [`${token}A`, `${token}=`, `${token} `, ` ${token}`, '', 'qmr_', token.slice(4)]) {
      expect(tokens.read(text)).toBeUndefined();
    }
  });

  test('is rejected for another generation, session or owner', () => {
    const mac = Buffer.from(token.slice(4), 'base64url').subarray(36);
    for (const other of [
      { ...claims, generation: 8 },
      { ...claims, sessionId: randomUUID() },
      { ...claims, ownerId: randomUUID() },
      { ...claims, ownerId: claims.sessionId, sessionId: claims.ownerId },
    ]) {
      const body = Buffer.from(tokens.make(other, nonce).slice(4), 'base64url').subarray(0, 36);
      const forged = encode(Buffer.concat([body, mac]));
      expect(tokens.read(forged)).toEqual(other);
      expect(passes(forged)).toBe(false);
    }
  });

  test('is rejected with another nonce or another key', () => {
    expect(passes(token)).toBe(true);
    expect(tokens.isAuthentic(token, randomBytes(32))).toBe(false);
    expect(tokens.isAuthentic(token, Buffer.alloc(0))).toBe(false);
    const others = new RefreshTokens(new Secrets('another secret of thirty-two letters'));
    expect(others.isAuthentic(token, nonce)).toBe(false);
    expect(passes(others.make(claims, nonce))).toBe(false);
  });
});
