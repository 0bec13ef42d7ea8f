import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsString, Length } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { PageQuery } from '../common/page.js';
import { IsStorable, MayBeMissing } from '../common/text.js';
import { IsUserReference } from '../http/caller/owner.js';
import { isViolated } from '../quota/judged-limits.js';
import { LimitResponse } from '../quota/quota.dto.js';
import type { RefusalRow } from './refusals.repository.js';

export class ListRefusalsQuery extends PageQuery {
  @IsUserReference(
    'Administrators only: the owner of the keys (id, username or e-mail), or `*` for all owners, with `requestId`. Default: the caller',
  )
  user?: string;

  /** The `requestId` of a problem, or the `X-Request-Id` of a response */
  @ApiPropertyOptional({ minLength: 1, maxLength: 64 })
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  @IsStorable()
  requestId?: string;

  /** The slug of the API */
  @ApiPropertyOptional({ minLength: 1, maxLength: 64 })
  @MayBeMissing()
  @IsString()
  @Length(1, 64)
  @IsStorable()
  api?: string;
}

/** The codes of refused calls. */
const CODES = ['invalid_api_key', 'account_disabled', 'not_found', 'scope_denied', 'quota_exceeded'] as const;

/** A refused call. */
export class RefusalResponse {
  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  at!: string;

  /** @example 7f3a90c1-2b */
  requestId!: string;

  /**
   * The id of the key
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  keyId!: string;

  /**
   * The slug in the request; null if it is not a slug
   * @example api1
   */
  api!: string | null;

  /** `invalid_api_key`: the key has expired, or the secret was replaced */
  @ApiProperty({ enum: CODES, example: 'quota_exceeded' })
  code!: string;

  /** The limits that the call would exceed */
  violated!: LimitResponse[];

  /** Every limit that was checked */
  limits!: LimitResponse[];
}

/** One page of refused calls, newest first. */
export class RefusalPage {
  data!: RefusalResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toRefusalResponse({ at, requestId, keyId, api, code, cost, limits }: RefusalRow): RefusalResponse {
  return {
    at: at.toISOString(),
    ...{ requestId, keyId, api, code },
    violated: limits.filter((limit) => isViolated(limit, cost)),
    limits,
  };
}
