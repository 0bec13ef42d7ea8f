import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { RequestOrigin, isRepeated, type Caller, type Claims, type Authentication } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { AccessTokens } from './access-tokens.js';
import { rightsOf } from './admin-totp.js';
import { RequestSignatures, isSigned, type SignatureClaims } from './request-signatures.js';
import { SessionsRepository } from './sessions.repository.js';

interface SessionClaims extends Claims {
  userId: string;
  sessionId: string;
}

/** Identifies the caller by the credential of a request, or rejects the request with 401. */
@Injectable()
export class Authenticator implements Authentication {
  constructor(
    private readonly tokens: AccessTokens,
    private readonly sessions: SessionsRepository,
    private readonly signatures: RequestSignatures,
  ) {}

  claimsOf(request: FastifyRequest): SessionClaims | SignatureClaims {
    if (isSigned(request)) {
      // With two credentials, it is ambiguous which one counts.
      if (request.headers.authorization === undefined) return this.signatures.read(request);
      throw new Problem('invalid_signature', { detail: 'Send a signature or Authorization, not both.' });
    }
    if (isRepeated(request, 'authorization')) {
      throw new Problem('invalid_token', { detail: 'Send one Authorization header.' });
    }
    const claims = this.tokens.verify(bearerToken(request.headers.authorization));
    if (!claims) throw new Problem('invalid_token');
    return { userId: claims.sub, sessionId: claims.sid };
  }

  admit(claims: Claims, request: FastifyRequest): Promise<Caller> {
    return isOfSignature(claims) ? this.signatures.admit(claims, request) : this.identify(claims, request);
  }

  async identify(claims: Claims, request: FastifyRequest): Promise<Caller> {
    if (isOfSignature(claims)) return this.signatures.identify(claims, request);
    const { userId, sessionId } = claims as SessionClaims;
    const session = await this.sessions.findLive(userId, sessionId);
    if (!session) throw new Problem('invalid_token');
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { usernameKey, emailKey } = session;
    return { userId, sessionId, ...rightsOf(session), usernameKey, emailKey, origin: new RequestOrigin(request) };
  }
}

/** RFC 6750, section 2.1. The scheme is case-insensitive (RFC 9110, section 11.1). */
function bearerToken(header: string | undefined): string {
  const token = header?.slice(0, 7).toLowerCase() === 'bearer ' ? header.slice(7).trim() : '';
  if (token === '') throw new Problem('unauthenticated');
  return token;
}

function isOfSignature(claims: Claims): claims is SignatureClaims {
  return claims.userId === null;
}
