import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { RequestOrigin, isRepeated, type Caller, type Claims, type Authentication } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { AccessTokens } from './access-tokens.js';
import { SessionsRepository } from './sessions.repository.js';

/** Who is calling: turns the credential of a request into its caller, or refuses with 401. */
@Injectable()
export class Authenticator implements Authentication {
  constructor(
    private readonly tokens: AccessTokens,
    private readonly sessions: SessionsRepository,
  ) {}

  claimsOf(request: FastifyRequest): Claims {
    if (isRepeated(request, 'authorization')) {
      throw new Problem('invalid_token', { detail: 'Send one Authorization header.' });
    }
    const claims = this.tokens.verify(bearerToken(request.headers.authorization));
    if (!claims) throw new Problem('invalid_token');
    return { userId: claims.sub, sessionId: claims.sid };
  }

  async identify({ userId, sessionId }: Claims, request: FastifyRequest): Promise<Caller> {
    const session = await this.sessions.findLive(userId, sessionId);
    if (!session) throw new Problem('invalid_token');
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { needsTotp, usernameKey, emailKey } = session;
    const role = needsTotp ? 'user' : session.role;
    return { userId, sessionId, role, needsTotp, usernameKey, emailKey, origin: new RequestOrigin(request) };
  }
}

/** RFC 6750, section 2.1. The scheme is compared without case (RFC 9110, section 11.1). */
function bearerToken(header: string | undefined): string {
  const token = header?.slice(0, 7).toLowerCase() === 'bearer ' ? header.slice(7).trim() : '';
  if (token === '') throw new Problem('unauthenticated');
  return token;
}
