import { Injectable } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import type { FastifyRequest } from 'fastify';
import { Strategy } from 'passport-strategy';
import type { AuthenticatedRequest, Caller } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { RequestSignatures, isSigned, type SignatureClaims } from './signed-requests/request-signatures.js';

/** Identifies the caller by a request signature (RFC 9421). Fails, so that no other strategy runs, if it is invalid. */
@Injectable()
export class SignatureStrategy extends PassportStrategy(Strategy, 'signature') {
  /** Claims whose nonce was taken before the body was read: the nonce is valid once, but the guard asks twice. */
  private readonly admitted = new WeakMap<FastifyRequest, SignatureClaims>();

  constructor(private readonly signatures: RequestSignatures) {
    super();
  }

  override authenticate(request: unknown): void {
    if (!isSigned(request as FastifyRequest)) {
      this.fail(401);
      return;
    }
    this.validate(request as AuthenticatedRequest).then(
      (caller) => {
        this.success(caller);
      },
      (error: unknown) => {
        this.error(error as Error);
      },
    );
  }

  /** @throws Problem invalid_signature, account_disabled */
  async validate(request: AuthenticatedRequest): Promise<Caller> {
    // With two credentials, it is ambiguous which one counts.
    if (request.headers.authorization !== undefined) {
      throw new Problem('invalid_signature', { detail: 'Send a signature or Authorization, not both.' });
    }
    const claims = this.admitted.get(request) ?? this.signatures.read(request);
    if (request.isBodyPending !== true) return this.signatures.identify(claims, request);
    this.admitted.set(request, claims);
    return this.signatures.admit(claims, request);
  }
}
