import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';

/** DER prefix of an Ed25519 SubjectPublicKeyInfo, which the 32 key bytes follow (RFC 8410, section 4). */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

const KEY_BYTES = 32;

/** Longer than an Ed25519 key in any form, and long enough to recognize an RSA key. */
const MAX_LENGTH = 8_192;

/** Says why a value is not a usable public key. The message completes a sentence and never quotes the value. */
export class NoPublicKey extends Error {
  override readonly name = 'NoPublicKey';
}

const PRIVATE =
  'must be the public key, not the private key; stop using this key pair, because its private key was disclosed';

/**
 * Returns the 32 bytes of an Ed25519 public key. Accepts PEM (SPKI, RFC 8410), JWK (RFC 8037; an object or its JSON
 * text), and base64 or base64url of the 32 bytes or of the SPKI in DER. Cannot tell 32 private bytes from 32 public
 * bytes.
 * @throws NoPublicKey for other key types, private keys, and points that are not of prime order
 */
export function parsePublicKey(given: unknown): Buffer {
  const bytes = typeof given === 'string' ? readText(given.trim()) : readJwk(given);
  if (!isOfPrimeOrder(bytes)) throw new NoPublicKey('must be a point of prime order on the Ed25519 curve');
  return bytes;
}

/** Returns the key object that `crypto.verify` needs. */
export function keyObjectOf(publicKey: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' });
}

/** Returns a public key as PEM (SPKI), the only form in responses, because every tool reads it. */
export function toPem(publicKey: Buffer): string {
  const der = Buffer.concat([SPKI, publicKey]).toString('base64');
  return `-----BEGIN PUBLIC KEY-----\n${der}\n-----END PUBLIC KEY-----\n`;
}

function readText(text: string): Buffer {
  if (text.length > MAX_LENGTH) throw new NoPublicKey('must be an Ed25519 key; this value is too long');
  if (text.startsWith('{')) return readJwk(parseJson(text));
  if (text.includes('PRIVATE KEY-----')) throw new NoPublicKey(PRIVATE);
  const body = /^-----BEGIN PUBLIC KEY-----\s([\w+/=\s]+)-----END PUBLIC KEY-----$/.exec(text)?.[1];
  const bytes = decode(body?.replaceAll(/\s/g, '') ?? text);
  if (!bytes) throw new NoPublicKey('must be an Ed25519 public key as PEM, JWK, or base64');
  return body === undefined && bytes.length === KEY_BYTES ? bytes : readDer(bytes);
}

function readDer(der: Buffer): Buffer {
  if (isPrivate(der)) throw new NoPublicKey(PRIVATE);
  let key: KeyObject;
  try {
    key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  } catch {
    throw new NoPublicKey('must be the 32 bytes of an Ed25519 public key, or its SubjectPublicKeyInfo');
  }
  const bytes = readJwk(key.export({ format: 'jwk' }));
  // OpenSSL ignores bytes that follow the SubjectPublicKeyInfo.
  if (der.length > SPKI.length + KEY_BYTES) throw new NoPublicKey('must not have bytes after the SubjectPublicKeyInfo');
  return bytes;
}

/** Detects PKCS#8, SEC 1 and PKCS#1, and the 64 bytes in which NaCl keeps a private key and its public key. */
function isPrivate(bytes: Buffer): boolean {
  if (bytes.length === 2 * KEY_BYTES) return true;
  return ['pkcs8', 'sec1', 'pkcs1'].some((type) => {
    try {
      return createPrivateKey({ key: bytes, format: 'der', type: type as 'pkcs8' }).type === 'private';
    } catch {
      return false;
    }
  });
}

/**
 * Returns whether 32 bytes encode a point (RFC 8032) of the prime-order group that honest keys belong to. Anyone can
 * sign for a point of small order, and OpenSSL accepts such a point, and even bytes that encode no point.
 */
function isOfPrimeOrder(bytes: Buffer): boolean {
  try {
    const point = ed25519.Point.fromBytes(bytes);
    return !point.is0() && point.isTorsionFree();
  } catch {
    return false;
  }
}

/** RFC 8037, section 2. */
function readJwk(given: unknown): Buffer {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new NoPublicKey('must be an Ed25519 public key as PEM, JWK, or base64');
  }
  const { kty, crv, x, d, k } = given as Record<string, unknown>;
  if (d !== undefined || k !== undefined) throw new NoPublicKey(PRIVATE);
  if (kty !== 'OKP' || crv !== 'Ed25519') throw new NoPublicKey('must be an Ed25519 key; no other type is supported');
  const bytes = typeof x === 'string' && !/[+/=]/.test(x) ? decode(x) : undefined;
  if (bytes?.length !== KEY_BYTES)
    throw new NoPublicKey('must have the 32 bytes of the key in "x", encoded in base64url');
  return bytes;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new NoPublicKey('must be a JWK in valid JSON if it starts with a brace');
  }
}

/**
 * Decodes base64 or base64url, with or without padding. Returns undefined for other texts, and if unused bits are set.
 */
function decode(text: string): Buffer | undefined {
  const unpadded = text.replace(/={1,2}$/, '');
  if (unpadded.length !== text.length && text.length % 4 !== 0) return undefined;
  const bytes = Buffer.from(unpadded, 'base64');
  const forms = [bytes.toString('base64url'), bytes.toString('base64').replace(/=+$/, '')];
  return bytes.length > 0 && forms.includes(unpadded) ? bytes : undefined;
}
