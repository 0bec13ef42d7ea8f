import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsInt, Max, Min } from 'class-validator';
import { ApiId, ApiTime } from '../common/formats.js';
import { IsFuture, IsLabel, MayBeNull } from '../common/text.js';
import type { GrantRow } from './credits.repository.js';

/** Bonus credits in addition to a user's limit. */
export class GrantCreditsDto {
  /**
   * The number of credits: 1 or more
   * @example 5
   */
  @ApiProperty({ type: 'integer', minimum: 1 })
  @IsInt()
  @Min(1)
  @Max(Number.MAX_SAFE_INTEGER)
  amount!: number;

  /** A note for people */
  @ApiPropertyOptional({
    type: 'string',
    nullable: true,
    minLength: 1,
    maxLength: 500,
    example: 'Thanks for the report',
  })
  @MayBeNull()
  @IsLabel(500)
  reason?: string | null;

  /** When the credits expire. Tasks created with them stay. `null` or missing: never */
  @ApiPropertyOptional({ type: 'string', format: 'date-time', nullable: true, example: '2030-01-31T12:00:00Z' })
  @MayBeNull()
  @IsFuture()
  expiresAt?: string | null;
}

/** Bonus credits that a user was granted in addition to the limit. */
export class CreditGrantResponse {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /** @example 5 */
  @ApiProperty({ type: 'integer' })
  amount!: number;

  /** @example Thanks for the report */
  reason!: string | null;

  /**
   * When the credits expire; null: never
   * @example 2030-01-31T12:00:00.000Z
   */
  @ApiTime()
  expiresAt!: string | null;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;
}

/** One page of grants, newest first, including expired ones. */
export class CreditGrantPage {
  data!: CreditGrantResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toCreditGrantResponse({ id, amount, reason, expiresAt, createdAt }: GrantRow): CreditGrantResponse {
  return {
    id,
    amount,
    reason,
    expiresAt: expiresAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  };
}
