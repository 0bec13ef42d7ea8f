import { createHmac, randomInt } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Secret, TOTP } from 'otpauth';
import { Seal } from '../config/seal.js';
import { Secrets } from '../config/secrets.js';

/** What every authenticator app takes: RFC 6238 with SHA-1, six digits, thirty seconds. */
const SHAPE = { issuer: 'Quartermaster', algorithm: 'SHA1', digits: 6, period: 30 } as const;

/** RFC 4226, section 4: 160 bits. */
const SECRET_BYTES = 20;

/** Steps before and after the present one whose codes are taken: clocks differ (RFC 6238, section 5.2). */
const WINDOW = 1;

const RECOVERY_CODES = 10;

/** Without 0, 1, i, l, o, u: 30 letters and digits; ten of them are 49 bits. */
const ALPHABET = '23456789abcdefghjkmnpqrstvwxyz';

/** Makes and checks the codes of second factors. */
@Injectable()
export class TotpCodes {
  private readonly seal: Seal;
  private readonly hashKey: Buffer;

  constructor(secrets: Secrets) {
    this.seal = new Seal(secrets.derive('totp-secret'));
    this.hashKey = secrets.derive('totp-recovery-code');
  }

  /** A new secret: as the database keeps it, as people type it (base32), and as apps read it from a QR code. */
  makeSecret(ownerId: string, label: string): { sealed: Buffer; secret: string; uri: string } {
    const secret = new Secret({ size: SECRET_BYTES });
    const uri = new TOTP({ ...SHAPE, secret, label }).toString();
    return { sealed: this.seal.seal(Buffer.from(secret.bytes), ownerId), secret: secret.base32, uri };
  }

  /** The time step of a code; undefined for one that is wrong, or not of now. */
  stepOf(ownerId: string, sealed: Buffer, code: string): number | undefined {
    if (!/^\d{6}$/.test(code)) return undefined;
    const bytes = this.seal.open(sealed, ownerId);
    const totp = new TOTP({ ...SHAPE, secret: Secret.fromHex(bytes.toString('hex')) });
    const timestamp = Date.now();
    const delta = totp.validate({ token: code, window: WINDOW, timestamp });
    return delta === null ? undefined : totp.counter({ timestamp }) + delta;
  }

  /** Codes to be written down, and their hashes. */
  makeRecoveryCodes(ownerId: string): { codes: string[]; hashes: Buffer[] } {
    const codes = Array.from({ length: RECOVERY_CODES }, () => {
      const letters = Array.from({ length: 10 }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
      return `${letters.slice(0, 5)}-${letters.slice(5)}`;
    });
    return { codes, hashes: codes.map((code) => this.hashOf(ownerId, code)) };
  }

  /** However it was typed. */
  hashOf(ownerId: string, recoveryCode: string): Buffer {
    const letters = recoveryCode.toLowerCase().replace(/[\s-]/g, '');
    return createHmac('sha256', this.hashKey).update(`${ownerId}:${letters}`).digest();
  }
}
