import { createHash, randomBytes } from 'node:crypto';

const PREFIX = 'qmt_';
const ID = 16;
const RANDOM = 32;

/** What a token claims, before it is verified. */
export interface TokenClaims {
  ownerId: string;
  /** SHA-256 of its text. 256 random bits need neither a slower hash nor a salt. */
  hash: Buffer;
}

/**
 * Makes a token of an account: `qmt_` and base64url of the account's id and 256 random bits. Only its hash is stored.
 */
export function makeToken(ownerId: string): { token: string; hash: Buffer } {
  const id = Buffer.from(ownerId.replaceAll('-', ''), 'hex');
  const token = PREFIX + Buffer.concat([id, randomBytes(RANDOM)]).toString('base64url');
  return { token, hash: hashOf(token) };
}

/** Returns the claims of a token, or undefined for any text that is not exactly a token. */
export function readToken(token: string): TokenClaims | undefined {
  const bytes = Buffer.from(token.slice(PREFIX.length), 'base64url');
  if (bytes.length !== ID + RANDOM || PREFIX + bytes.toString('base64url') !== token) return undefined;
  const hex = bytes.toString('hex', 0, ID);
  const ownerId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { ownerId, hash: hashOf(token) };
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
