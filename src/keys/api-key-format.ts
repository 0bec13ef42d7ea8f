import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

const PREFIX = 'qm_';
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 256 bits in base 62. */
const SECRET_LENGTH = 43;
/** 32 bits in base 62. */
const CHECKSUM_LENGTH = 6;

const FORMAT = new RegExp(`^${PREFIX}[0-9A-Za-z]{${SECRET_LENGTH + CHECKSUM_LENGTH}}$`);

/** Length of the stored hint: `qm_` and 4 of the 43 random characters. */
const HINT_LENGTH = PREFIX.length + 4;

/** Makes a key: `qm_`, 256 random bits, and their CRC-32, which detects typos without a look-up. */
export function makeApiKey(): string {
  const secret = base62(BigInt(`0x${randomBytes(32).toString('hex')}`), SECRET_LENGTH);
  return PREFIX + secret + checksumOf(secret);
}

/** Returns the SHA-256 of a key, hexadecimal; undefined if prefix, characters or checksum are wrong. */
export function hashApiKey(text: string): string | undefined {
  if (!FORMAT.test(text)) return undefined;
  const end = PREFIX.length + SECRET_LENGTH;
  if (checksumOf(text.slice(PREFIX.length, end)) !== text.slice(end)) return undefined;
  return hash('sha256', text);
}

/** Returns the first characters of a key, which help users to identify it. */
export function hintOf(key: string): string {
  return key.slice(0, HINT_LENGTH);
}

function checksumOf(secret: string): string {
  let rest = crc32(secret);
  let text = '';
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    text = DIGITS.charAt(rest % 62) + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

function base62(value: bigint, length: number): string {
  let text = '';
  for (let rest = value; text.length < length; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text;
  return text;
}
