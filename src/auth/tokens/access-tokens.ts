import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import jwt from 'jsonwebtoken';
import { Env } from '../../config/env.js';
import { SigningKeys } from './signing-keys.js';

/** Lifetime of an access token, in seconds. */
export const ACCESS_TOKEN_SECONDS = 1_800;

export const ALGORITHM = 'RS256';

export const AUDIENCE = 'quartermaster';

/** Signs access tokens. `JwtStrategy` verifies them. */
@Injectable()
export class AccessTokens {
  constructor(
    private readonly keys: SigningKeys,
    private readonly env: Env,
  ) {}

  sign(userId: string, sessionId: string): string {
    return jwt.sign({ sid: sessionId }, this.keys.privateKey, {
      algorithm: ALGORITHM,
      keyid: this.keys.kid,
      issuer: this.env.issuer,
      audience: AUDIENCE,
      subject: userId,
      jwtid: randomUUID(),
      expiresIn: ACCESS_TOKEN_SECONDS,
    });
  }
}
