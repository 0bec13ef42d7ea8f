import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { AuthenticatedRequest } from '../common/caller.js';
import { AccessRules } from './access-rules.js';
import { Authenticator } from './authenticator.js';

/** Sets the caller of each request to a route that is not public, or rejects the request with 401. */
@Injectable()
export class AuthenticationGuard implements CanActivate {
  constructor(
    private readonly rules: AccessRules,
    private readonly authenticator: Authenticator,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (this.rules.of(context).access?.kind === 'public') return true;
    return this.authenticate(context.switchToHttp().getRequest<AuthenticatedRequest>());
  }

  private async authenticate(request: AuthenticatedRequest): Promise<boolean> {
    request.caller = await this.authenticator.identify(this.authenticator.claimsOf(request), request);
    return true;
  }
}
