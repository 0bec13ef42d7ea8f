import { createHmac, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Secrets } from '../../config/secrets.js';

const PREFIX = 'qmr_';
const MAC = 32;
const BODY = 16 + 16 + 4;

/** The session of a refresh token, and which of the session's successive tokens it is. */
export interface RefreshClaims {
  ownerId: string;
  sessionId: string;
  generation: number;
}

/**
 * Refresh tokens: `qmr_` and base64url of owner, session, generation, and an HMAC-SHA256 of these and the session's
 * nonce. Nothing secret but the nonce is stored. Token n of a session is always the same text: a client that lost the
 * response can get the successor again, and a token of an earlier generation is recognized as reuse.
 */
@Injectable()
export class RefreshTokens {
  private readonly key: Buffer;

  constructor(secrets: Secrets) {
    this.key = secrets.derive('refresh-token');
  }

  make(claims: RefreshClaims, nonce: Buffer): string {
    const body = Buffer.alloc(BODY);
    Buffer.from(claims.ownerId.replaceAll('-', ''), 'hex').copy(body, 0);
    Buffer.from(claims.sessionId.replaceAll('-', ''), 'hex').copy(body, 16);
    body.writeUInt32BE(claims.generation, 32);
    return PREFIX + Buffer.concat([body, this.mac(body, nonce)]).toString('base64url');
  }

  /** Returns the claims of a token, not authenticated yet. Call `isAuthentic` once the session's nonce is known. */
  read(token: string): RefreshClaims | undefined {
    if (!token.startsWith(PREFIX)) return undefined;
    const text = token.slice(PREFIX.length);
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.length !== BODY + MAC || bytes.toString('base64url') !== text) return undefined;
    return { ownerId: uuid(bytes, 0), sessionId: uuid(bytes, 16), generation: bytes.readUInt32BE(32) };
  }

  isAuthentic(token: string, nonce: Buffer): boolean {
    const bytes = Buffer.from(token.slice(PREFIX.length), 'base64url');
    return timingSafeEqual(bytes.subarray(BODY), this.mac(bytes.subarray(0, BODY), nonce));
  }

  private mac(body: Buffer, nonce: Buffer): Buffer {
    return createHmac('sha256', this.key).update(nonce).update(body).digest();
  }
}

function uuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
