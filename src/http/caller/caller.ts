import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { addressOf } from '../../common/address.js';
import { isId, loginKey } from '../../common/names.js';
import type { Read } from './read-ahead.js';
import { concealSecrets } from '../../common/secret-shapes.js';

export type Role = 'admin' | 'user';

/** Who makes this request. Role and names are read from the database at each request. */
export interface Caller {
  userId: string;
  role: Role;
  /** In the form of `loginKey`, to compare with `{user}` in a path. */
  usernameKey: string | null;
  emailKey: string | null;
  /** The session of the access token; null for a signed request. */
  sessionId: string | null;
  /** An administrator whose rights are suspended (`role` is `user`) until TOTP is enabled: REQUIRE_ADMIN_TOTP. */
  needsTotp: boolean;
  origin: Origin;
}

/** Who makes a change, and from where: a caller, a user who registers or signs in, or the server (both null). */
export interface Actor {
  userId: string | null;
  origin: Origin | null;
}

export const SERVER: Actor = { userId: null, origin: null };

/** A request after the authentication guard; `user` is missing on public routes only. */
export type AuthenticatedRequest = FastifyRequest & {
  user?: Caller;
  /** True while the request is authenticated before its body is read: a digest of the body cannot be checked yet. */
  isBodyPending?: boolean;
  /** The owner of the API key, if the credential is an API key. */
  keyOwnerId?: string;
  /** The API key for which the request spends units. */
  spender?: { keyId: string | null; ownerId: string | null };
  refusal?: Refusal;
  /** See `ReadAhead`. */
  read?: Read | undefined;
  ahead?: Promise<unknown>;
  /** Whether the usage metrics count it already. */
  isWatched?: boolean;
};

/** Why a request, or the call that it verifies, was denied. Logged. */
export interface Refusal {
  code: string;
  /** The exceeded limits, as in the response. */
  violated?: unknown;
}

/** Returns the user that a request is counted for; undefined for an anonymous request. */
export function callerIdOf({ user, keyOwnerId }: AuthenticatedRequest): string | undefined {
  return user?.userId ?? keyOwnerId;
}

/** Injects the caller of a route that is not public. */
export const CurrentCaller = createParamDecorator((_data: unknown, context: ExecutionContext): Caller => {
  const { user } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (!user) throw new Error('CurrentCaller was used on a public route');
  return user;
});

/** Returns the owner whose objects a caller may access by id; null: all owners. */
export function reach(caller: Caller): string | null {
  return caller.role === 'admin' ? null : caller.userId;
}

/** Where a request comes from; recorded in sessions and in the audit log. */
export interface Origin {
  /** Null if a proxy sent text that is not an IP address. */
  readonly ip: string | null;
  readonly userAgent: string | null;
  readonly requestId: string;
}

/** The origin of a request. Lazy, because few routes need it. */
export class RequestOrigin implements Origin {
  constructor(private readonly request: FastifyRequest) {}

  /** Uses X-Forwarded-For only as far as TRUST_PROXY allows. */
  get ip(): string | null {
    return addressOf(this.request.ip) ?? null;
  }

  get userAgent(): string | null {
    const sent = this.request.headers['user-agent'];
    return sent === undefined ? null : concealSecrets(sent).slice(0, 512);
  }

  get requestId(): string {
    return this.request.id;
  }
}

/** Injects the origin of a request. For public routes; other routes read it from the caller. */
export const CurrentOrigin = createParamDecorator(
  (_data: unknown, context: ExecutionContext): Origin =>
    new RequestOrigin(context.switchToHttp().getRequest<FastifyRequest>()),
);

/**
 * Whether a request has a header more than once. Node silently drops all but the first, so with two credentials it
 * would be ambiguous which one counts.
 */
export function isRepeated({ raw }: FastifyRequest, header: string): boolean {
  const { rawHeaders } = raw;
  let times = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i];
    if (name?.length === header.length && name.toLowerCase() === header) times++;
  }
  return times > 1;
}

/** Whether `{user}` (id, username, email or `me`) names the caller. Needs no database query. */
export function isSelf(reference: string, caller: Caller): boolean {
  if (/^me$/i.test(reference)) return true;
  if (isId(reference)) return reference.toLowerCase() === caller.userId;
  const key = loginKey(reference);
  return key !== null && (key === caller.usernameKey || key === caller.emailKey);
}
