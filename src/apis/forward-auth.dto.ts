import { Transform } from 'class-transformer';
import { IsIn, IsInt, IsString, Max, MaxLength, Min } from 'class-validator';
import { MayBeMissing } from '../common/text.js';
import { MAX_COST } from './verify.dto.js';

/** Statuses that gateways understand as a denial. */
export const DENY_STATUSES = ['401', '403'] as const;

/** The query of `/v1/forward-auth`, which the configuration of the gateway contains. */
export class ForwardAuthQuery {
  /** The slug of the API. Missing: the header `X-Quartermaster-Api` has it. */
  @MayBeMissing()
  @IsString()
  @MaxLength(64)
  api?: string;

  // Accepts decimal digits only, like IsLength.
  @Transform(({ value }: { value: unknown }) =>
    typeof value === 'string' && /^\d{1,10}$/.test(value) ? +value : value,
  )
  @IsInt()
  @Min(1)
  @Max(MAX_COST)
  cost = 1;

  /** Replaces the statuses 402 and 429. */
  @MayBeMissing()
  @IsIn(DENY_STATUSES)
  denyStatus?: (typeof DENY_STATUSES)[number];
}
