import { createHash, randomBytes } from 'node:crypto';

const PREFIX = 'qmt_';
const ID = 16;
const RANDOM = 32;

/** What a token says of itself. */
export interface TokenClaims {
  ownerId: string;
  /** SHA-256 of its text: 256 random bits need no slower hash, and no salt. */
  hash: Buffer;
}

/** A token of an account: `qmt_` and base64url of the account's id and 256 random bits. Only its hash is kept. */
export function makeToken(ownerId: string): { token: string; hash: Buffer } {
  const id = Buffer.from(ownerId.replaceAll('-', ''), 'hex');
  const token = PREFIX + Buffer.concat([id, randomBytes(RANDOM)]).toString('base64url');
  return { token, hash: hashOf(token) };
}

/** Whose token it claims to be; undefined for what is none, however close. */
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
