import { Injectable } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import type { FastifyRequest } from 'fastify';
import { Strategy, type StrategyOptionsWithRequest } from 'passport-jwt';
import { bearerTokenOf } from '../http/caller/bearer.js';
import { RequestOrigin, isRepeated, type Caller } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { readAhead } from '../http/caller/read-ahead.js';
import { Env } from '../config/env.js';
import { ALGORITHM, AUDIENCE } from './tokens/access-tokens.js';
import { rightsOf } from './totp/admin-totp.js';
import { isSigned } from './signed-requests/request-signatures.js';
import { SessionsRepository } from './sessions/sessions.repository.js';
import { SigningKeys } from './tokens/signing-keys.js';
import { rememberingVerifier, type TokenVerifier } from './tokens/token-verifier.js';

/** The claims of an access token. It has no role: the role is read for each request. */
export interface AccessClaims {
  /** User id. */
  sub: string;
  /** Session id. */
  sid: string;
}

// passport-jwt has no option for the verifier. It is shared by all applications of the process.
(Strategy as unknown as { JwtVerifier: TokenVerifier }).JwtVerifier = rememberingVerifier();

/** Identifies the caller by an access token. Reads session, account and role from the database for each request. */
@Injectable()
export class JwtStrategy extends PassportStrategy(Strategy) {
  constructor(
    keys: SigningKeys,
    env: Env,
    private readonly sessions: SessionsRepository,
  ) {
    super({
      jwtFromRequest: accessTokenOf,
      // A provider, because the key is loaded from the database after this constructor has run. The types allow strings
      // and buffers only, but jsonwebtoken accepts a KeyObject, which need not be parsed for each token.
      secretOrKeyProvider: (_request, _token, done) => {
        done(null, keys.publicKey as never);
      },
      algorithms: [ALGORITHM],
      issuer: env.issuer,
      audience: AUDIENCE,
      passReqToCallback: true,
    } satisfies StrategyOptionsWithRequest);
  }

  /** @throws Problem invalid_token, account_disabled */
  async validate(request: FastifyRequest, claims: Partial<AccessClaims>): Promise<Caller> {
    if (!isAccessClaims(claims)) throw new Problem('invalid_token');
    const { sub: userId, sid: sessionId } = claims;
    readAhead(request, userId);
    const session = await this.sessions.findLive(userId, sessionId);
    if (!session) throw new Problem('invalid_token');
    if (session.status === 'disabled') throw new Problem('account_disabled');
    const { usernameKey, emailKey } = session;
    return { userId, sessionId, ...rightsOf(session), usernameKey, emailKey, origin: new RequestOrigin(request) };
  }
}

/**
 * Returns the access token of a request; null for a signed request, which the signature strategy handles.
 * @throws Problem invalid_token if the header is repeated
 */
function accessTokenOf(request: FastifyRequest): string | null {
  if (isSigned(request)) return null;
  if (isRepeated(request, 'authorization')) {
    throw new Problem('invalid_token', { detail: 'Send one Authorization header.' });
  }
  return bearerTokenOf(request) ?? null;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function isAccessClaims(claims: Partial<AccessClaims>): claims is AccessClaims {
  const { sub, sid } = claims;
  return typeof sub === 'string' && typeof sid === 'string' && UUID.test(sub) && UUID.test(sid);
}
