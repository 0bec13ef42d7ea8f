import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { Transform } from 'class-transformer';
import { IsNumber, Max, Min } from 'class-validator';
import { ApiId } from '../../common/formats.js';
import { IsLength } from '../../common/page.js';
import { LimitResponse } from '../../quota/quota.dto.js';
import { RankedUser } from '../metrics.dto.js';

export class NearLimitsQuery {
  /** Used units by limit: 0.8 lists what is used to 80 % or more */
  @ApiPropertyOptional({ type: 'number', minimum: 0.01, maximum: 1, default: 0.8 })
  @Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d(\.\d{1,4})?$/.test(value) ? +value : value,
  )
  @IsNumber()
  @Min(0.01)
  @Max(1)
  share = 0.8;

  @IsLength(50)
  limit = 50;
}

/** A limit of a user, a plan or a key that is nearly used up. */
export class NearLimitResponse extends LimitResponse {
  user!: RankedUser;

  /**
   * The id of the key; null for a limit of the user or its plan
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  keyId!: string | null;

  /**
   * Used units by limit. Above 1 if the limit was lowered
   * @example 0.92
   */
  @ApiProperty({ type: 'number' })
  share!: number;
}

/** Limits by share in descending order. */
export class NearLimitList {
  data!: NearLimitResponse[];
}
