import { createHash, verify, type KeyObject } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { RequestOrigin, isRepeated, type Caller } from '../../http/caller/caller.js';
import { isId } from '../../common/names.js';
import { Problem } from '../../common/problem.js';
import { Sweeper } from '../../database/sweeper.js';
import { rightsOf } from '../totp/admin-totp.js';
import { contentDigestOf, hasBody, isBodiless, type ContentDigest } from './content-digest.js';
import { keyObjectOf } from './public-key.js';
import { BadSignature, hasQuery, readSignature, type SignatureInput, type SignedMessage } from './signature-base.js';
import { SignaturesRepository, type LiveKey } from './signatures.repository.js';
import { MAX_AGE_SECONDS } from './signatures.statements.js';

/** What a signature claims, before it is verified. */
export interface SignatureClaims {
  keyId: string;
  nonce: string;
  created: number;
  expires: number | null;
  base: Buffer;
  signature: Buffer;
  digest: ContentDigest | undefined;
  /** Whether the signature was verified and its nonce was taken for this request. */
  isAdmitted: boolean;
}

/** In characters. */
const MAX_NONCE = 256;

/** Maximum number of parsed public keys kept in memory. */
const REMEMBERED = 10_000;

const SWEEP_MS = 60_000;

/** Headers that are ambiguous if they occur twice. */
const ONCE = ['signature-input', 'signature', 'content-digest', 'host'];

/** The message is the same for an unknown id, to prevent enumeration of key ids. */
const UNFITTING = 'No key with this keyid verifies the signature over the covered components.';

/** Verifies signed requests (RFC 9421): identifies the sender, and rejects forged, altered and replayed requests. */
@Injectable()
export class RequestSignatures implements OnApplicationBootstrap, BeforeApplicationShutdown {
  /**
   * Parsed keys by id. The key of an id never changes, so an entry is never stale. Revocation is checked for each
   * request.
   */
  private readonly parsed = new LRUCache<string, KeyObject>({ max: REMEMBERED });
  private readonly sweeper: Sweeper;

  constructor(private readonly signatures: SignaturesRepository) {
    this.sweeper = new Sweeper(SWEEP_MS, () => signatures.deleteOld());
  }

  /**
   * Reads a signature. Rejects, without a database query, one that covers too little or lacks a parameter.
   * @throws Problem invalid_signature
   */
  read(request: FastifyRequest): SignatureClaims {
    return refusing(() => {
      const { headers } = request;
      const [input, signature] = [headers['signature-input'], headers.signature];
      if (typeof input !== 'string' || typeof signature !== 'string') {
        throw new BadSignature('Send both Signature-Input and Signature.');
      }
      if (ONCE.some((name) => isRepeated(request, name)))
        throw new BadSignature('Send Signature-Input, Signature, Content-Digest and Host only once.');
      if (isBodiless(request) && hasBody(request))
        throw new BadSignature('A signed GET or HEAD request must not have a body.');
      const message = messageOf(request);
      const read = readSignature(message, input, signature, (keyId) => typeof keyId === 'string' && isId(keyId));
      requireCovered(read.components, [
        ...['@method', '@authority', '@path'],
        ...(hasQuery(message) ? ['@query'] : []),
        ...(hasBody(request) ? ['content-digest'] : []),
      ]);
      return {
        ...readParameters(read),
        ...{ base: read.base, signature: read.signature, digest: contentDigestOf(request), isAdmitted: false },
      };
    });
  }

  /**
   * Verifies the signature and its time, and that its key and account are active. Takes the nonce, durably. Does not
   * check the body.
   * @throws Problem invalid_signature, account_disabled
   */
  async admit(claims: SignatureClaims, request: FastifyRequest): Promise<Caller> {
    await this.requireFit(claims);
    return toCaller(await this.use(claims), request);
  }

  /**
   * Returns the sender of a request. Call it after the body was read: it also checks that the body matches its signed
   * digest.
   * @throws Problem invalid_signature, account_disabled
   */
  async identify(claims: SignatureClaims, request: FastifyRequest): Promise<Caller> {
    if (!claims.isAdmitted) await this.requireFit(claims);
    // Checked before the nonce is taken (unless `admit` took it): a request with a replaced body must not use up the
    // nonce.
    if (claims.digest && !claims.digest.fits()) throw invalid('Content-Digest does not match the body.');
    const live = claims.isAdmitted ? requireLive(await this.signatures.findLive(claims.keyId)) : await this.use(claims);
    return toCaller(live, request);
  }

