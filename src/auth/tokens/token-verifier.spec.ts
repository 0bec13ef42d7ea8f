import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { jest } from '@jest/globals';
import jwt from 'jsonwebtoken';
import { rememberingVerifier, type TokenVerifier } from './token-verifier.js';

const [own, other] = [1, 2].map(() => generateKeyPairSync('rsa', { modulusLength: 2048 })) as [
  { privateKey: KeyObject; publicKey: KeyObject },
  { privateKey: KeyObject; publicKey: KeyObject },
];

const OPTIONS: jwt.VerifyOptions = { algorithms: ['RS256'], issuer: 'issuer', audience: 'audience' };

function sign(options: jwt.SignOptions = { expiresIn: 60 }, key = own.privateKey): string {
  return jwt.sign({ sid: 's' }, key, { algorithm: 'RS256', issuer: 'issuer', audience: 'audience', ...options });
}

/** Returns the session id that a token names, or the message of the error. */
function verify(verifier: TokenVerifier, token: string, key = own.publicKey): unknown {
  let outcome: unknown;
  verifier(token, key, OPTIONS, (error, claims) => {
    outcome = error ? error.message : claims?.sid;
  });
  return outcome;
}

afterEach(() => {
  jest.useRealTimers();
});

test('verifies a token again and again', () => {
  const [verifier, token] = [rememberingVerifier(), sign()];
  expect([1, 2, 3].map(() => verify(verifier, token))).toEqual(['s', 's', 's']);
});

test('rejects a remembered token for another key, also one with the same content', () => {
  const [verifier, token] = [rememberingVerifier(), sign()];
  expect(verify(verifier, token)).toBe('s');
  expect(verify(verifier, token, other.publicKey)).toBe('invalid signature');
  expect(verify(verifier, token)).toBe('s');
});

test('rejects a remembered token after its expiry', () => {
  const [verifier, token] = [rememberingVerifier(), sign()];
  expect(verify(verifier, token)).toBe('s');
  jest.useFakeTimers({ now: Date.now() + 61_000 });
  expect(verify(verifier, token)).toBe('jwt expired');
});

test('rejects a token that differs from a remembered one before its last characters', () => {
  const [verifier, token] = [rememberingVerifier(), sign()];
  expect(verify(verifier, token)).toBe('s');
  const forged = jwt.sign({ sid: 'other' }, other.privateKey, { algorithm: 'RS256', expiresIn: 60 });
  const [head, claims] = forged.split('.');
  expect(verify(verifier, `${head}.${claims}.${token.split('.')[2]}`)).toBe('invalid signature');
});

test.each([
  ['without expiry', () => sign({}), 'jwt without expiry'],
  ['for another audience', () => sign({ expiresIn: 60, audience: 'x' }), 'jwt audience invalid. expected: audience'],
  ['of another issuer', () => sign({ expiresIn: 60, issuer: 'x' }), 'jwt issuer invalid. expected: issuer'],
  ['expired', () => sign({ expiresIn: -1 }), 'jwt expired'],
  ['signed with another key', () => sign({ expiresIn: 60 }, other.privateKey), 'invalid signature'],
  ['with text after it', () => `${sign()} x`, 'jwt malformed'],
  ['that is no token', () => 'x', 'jwt malformed'],
])('rejects a token %s, each time', (_what, make, message) => {
  const [verifier, token] = [rememberingVerifier(), make()];
  expect([1, 2].map(() => verify(verifier, token))).toEqual([message, message]);
});
