import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { isOfPrimeOrder } from './edwards25519.js';

/** DER of an Ed25519 public key up to its 32 bytes (RFC 8410, section 4: SubjectPublicKeyInfo). */
const SPKI = Buffer.from('302a300506032b6570032100', 'hex');

const KEY_BYTES = 32;

/** Far more than an Ed25519 key has in any form, and enough to tell an RSA key for what it is. */
const MAX_LENGTH = 8_192;

/** Why a text or object is no public key that requests can be signed for; completes a sentence, quotes nothing of it. */
export class NoPublicKey extends Error {
  override readonly name = 'NoPublicKey';
}

const PRIVATE = 'must be the public key: this is a private one, which belongs to nobody else; do not use it any more';

/**
 * The 32 bytes of an Ed25519 public key given as PEM (SPKI, RFC 8410), JWK (RFC 8037; an object or its text), or base64 or
 * base64url of the 32 bytes or of the SPKI's DER. Nothing tells 32 private bytes from public ones.
 * @throws NoPublicKey for other types of keys, private keys, and points that anyone can sign for
 */
export function parsePublicKey(given: unknown): Buffer {
  const bytes = typeof given === 'string' ? readText(given.trim()) : readJwk(given);
  if (!isOfPrimeOrder(bytes)) throw new NoPublicKey('must be a point of Ed25519’s group of prime order');
  return bytes;
}

/** What `crypto.verify` takes. */
export function keyObjectOf(publicKey: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' });
}

/** The one form in which a public key is answered: PEM (SPKI), which every tool reads. */
export function toPem(publicKey: Buffer): string {
  const der = Buffer.concat([SPKI, publicKey]).toString('base64');
  return `-----BEGIN PUBLIC KEY-----\n${der}\n-----END PUBLIC KEY-----\n`;
}

function readText(text: string): Buffer {
  if (text.length > MAX_LENGTH) throw new NoPublicKey('must be an Ed25519 key, which is shorter');
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
  // OpenSSL takes no notice of what stands behind it.
  if (der.length > SPKI.length + KEY_BYTES) throw new NoPublicKey('must be nothing but a SubjectPublicKeyInfo');
  return bytes;
}

/** PKCS#8; or 64 bytes, as NaCl keeps a private key with its public one. */
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

/** RFC 8037, section 2. */
function readJwk(given: unknown): Buffer {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new NoPublicKey('must be an Ed25519 public key as PEM, JWK, or base64');
  }
  const { kty, crv, x, d, k } = given as Record<string, unknown>;
  if (d !== undefined || k !== undefined) throw new NoPublicKey(PRIVATE);
  if (kty !== 'OKP' || crv !== 'Ed25519') throw new NoPublicKey('must be an Ed25519 key: no other is taken');
  const bytes = typeof x === 'string' && !/[+/=]/.test(x) ? decode(x) : undefined;
  if (bytes?.length !== KEY_BYTES) throw new NoPublicKey('must have the 32 bytes of the key as its "x", in base64url');
  return bytes;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new NoPublicKey('must be a JWK of valid JSON, where it begins with a brace');
  }
}

/** Base64 or base64url, with its padding or without, and without stray bits; undefined for anything else. */
function decode(text: string): Buffer | undefined {
  const unpadded = text.replace(/={1,2}$/, '');
  if (unpadded.length !== text.length && text.length % 4 !== 0) return undefined;
  const bytes = Buffer.from(unpadded, 'base64');
  const forms = [bytes.toString('base64url'), bytes.toString('base64').replace(/=+$/, '')];
  return bytes.length > 0 && forms.includes(unpadded) ? bytes : undefined;
}
