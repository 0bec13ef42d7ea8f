import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn, IsInt, Max, Min, ValidateIf } from 'class-validator';
import { MayBeMissing } from '../common/text.js';
import { WINDOWS, type Window } from './meters.js';

export class WindowQuery {
  /** In what stretch of time the limit counts; a gauge knows only `lifetime` */
  @ApiPropertyOptional({ example: 'lifetime' })
  @MayBeMissing()
  @IsIn(WINDOWS)
  window?: Window;
}

export class SetQuotaDto extends WindowQuery {
  /**
   * How much may be used; 0 is nothing, `null` is unlimited
   * @example 50
   */
  @ApiProperty({ type: 'integer', nullable: true })
  @ValidateIf((_object, value) => value !== null)
  @IsInt()
  @Min(0)
  @Max(Number.MAX_SAFE_INTEGER)
  limit!: number | null;
}

/** A limit and how much of it is used. */
export class QuotaResponse {
  /** @example resources */
  meter!: string;

  /** @example lifetime */
  window!: string;

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
  resetsAt!: string | null;

  /**
   * Whose limit it is: `platform`, `plan`, `user` or `key`
   * @example user
   */
  scope!: string;
}

export class QuotaList {
  data!: QuotaResponse[];
}
