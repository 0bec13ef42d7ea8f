import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { isRepeated, type AuthenticatedRequest, type Caller } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { AccessRules } from './access-rules.js';
import { AccessTokens } from './access-tokens.js';
import { SessionsRepository } from './sessions.repository.js';

/** Who is calling: turns the credential of a request into its caller, or refuses with 401. */
@Injectable()
export class AuthenticationGuard implements CanActivate {
  constructor(
    private readonly rules: AccessRules,
    private readonly tokens: AccessTokens,
    private readonly sessions: SessionsRepository,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (this.rules.of(context).access?.kind === 'public') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    return this.authenticate(request);
  }

  private async authenticate(request: AuthenticatedRequest): Promise<boolean> {
    if (isRepeated(request, 'authorization')) {
      throw new Problem('invalid_token', { detail: 'Send one Authorization header.' });
    }
    request.caller = await this.identify(bearerToken(request.headers.authorization));
    return true;
  }

  private async identify(token: string): Promise<Caller> {
    const claims = this.tokens.verify(token);
    if (!claims) throw new Problem('invalid_token');
    const session = await this.sessions.findLive(claims.sub, claims.sid);
    if (!session) throw new Problem('invalid_token');
    if (session.status === 'disabled') throw new Problem('account_disabled');
    return {
      userId: claims.sub,
      sessionId: claims.sid,
      role: session.role,
      usernameKey: session.usernameKey,
      emailKey: session.emailKey,
    };
  }
}

/** RFC 6750, section 2.1. The scheme is compared without case (RFC 9110, section 11.1). */
function bearerToken(header: string | undefined): string {
  const token = header?.slice(0, 7).toLowerCase() === 'bearer ' ? header.slice(7).trim() : '';
  if (token === '') throw new Problem('unauthenticated');
  return token;
}