  onApplicationBootstrap(): void {
    this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /** Takes the nonce of a verified signature. */
  private async use(claims: SignatureClaims): Promise<LiveKey> {
    const { keyId, created, expires } = claims;
    const nonceHash = createHash('sha256').update(claims.nonce).digest();
    const verdict = await this.signatures.use({ keyId, nonceHash, created, expires });
    const live = requireLive(verdict);
    if (!live.isTimely) throw invalid(`"created" is not within ${String(MAX_AGE_SECONDS)} seconds of now.`);
    if (live.isExpired) throw invalid('The signature has expired.');
    if (!live.isTaken) throw invalid('The nonce was used before.');
    claims.isAdmitted = true;
    return live;
  }

  /**
   * Runs on the main thread: it takes a fraction of a millisecond, and in the thread pool it would wait for password
   * hashes.
   */
  private async requireFit({ keyId, base, signature }: SignatureClaims): Promise<void> {
    const key = await this.keyOf(keyId);
    if (!key || !verify(null, base, key, signature)) throw invalid(UNFITTING);
  }

  private async keyOf(keyId: string): Promise<KeyObject | undefined> {
    const known = this.parsed.get(keyId);
    if (known) return known;
    const live = await this.signatures.findLive(keyId);
    if (!live) return undefined;
    const key = keyObjectOf(live.publicKey);
    this.parsed.set(keyId, key);
    return key;
  }
}

/** Returns whether a request has a signature header. */
export function isSigned({ headers }: FastifyRequest): boolean {
  return headers['signature-input'] !== undefined || headers.signature !== undefined;
}

/** The target is the one that the client sent. Host and scheme are those of the client, as far as TRUST_PROXY allows (X-Forwarded-Host, X-Forwarded-Proto). */
function messageOf(request: FastifyRequest): SignedMessage {
  const { method = '', rawHeaders } = request.raw;
  return { method, target: request.originalUrl, scheme: request.protocol, authority: request.host, rawHeaders };
}

function requireCovered(covered: readonly string[], needed: readonly string[]): void {
  const isWhole = covered.includes('@target-uri');
  const missing = needed.find(
    (name) => !covered.includes(name) && !(isWhole && ['@authority', '@path', '@query'].includes(name)),
  );
  if (missing !== undefined) throw new BadSignature(`The signature must cover "${missing}".`);
}

function readParameters({
  parameters,
}: SignatureInput): Pick<SignatureClaims, 'keyId' | 'nonce' | 'created' | 'expires'> {
  const [alg, keyId, nonce] = ['alg', 'keyid', 'nonce'].map((name) => parameters.get(name));
  const [created, expires] = ['created', 'expires'].map((name) => parameters.get(name));
  if (alg !== 'ed25519') throw new BadSignature('The parameter "alg" must be "ed25519".');
  if (!isWhole(created)) throw new BadSignature('The parameter "created" must be a time in seconds.');
  if (expires !== undefined && !isWhole(expires)) {
    throw new BadSignature('The parameter "expires" must be a time in seconds.');
  }
  if (typeof nonce !== 'string' || nonce === '' || nonce.length > MAX_NONCE) {
    throw new BadSignature(`The parameter "nonce" must be a string of 1 to ${String(MAX_NONCE)} characters.`);
  }
  if (typeof keyId !== 'string' || !isId(keyId)) {
    throw new BadSignature('The parameter "keyid" must be the id of a signing key.');
  }
  return { keyId: keyId.toLowerCase(), nonce, created, expires: expires ?? null };
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value);
}

/** @throws Problem invalid_signature if the key was revoked in the meantime; account_disabled */
function requireLive<Live extends LiveKey>(live: Live | null): Live {
  if (!live) throw invalid(UNFITTING);
  if (live.status === 'disabled') throw new Problem('account_disabled');
  return live;
}

function toCaller(live: LiveKey, request: FastifyRequest): Caller {
  const { ownerId: userId, usernameKey, emailKey } = live;
  return { userId, sessionId: null, ...rightsOf(live), usernameKey, emailKey, origin: new RequestOrigin(request) };
}

function refusing<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof BadSignature) throw invalid(error.message);
    throw error;
  }
}

function invalid(detail: string): Problem {
  return new Problem('invalid_signature', { detail });
}
