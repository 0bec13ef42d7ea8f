import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const CIPHER = 'aes-256-gcm';

/** Bytes of a random nonce: 96 bits (NIST SP 800-38D, section 8.2.2). */
const NONCE = 12;
const TAG = 16;

/**
 * Encrypts secrets in the database, so that a reader of the database cannot read them: AES-256-GCM (NIST SP 800-38D)
 * with a key of `Secrets.derive`. Format: 12 bytes nonce, 16 bytes tag, ciphertext. Nonces are random, so a key may
 * seal at most 2^32 times.
 */
export class Seal {
  /** @param key 32 bytes, used for this purpose only */
  constructor(private readonly key: Buffer) {}

  /** @param context identifies where the value belongs. It is not stored, and `open` needs the same context */
  seal(plain: string | Buffer, context = ''): Buffer {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv(CIPHER, this.key, nonce).setAAD(Buffer.from(context));
    const sealed = [cipher.update(typeof plain === 'string' ? Buffer.from(plain) : plain), cipher.final()];
    return Buffer.concat([nonce, cipher.getAuthTag(), ...sealed]);
  }

  /** @throws if the value was sealed with another key or context, or was altered */
  open(sealed: Buffer, context = ''): Buffer {
    const decipher = createDecipheriv(CIPHER, this.key, sealed.subarray(0, NONCE), { authTagLength: TAG })
      .setAAD(Buffer.from(context))
      .setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]);
  }
}
