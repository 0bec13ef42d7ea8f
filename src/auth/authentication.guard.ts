import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { AuthGuard } from '@nestjs/passport';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bearerTokenOf } from '../http/caller/bearer.js';
import type { AuthenticatedRequest } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { ReadAhead } from '../http/caller/read-ahead.js';
import { AccessRules } from './access-rules.js';
import { PassportOptions } from './passport-options.js';

/**
 * Sets the caller of each request to a route that is not public, or rejects the request with 401. The strategies
 * identify the caller. `/call` is a route outside Nest: its keys are checked by the spend.
 */
@Injectable()
export class AuthenticationGuard extends AuthGuard() {
  constructor(
    options: PassportOptions,
    private readonly rules: AccessRules,
    private readonly reads: ReadAhead,
  ) {
    super(options);
  }

  override canActivate(context: ExecutionContext): ReturnType<CanActivate['canActivate']> {
    if (this.rules.of(context).access?.kind === 'public') return true;
    context.switchToHttp().getRequest<AuthenticatedRequest>().read = this.reads.of(context.getHandler());
    return super.canActivate(context);
  }

  /**
   * Authenticates a request before its body is read. The guard authenticates it again, because a session can end while
   * a large body arrives.
   * @throws Problem as for a request without a body
   */
  async admit(request: AuthenticatedRequest, reply: FastifyReply): Promise<void> {
    // On the request, because options for each request would make Passport's guard twice as slow.
    request.isBodyPending = true;
    await super.canActivate(new ExecutionContextHost([request, reply]));
    request.isBodyPending = false;
  }

  /** @param caller false if no strategy accepts the credential */
  override handleRequest<Caller>(
    error: unknown,
    caller: Caller | false,
    _info: unknown,
    context: ExecutionContext,
  ): Caller {
    if (error) throw error as Error;
    if (caller) return caller;
    const isTokenSent = bearerTokenOf(context.switchToHttp().getRequest<FastifyRequest>()) !== undefined;
    throw new Problem(isTokenSent ? 'invalid_token' : 'unauthenticated');
  }
}
