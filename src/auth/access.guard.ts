import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { isSelf, type AuthenticatedRequest } from '../http/caller/caller.js';
import type { AccessRule } from '../http/caller/access.js';
import { readTags } from '../http/conditional/entity-tags.js';
import { Problem, notAllowed } from '../common/problem.js';
import { AccessRules } from './access-rules.js';

/** Authorizes the caller by the one rule that the route declares. Denies every request to a route without a rule. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(private readonly rules: AccessRules) {}

  canActivate(context: ExecutionContext): true {
    const { access, takesQuery, isConditional } = this.rules.of(context);
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    if (!access) throw new Problem('forbidden');
    if (!isAllowed(access, request)) {
      throw new Problem(request.user?.needsTotp === true ? 'totp_setup_required' : 'forbidden');
    }
    if (!takesQuery) refuseQuery(request.query as object);
    if (!isConditional) refuseCondition(request);
    return true;
  }
}

function isAllowed(access: AccessRule, { user: caller, params }: AuthenticatedRequest): boolean {
  if (access.kind === 'public') return true;
  if (!caller) return false;
  switch (access.kind) {
    case 'admin':
      return caller.role === 'admin';
    case 'self-or-admin':
      // Denied without a lookup, so the response does not reveal whether the user exists.
      return caller.role === 'admin' || isSelf((params as Record<string, string>)[access.parameter] ?? '', caller);
    case 'owned':
      return true;
  }
}

const CHANGES = ['POST', 'PUT', 'PATCH', 'DELETE'];

/** A resource without an ETag matches no tag, so the conditional change must not happen (RFC 9110, section 13.1.1). */
function refuseCondition({ method, headers }: AuthenticatedRequest): void {
  if (headers['if-match'] === undefined || !CHANGES.includes(method)) return;
  if (readTags(headers, 'If-Match') !== '*') {
    throw new Problem('version_mismatch', { detail: 'This resource has no ETag.' });
  }
}

function refuseQuery(query: object): void {
  const names = Object.keys(query);
  if (names.length > 0) throw Problem.fields(names.map((name) => notAllowed(`/${name}`)));
}
