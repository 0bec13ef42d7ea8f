import { applyDecorators } from '@nestjs/common';
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Type } from 'class-transformer';
import { ArrayMaxSize, IsArray, IsIn, IsInt, IsObject, Max, Min, ValidateIf, ValidateNested } from 'class-validator';
import { ApiTime } from '../common/formats.js';
import { IsMatch, MayBeMissing } from '../common/text.js';
import { WINDOWS, isMeter, isSlug, type Window } from './meters.js';

/** Validates the amount of a limit: a whole number, or null. */
export const IsAmount = (): PropertyDecorator =>
  applyDecorators(
    ApiProperty({ type: 'integer', nullable: true, minimum: 0 }),
    ValidateIf((_object, value) => value !== null),
    IsInt(),
    Min(0),
    Max(Number.MAX_SAFE_INTEGER),
  );

/** Validates the slug of an API or a plan. */
export const IsSlug = (): PropertyDecorator =>
  applyDecorators(
    ApiProperty({ pattern: '^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$', maxLength: 64 }),
    IsMatch('isSlug', isSlug, 'have 1 to 64 lower-case letters (a–z), digits, and hyphens between them'),
  );

/** Maximum number of limits of a plan or key. */
const MAX_LIMITS = 100;

export const IsMeter = (): PropertyDecorator =>
  IsMatch('isMeter', isMeter, 'be resources, tasks, store.entries, store.bytes, api:<slug> or api:*');

export class WindowQuery {
  /** The time window of the limit, in UTC. Default `lifetime`, the only window of a gauge */
  @ApiPropertyOptional({ enum: WINDOWS, example: 'lifetime' })
  @MayBeMissing()
  @IsIn(WINDOWS)
  window?: Window;
}

export class SetQuotaDto extends WindowQuery {
  /**
   * How much may be used: 0 grants nothing, `null` is unlimited
   * @example 50
   */
  @IsAmount()
  limit!: number | null;
}

/** A limit of a plan or a key. */
export class LimitDto extends SetQuotaDto {
  /**
   * The meter: `resources`, `tasks`, `store.entries`, `store.bytes`, `api:<slug>`, or `api:*` for calls to all APIs
   * @example api:api1
   */
  @IsMeter()
  meter!: string;
}

/** The limits of a plan or a key. */
export const AreLimits = (example: LimitDto): PropertyDecorator =>
  applyDecorators(
    Type(() => LimitDto),
    ValidateNested({ each: true }),
    IsObject({ each: true }),
    ArrayMaxSize(MAX_LIMITS),
    IsArray(),
    MayBeMissing(),
    ApiPropertyOptional({ type: [LimitDto], example: [example] }),
  );

/** A limit that was judged, and its usage. */
export class LimitResponse {
  /**
   * Where the limit is set
   * @example user
   */
  scope!: 'platform' | 'plan' | 'user' | 'key';

  /** @example api:api1 */
  meter!: string;

  /** @example day */
  @ApiProperty({ enum: WINDOWS })
  window!: Window;

  /** @example 1000 */
  @ApiProperty({ type: 'integer' })
  limit!: number;

  /** @example 958 */
  @ApiProperty({ type: 'integer' })
  used!: number;

  /**
   * Never below 0
   * @example 42
   */
  @ApiProperty({ type: 'integer' })
  remaining!: number;

  /**
   * When the window ends; null for `lifetime`
   * @example 2026-12-01T00:00:00.000Z
   */
  @ApiTime()
  resetsAt!: string | null;
}

/** A quota: the limit on a meter in a window, and its usage. */
export class QuotaResponse {
  /** @example resources */
  meter!: string;

  /** @example lifetime */
  @ApiProperty({ enum: WINDOWS })
  window!: Window;

  /**
   * null: unlimited
   * @example 50
   */
  @ApiProperty({ type: 'integer', nullable: true })
  limit!: number | null;

  /** @example 12 */
  @ApiProperty({ type: 'integer' })
  used!: number;

  /**
   * Never below 0; null: unlimited
   * @example 38
   */
  @ApiProperty({ type: 'integer', nullable: true })
  remaining!: number | null;

  /**
   * When the window ends; null for `lifetime`
   * @example 2026-12-01T00:00:00.000Z
   */
  @ApiTime()
  resetsAt!: string | null;

  /**
   * Where the limit is set
   * @example user
   */
  scope!: 'platform' | 'plan' | 'user' | 'key';
}

export class QuotaList {
  data!: QuotaResponse[];
}
