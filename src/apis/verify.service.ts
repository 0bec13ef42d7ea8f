import { Injectable } from '@nestjs/common';
import type { AuthenticatedRequest } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { Idempotency, REPLAYED, type Attempt } from '../idempotency/idempotency.js';
import { hashApiKey } from '../keys/api-key-format.js';
import { isSlug } from '../quota/meters.js';
import { Spender, type Spend } from '../quota/calls/spender.js';
import { RefusalLog } from '../refusals/refusal-log.js';
import type { VerifyDto, VerifyResponse } from './verify.dto.js';

const UNKNOWN: VerifyResponse = { allowed: false, code: 'invalid_api_key', keyId: null, owner: null, limits: [] };

/** Spends units for programs that serve their own APIs. The key in the body is the only credential. */
@Injectable()
export class VerifyService {
  constructor(
    private readonly spender: Spender,
    private readonly idempotency: Idempotency,
    private readonly refusals: RefusalLog,
  ) {}

  /** @throws Problem not_found for an API that is not in the catalogue, if the key is valid */
  async verify(
    { key, api, cost = 1, dryRun = false }: VerifyDto,
    { request, reply }: Attempt,
  ): Promise<VerifyResponse> {
    const asking = reply.request as AuthenticatedRequest;
    const hash = hashApiKey(key);
    if (hash === undefined) {
      asking.refusal = { code: UNKNOWN.code };
      return UNKNOWN;
    }
    const call = { hash, slug: isSlug(api) ? api : '', cost, dryRun };
    const verdictOf = (spend: Spend): VerifyResponse => {
      asking.spender = spend.said;
      if (!spend.isGranted && !dryRun) {
        asking.refusal = { code: spend.code, violated: spend.violatedResponses };
        this.refusals.record(asking.id, call, spend);
      }
      return toVerifyResponse(spend);
    };
    if (request.key === undefined) return verdictOf(await this.spender.spend(call));
    // An API key that is no longer valid must not get a stored verdict.
    const now = await this.spender.spend({ ...call, dryRun: true });
    if (!now.isUsable) return verdictOf(now);
    const { body, isReplayed } = await this.idempotency.once(
      request.key,
      { ...request, credential: hash },
      async (tx) => {
        const verdict = verdictOf(await this.spender.spendIn(tx, call));
        return { body: JSON.stringify(verdict), isKept: verdict.allowed && !dryRun };
      },
    );
    if (isReplayed) reply.header(REPLAYED, 'true');
    return JSON.parse(body) as VerifyResponse;
  }
}

function toVerifyResponse(spend: Spend): VerifyResponse {
  if (spend.code === 'not_found') throw new Problem('not_found', { detail: 'There is no such API.' });
  if (spend.code === 'invalid_api_key') return UNKNOWN;
  return {
    allowed: spend.isGranted,
    code: spend.code,
    keyId: spend.said.keyId,
    owner: spend.said.ownerId,
    limits: spend.limitResponses,
  };
}
