import { ApiProperty, OmitType, PartialType } from '@nestjs/swagger';
import { ApiTime } from '../common/formats.js';
import { IsLabel } from '../common/text.js';
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

  /** The display name */
  @ApiProperty({ example: 'Free', minLength: 1, maxLength: 100 })
  @IsLabel(100)
  name!: string;

  /** The limits of each user with the plan */
  @AreLimits({ meter: 'api:*', window: 'month', limit: 1_000 })
  limits?: LimitDto[];
}

/** Changes to a plan. Missing fields stay as they are. They apply to all its users from the next request. */
export class UpdatePlanDto extends PartialType(OmitType(CreatePlanDto, ['limits']), { skipNullProperties: false }) {
  /** Replaces the whole list. The plan no longer limits meters and windows that are not in it */
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
   * The limit; null is unlimited
   * @example 1000
   */
  @ApiProperty({ type: 'integer', nullable: true })
  limit!: number | null;
}

/** A named set of limits. They apply to each user with the plan separately. */
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
   * The value for `?cursor=` of the next page; null on the last page
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
