import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const CIPHER = 'aes-256-gcm';

/** NIST SP 800-38D, section 8.2.2: random, of 96 bits. */
const NONCE = 12;
const TAG = 16;

/**
 * Keeps what the database must hold but whoever reads it must not know: AES-256-GCM (NIST SP 800-38D) under a key of
 * `Secrets.derive`. Sealed: 12 bytes nonce, 16 bytes tag, ciphertext. Nonces are random: one key seals at most 2^32 times.
 */
export class Seal {
  /** @param key 32 bytes, of this purpose only */
  constructor(private readonly key: Buffer) {}

  /** @param context what it belongs to, which is not kept with it: opens nowhere else */
  seal(plain: string | Buffer, context = ''): Buffer {
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv(CIPHER, this.key, nonce).setAAD(Buffer.from(context));
    const sealed = [cipher.update(typeof plain === 'string' ? Buffer.from(plain) : plain), cipher.final()];
    return Buffer.concat([nonce, cipher.getAuthTag(), ...sealed]);
  }

  /** @throws when it was sealed under another key or for another context, or was altered since */
  open(sealed: Buffer, context = ''): Buffer {
    const decipher = createDecipheriv(CIPHER, this.key, sealed.subarray(0, NONCE), { authTagLength: TAG })
      .setAAD(Buffer.from(context))
      .setAuthTag(sealed.subarray(NONCE, NONCE + TAG));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE + TAG)), decipher.final()]);
  }
}
