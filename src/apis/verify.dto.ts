import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { ApiId } from '../common/formats.js';
import { MayBeMissing } from '../common/text.js';
import { LimitResponse } from '../quota/quota.dto.js';

/** Bounds the cost so that no realistic sum of costs exceeds what PostgreSQL and a double can hold. */
export const MAX_COST = 1_000_000_000;

export class VerifyDto {
  /** The API key that your client sent to you */
  @ApiProperty({ example: 'qm_0bX3q7VtGm9yK2aWc5dEfHjLnPrTvXzB1D3F5H7J9Lo0aBcD1' })
  @IsString()
  @MaxLength(1_024)
  key!: string;

  /** The slug of the API that the client calls */
  @ApiProperty({ example: 'api1' })
  @IsString()
  @MaxLength(64)
  api!: string;

  /** The units that the call costs */
  @ApiPropertyOptional({ type: 'integer', minimum: 1, maximum: MAX_COST, default: 1, example: 1 })
  @MayBeMissing()
  @IsInt()
  @Min(1)
  @Max(MAX_COST)
  cost?: number;

  /** Check the limits, but charge nothing */
  @ApiPropertyOptional({ default: false, example: false })
  @MayBeMissing()
  @IsBoolean()
  dryRun?: boolean;
}

/** The result of the check. */
export class VerifyResponse {
  allowed!: boolean;

  /** `ok`, or the reason for the denial */
  @ApiProperty({
    enum: ['ok', 'invalid_api_key', 'account_disabled', 'scope_denied', 'quota_exceeded'],
    example: 'ok',
  })
  code!: string;

  /**
   * The id of the key; null if the key is not valid
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  keyId!: string | null;

  /**
   * The id of the user who owns the key
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string | null;

  /** Every limit that was checked, in its state after this call */
  limits!: LimitResponse[];
}
