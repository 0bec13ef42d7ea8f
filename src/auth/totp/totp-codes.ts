import { createHmac, randomInt } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Secret, TOTP } from 'otpauth';
import { Seal } from '../../config/seal.js';
import { Secrets } from '../../config/secrets.js';

/** What every authenticator app supports: RFC 6238 with SHA-1, six digits, thirty seconds. */
const SHAPE = { issuer: 'Quartermaster', algorithm: 'SHA1', digits: 6, period: 30 } as const;

/** RFC 4226, section 4: 160 bits. */
const SECRET_BYTES = 20;

/**
 * Number of steps before and after the current one whose codes are accepted, because clocks differ (RFC 6238, section
 * 5.2).
 */
const WINDOW = 1;

const RECOVERY_CODES = 10;

/** 30 letters and digits, without 0, 1, i, l, o, u. Ten of them are 49 bits. */
const ALPHABET = '23456789abcdefghjkmnpqrstvwxyz';

/** Creates and checks TOTP codes and recovery codes. */
@Injectable()
export class TotpCodes {
  private readonly seal: Seal;
  private readonly hashKey: Buffer;

  constructor(secrets: Secrets) {
    this.seal = new Seal(secrets.derive('totp-secret'));
    this.hashKey = secrets.derive('totp-recovery-code');
  }

  /** Creates a secret: sealed for the database, in base32 for manual entry, and as a URI for a QR code. */
  makeSecret(ownerId: string, label: string): { sealed: Buffer; secret: string; uri: string } {
    const secret = new Secret({ size: SECRET_BYTES });
    const uri = new TOTP({ ...SHAPE, secret, label }).toString();
    return { sealed: this.seal.seal(Buffer.from(secret.bytes), ownerId), secret: secret.base32, uri };
  }

  /** Returns the time step of a code, or undefined if it is wrong or not valid now. Ignores white space and hyphens. */
  stepOf(ownerId: string, sealed: Buffer, code: string): number | undefined {
    const token = compact(code);
    if (!/^\d{6}$/.test(token)) return undefined;
    const bytes = this.seal.open(sealed, ownerId);
    const totp = new TOTP({ ...SHAPE, secret: Secret.fromHex(bytes.toString('hex')) });
    const timestamp = Date.now();
    const delta = totp.validate({ token, window: WINDOW, timestamp });
    return delta === null ? undefined : totp.counter({ timestamp }) + delta;
  }

  /** Creates recovery codes and their hashes. */
  makeRecoveryCodes(ownerId: string): { codes: string[]; hashes: Buffer[] } {
    const codes = Array.from({ length: RECOVERY_CODES }, () => {
      const letters = Array.from({ length: 10 }, () => ALPHABET.charAt(randomInt(ALPHABET.length))).join('');
      return `${letters.slice(0, 5)}-${letters.slice(5)}`;
    });
    return { codes, hashes: codes.map((code) => this.hashOf(ownerId, code)) };
  }

  /** Hashes a recovery code. Ignores case, white space and hyphens. */
  hashOf(ownerId: string, recoveryCode: string): Buffer {
    const letters = compact(recoveryCode.toLowerCase());
    return createHmac('sha256', this.hashKey).update(`${ownerId}:${letters}`).digest();
  }
}

/** Removes white space and hyphens: authenticator apps show codes in groups, and people type them so. */
function compact(code: string): string {
  return code.replace(/[\s-]/g, '');
}
