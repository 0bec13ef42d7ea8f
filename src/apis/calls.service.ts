import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { bearerTokenOf } from '../http/caller/bearer.js';
import { isRepeated, type AuthenticatedRequest } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { Idempotency } from '../idempotency/idempotency.js';
import { NOBODY, toRepeatable } from '../idempotency/idempotent.js';
import { hashApiKey } from '../keys/api-key-format.js';
import { isSlug } from '../quota/meters.js';
import { Spender, type Call, type Spend } from '../quota/calls/spender.js';
import { RefusalLog } from '../refusals/refusal-log.js';

/** The response to a call, or the upstream to forward it to. */
export interface CallAnswer {
  headers: Record<string, string>;
  answer: string;
  upstream: string | null;
  keyId: string;
  ownerId: string;
  isReplayed: boolean;
}

/** Calls of metered APIs. Each call spends one unit before the response. */
@Injectable()
export class CallsService {
  constructor(
    private readonly spender: Spender,
    private readonly idempotency: Idempotency,
    private readonly refusals: RefusalLog,
  ) {}

  /**
   * Spends one unit with the key of a request.
   * @throws Problem unauthenticated, invalid_api_key, account_disabled, not_found, scope_denied; quota_exceeded (429)
   */
  async call(request: AuthenticatedRequest, slug: string): Promise<CallAnswer> {
    const hash = keyHashOf(request);
    const call = { hash, slug: isSlug(slug) ? slug : '', cost: 1, dryRun: false };
    if (request.headers['idempotency-key'] === undefined) {
      return this.settle(request, call, await this.spender.spend(call));
    }
    // An API key that is no longer valid must not get a stored response.
    const now = await this.spender.spend({ ...call, dryRun: true });
    if (!now.isUsable) return this.settle(request, call, now);
    // The body is not read here, so the fingerprint does not include it.
    const repeatable = { ...toRepeatable(request, NOBODY, hash), path: request.raw.url ?? '', body: null };
    noteOwner(request, now);
    let refused: Spend | undefined;
    const { body, isReplayed } = await this.idempotency.once(repeatable.key ?? '', repeatable, async (tx) => {
      const spend = await this.spender.spendIn(tx, call);
      refused = spend.isGranted ? undefined : spend;
      // The problem is thrown after the commit, so that the denial is recorded.
      const text = refused ? '' : JSON.stringify(toCallAnswer(spend));
      // Upstream responses are not stored, so a repetition reaches the upstream again and must spend again.
      return { body: text, isKept: spend.isGranted && spend.said.upstream === null };
    });
    if (refused) return this.settle(request, call, refused);
    return { ...(JSON.parse(body) as CallAnswer), isReplayed };
  }

  /** Returns the response to a call that was granted. @throws Problem for a refused one, which is recorded */
  private settle(request: AuthenticatedRequest, call: Call, spend: Spend): CallAnswer {
    noteOwner(request, spend);
    if (spend.isGranted) return toCallAnswer(spend);
    this.refusals.record(request.id, call, spend);
    throw refusalOf(spend);
  }
}

/** Records the owner of the key in the request, whether the call is granted or not. */
function noteOwner(request: AuthenticatedRequest, { said }: Spend): void {
  request.spender = said;
  if (said.ownerId !== null) request.keyOwnerId = said.ownerId;
}

/**
 * Returns the hash of the API key of a request, from `Authorization: Bearer` or `X-API-Key`. Never reads the query,
 * which ends up in logs and browser histories.
 */
function keyHashOf(request: FastifyRequest): string {
  const { authorization, 'x-api-key': header } = request.headers;
  if (authorization === undefined && header === undefined) {
    throw new Problem('unauthenticated', { detail: 'Send an API key as Authorization: Bearer or X-API-Key.' });
  }
  const text = authorization === undefined ? String(header) : (bearerTokenOf(request) ?? '');
  // Generated clients send the same key in both documented headers, so two equal keys are accepted.
  if (isRepeated(request, 'authorization') || (header !== undefined && text !== header)) {
    throw new Problem('invalid_api_key', { detail: 'Send one API key.' });
  }
  const hash = hashApiKey(text);
  if (hash === undefined) throw new Problem('invalid_api_key', hintFor(authorization ?? '', text));
  return hash;
}

/** Names the frequent mistakes. */
function hintFor(authorization: string, text: string): { detail?: string } {
  if (/^qm_\S+$/.test(authorization)) return { detail: 'Write Bearer before the key: Authorization: Bearer qm_….' };
  // A JWT begins with the base64url of `{"`.
  return /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/.test(text)
    ? { detail: 'This is an access token. Send an API key, which begins with qm_.' }
    : {};
}

function toCallAnswer({ said, rateLimitHeaders }: Spend): CallAnswer {
  return {
    headers: rateLimitHeaders,
    answer: said.answer ?? '',
    upstream: said.upstream,
    keyId: said.keyId ?? '',
    ownerId: said.ownerId ?? '',
    isReplayed: false,
  };
}

function refusalOf(spend: Spend): Problem {
  const { code } = spend;
  if (code !== 'quota_exceeded') return new Problem(code === 'ok' ? 'internal_error' : code);
  const { retryAfter } = spend;
  const [first] = spend.violatedResponses;
  return new Problem('quota_exceeded', {
    status: 429,
    ...(first ? { detail: `${first.used} of ${first.limit} units of ${first.meter} are used (${first.window}).` } : {}),
    ...(retryAfter === undefined ? {} : { retryAfter }),
    headers: spend.rateLimitHeaders,
    members: { violated: spend.violatedResponses, limits: spend.limitResponses },
  });
}
