import { ApiProperty, OmitType, PartialType } from '@nestjs/swagger';
import { IsString, Length } from 'class-validator';
import { ApiTime } from '../common/formats.js';
import { IsStorable } from '../common/text.js';
import { type Window, WINDOWS } from '../quota/meters.js';
import { AreLimits, IsSlug, LimitDto } from '../quota/quota.dto.js';
import type { PlanState } from './plans.repository.js';

export class CreatePlanDto {
  /**
   * Lower-case letters, digits, and hyphens between them
   * @example free
   */
  @IsSlug()
  slug!: string;

  /** For people */
  @ApiProperty({ example: 'Free', minLength: 1, maxLength: 100 })
  @IsString()
  @Length(1, 100)
  @IsStorable()
  name!: string;

  /** What each user of the plan may use */
  @AreLimits({ meter: 'api:*', window: 'month', limit: 1_000 })
  limits?: LimitDto[];
}

/** Changes to a plan; what is missing stays. They hold for all its users from their next request on. */
export class UpdatePlanDto extends PartialType(OmitType(CreatePlanDto, ['limits']), { skipNullProperties: false }) {
  /** Replaces the whole list: a limit that is not in it is removed, so that users of the plan are unlimited there */
  @AreLimits({ meter: 'api:*', window: 'month', limit: 1_000 })
  limits?: LimitDto[];
}

/** A limit of a plan. */
export class PlanLimitResponse {
  /** @example api:api1 */
  meter!: string;

  /** @example month */
  @ApiProperty({ enum: WINDOWS })
  window!: Window;

  /**
   * null: unlimited
   * @example 1000
   */
  @ApiProperty({ type: 'integer', nullable: true })
  limit!: number | null;
}

/** A set of limits that users share: each of them may use as much. */
export class PlanResponse {
  /** @example free */
  slug!: string;

  /** @example Free */
  name!: string;

  limits!: PlanLimitResponse[];

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  createdAt!: string;

  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  updatedAt!: string;
}

/** One page of plans, newest first. */
export class PlanPage {
  data!: PlanResponse[];

  /**
   * For `?cursor=`; null on the last page
   * @example 2Zk4pQ0x3RkBof1ugjdyjr8j3zQrEbguLA
   */
  nextCursor!: string | null;
}

export function toPlanResponse({ slug, name, limits, createdAt, updatedAt }: PlanState): PlanResponse {
  return {
    slug,
    name,
    limits: limits.flatMap(({ meter, limits: amounts }) =>
      WINDOWS.flatMap((window, i) => {
        const amount = amounts?.[i] ?? null;
        return amount === null ? [] : [{ meter, window, limit: amount === -1 ? null : amount }];
      }),
    ),
    createdAt: createdAt.toISOString(),
    updatedAt: updatedAt.toISOString(),
  };
}
