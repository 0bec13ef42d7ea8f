import { createHash } from 'node:crypto';
import { makeToken, readToken } from './account-tokens.js';

const OWNER = '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c';

describe('tokens of accounts', () => {
  test('makeToken: names the account, and returns the hash to store', () => {
    const { token, hash } = makeToken(OWNER);
    expect(token).toMatch(/^qmt_[\w-]{64}$/);
    expect(hash).toEqual(createHash('sha256').update(token).digest());
    expect(readToken(token)).toEqual({ ownerId: OWNER, hash });
  });

  test('makeToken: uses 32 new random bytes each time', () => {
    const [one, other] = [makeToken(OWNER), makeToken(OWNER)].map(({ token }) =>
      Buffer.from(token.slice(4), 'base64url').subarray(16),
    );
    expect(one).toHaveLength(32);
    expect(one).not.toEqual(other);
  });

  test('readToken: rejects any other spelling', () => {
    const { token } = makeToken(OWNER);
    const spellings = [
      token.slice(0, -1),
      `${token}A`,
      `${token}=`,
      `${token} `,
      ` ${token}`,
      token.slice(4),
      token.replace('qmt_', 'qmr_'),
      token.replace('qmt_', 'QMT_'),
      `${token.slice(0, 20)} ${token.slice(20)}`,
      '',
      'qmt_',
      '\ud800',
    ];
    expect(spellings.map(readToken)).toEqual(spellings.map(() => undefined));
  });
});
