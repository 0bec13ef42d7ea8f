import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsBoolean, IsIn, IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { IsStorable, MayBeMissing, MayBeNull } from '../common/text.js';

/** Changes to the platform. Missing fields stay as they are. */
export class UpdatePlatformDto {
  /**
   * `open`: anyone can register; `closed`: only administrators create accounts
   * @example open
   */
  @MayBeMissing()
  @IsIn(['open', 'closed'])
  registration?: 'open' | 'closed';

  /**
   * Maximum number of users, tasks, resources and store entries together; `null` is unlimited
   * @example 100000
   */
  @ApiPropertyOptional({ type: 'integer', nullable: true, minimum: 0 })
  @MayBeNull()
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  totalObjects?: number | null;

  /**
   * Whether the sum of all users' credits may exceed `totalObjects`
   * @example false
   */
  @MayBeMissing()
  @IsBoolean()
  creditOverprovisioning?: boolean;

  /** The slug of the plan for new users without an explicit plan; `null` for none */
  @ApiPropertyOptional({ type: 'string', nullable: true, maxLength: 64, example: 'free' })
  @MayBeNull()
  @IsString()
  @MaxLength(64)
  @IsStorable()
  defaultPlan?: string | null;

  /**
   * Whether users may delete their own accounts
   * @example false
   */
  @MayBeMissing()
  @IsBoolean()
  selfDeletion?: boolean;
}

/** The settings of the platform. */
export class PlatformResponse {
  /** @example open */
  registration!: 'open' | 'closed';

  /**
   * Maximum number of objects; null is unlimited
   * @example 100000
   */
  @ApiProperty({ type: 'integer', nullable: true })
  totalObjects!: number | null;

  /** @example false */
  creditOverprovisioning!: boolean;

  /** @example free */
  defaultPlan!: string | null;

  /** @example false */
  selfDeletion!: boolean;
}
