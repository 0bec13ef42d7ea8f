import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { addressOf } from './address.js';
import { isId, loginKey } from './names.js';
import { concealSecrets } from './secret-shapes.js';

export type Role = 'admin' | 'user';

/** Who makes this request. Role and names were read from the database for this very request. */
export interface Caller {
  userId: string;
  role: Role;
  /** Of `loginKey`, as `{user}` in a path is compared with them. */
  usernameKey: string | null;
  emailKey: string | null;
  /** The session of the access token; a signed request has none. */
  sessionId: string | null;
  /** An administrator who is none (`role` is `user`) until two-factor sign-in is set up: REQUIRE_ADMIN_TOTP. */
  needsTotp: boolean;
  origin: Origin;
}

/** Who makes a change, and where it is asked for: a caller; whoever registers or signs in; null, the server itself. */
export interface Actor {
  userId: string | null;
  origin: Origin | null;
}

/** The server itself. */
export const SERVER: Actor = { userId: null, origin: null };

/** What a credential says of itself. Whether it is good, and for what, only the database knows. */
export interface Claims {
  /** Whose it says it is; null where that is for the database to say, as of a signature. */
  userId: string | null;
}

/** Identifies callers. Routes outside Nest are given it; to the others the authentication guard gives the caller. */
export interface Authentication {
  /** Asks no database. @throws Problem unauthenticated, invalid_token, invalid_signature */
  claimsOf(request: FastifyRequest): Claims;
  /** Whose a credential is that is good, before a body is taken, which may yet turn out another. @throws Problem as `identify` */
  admit(claims: Claims, request: FastifyRequest): Promise<Caller>;
  /**
   * Reads session or key, and account, for this very request, whose body is there: to be asked once, since a signature is
   * used up. @throws Problem invalid_token, invalid_signature, account_disabled
   */
  identify(claims: Claims, request: FastifyRequest): Promise<Caller>;
}

/** A request after the authentication guard; `caller` is missing on public routes only. */
export type AuthenticatedRequest = FastifyRequest & {
  caller?: Caller;
  /** Whose API key it came with, where that is its credential. */
  keyOwnerId?: string;
  /** The API key that it asks units for. */
  spender?: { keyId: string | null; ownerId: string | null };
  refusal?: Refusal;
};

/** Why a request, or the call that it asks about, was refused: for the log. */
export interface Refusal {
  code: string;
  /** The limits that have no room, as the answer names them. */
  violated?: unknown;
}

/** The user that a request counts for; undefined for nobody's. */
export function callerIdOf({ caller, keyOwnerId }: AuthenticatedRequest): string | undefined {
  return caller?.userId ?? keyOwnerId;
}

/** Injects the caller of a route that is not public. */
export const CurrentCaller = createParamDecorator((_data: unknown, context: ExecutionContext): Caller => {
  const { caller } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (!caller) throw new Error('A public route asked for its caller');
  return caller;
});

/** Whose objects a caller reaches by id: its own, or everyone's (null). */
export function reach(caller: Caller): string | null {
  return caller.role === 'admin' ? null : caller.userId;
}

/** Where a request comes from, for sessions and audit. */
export interface Origin {
  /** Null where there is none: a proxy may send what is no address. */
  readonly ip: string | null;
  readonly userAgent: string | null;
  readonly requestId: string;
}

/** The origin of a request. Few routes ask for it: nothing is read before. */
export class RequestOrigin implements Origin {
  constructor(private readonly request: FastifyRequest) {}

  /** Heeds X-Forwarded-For only as far as TRUST_PROXY says. */
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

/** Injects the origin of a request, for public routes: elsewhere the caller has it. */
export const CurrentOrigin = createParamDecorator(
  (_data: unknown, context: ExecutionContext): Origin =>
    new RequestOrigin(context.switchToHttp().getRequest<FastifyRequest>()),
);

/**
 * Whether a request has a header several times. Node keeps the first and drops the others unseen: of two credentials
 * nobody could say which one counts.
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

/** Whether `{user}` (id, username, email or `me`) names the caller. Asks no database. */
export function isSelf(reference: string, caller: Caller): boolean {
  if (/^me$/i.test(reference)) return true;
  if (isId(reference)) return reference.toLowerCase() === caller.userId;
  const key = loginKey(reference);
  return key !== null && (key === caller.usernameKey || key === caller.emailKey);
}
