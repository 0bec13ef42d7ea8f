import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsIn, IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { IsStorable, MayBeMissing, MayBeNull } from '../common/text.js';

/** Changes to the platform; what is missing stays. */
export class UpdatePlatformDto {
  /**
   * `closed`: only administrators make accounts
   * @example open
   */
  @MayBeMissing()
  @IsIn(['open', 'closed'])
  registration?: 'open' | 'closed';

  /**
   * How many users, tasks, resources and entries of the store there may be together; `null`: as many as one likes
   * @example 100000
   */
  @ApiPropertyOptional({ type: 'integer', nullable: true, minimum: 0 })
  @MayBeNull()
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  totalObjects?: number | null;

  /**
   * Whether users may together have more credits than `totalObjects`
   * @example false
   */
  @MayBeMissing()
  @IsBoolean()
  creditOverprovisioning?: boolean;

  /** The slug of the plan that new users get for whom none is chosen; `null`: none */
  @ApiPropertyOptional({ type: 'string', nullable: true, maxLength: 64, example: 'free' })
  @MayBeNull()
  @IsString()
  @MaxLength(64)
  @IsStorable()
  defaultPlan?: string | null;
}

/** The platform as a whole. */
export class PlatformResponse {
  /** @example open */
  registration!: 'open' | 'closed';

  /**
   * null: as many as one likes
   * @example 100000
   */
  @ApiProperty({ type: 'integer', nullable: true })
  totalObjects!: number | null;

  /** @example false */
  creditOverprovisioning!: boolean;

  /** @example free */
  defaultPlan!: string | null;
}
