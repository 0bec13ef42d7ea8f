import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import { ApiEmail, ApiId, ApiTime } from '../common/formats.js';
import { IsUserReference } from '../common/owner.js';
import { IsLength } from '../common/page.js';
import { IsMatch, IsMoment, MayBeMissing } from '../common/text.js';
import { ALL_CALLS, isFlow, isMeter } from '../quota/meters.js';

/** What users can be listed by. */
export const RANKED_BY = ['tasks', 'resources', 'storeEntries', 'calls', 'requests'] as const;

export type RankedBy = (typeof RANKED_BY)[number];

/** Requests to the API itself: no meter, but counted likewise. */
export const REQUESTS = 'requests';

export const STEPS = ['hour', 'day'] as const;

export type Step = (typeof STEPS)[number];

export class TopQuery {
  @ApiPropertyOptional({ enum: RANKED_BY, default: 'tasks' })
  @IsIn(RANKED_BY)
  by: RankedBy = 'tasks';

  @IsLength(10)
  limit = 10;
}

/** What `IsMoment` takes. */
const DAY_OR_TIME = {
  anyOf: [
    { type: 'string', format: 'date' },
    { type: 'string', format: 'date-time' },
  ],
};

/** A stretch of time. */
export class RangeQuery {
  @ApiPropertyOptional({
    ...DAY_OR_TIME,
    description: 'Where it begins: a day (UTC), or a time with its offset; taken down to the full hour or day',
    example: '2026-11-01',
  })
  @MayBeMissing()
  @IsMoment()
  from?: string;

  @ApiPropertyOptional({
    ...DAY_OR_TIME,
    description: 'Where it ends, exclusive: likewise, taken up to the full hour or day; now where it is missing',
    example: '2026-11-21T12:00:00Z',
  })
  @MayBeMissing()
  @IsMoment()
  to?: string;
}

export class SeriesQuery extends RangeQuery {
  @ApiPropertyOptional({
    description: 'What is counted: `api:<slug>`, `api:*` for the calls of all APIs, or `requests` to the API itself',
    default: ALL_CALLS,
  })
  @IsMatch(
    'isSeries',
    (value) => value === REQUESTS || (isMeter(value) && isFlow(value)),
    `be api:<slug>, ${ALL_CALLS} or ${REQUESTS}: what exists has no series`,
  )
  meter: string = ALL_CALLS;

  @ApiPropertyOptional({ enum: STEPS, default: 'hour', description: 'In UTC' })
  @IsIn(STEPS)
  step: Step = 'hour';

  @IsUserReference(
    'Whose (id, username, e-mail or `me`). Missing: everyone’s for administrators, else the caller’s own',
  )
  user?: string;
}

export class UsageQuery extends RangeQuery {
  @ApiPropertyOptional({ enum: ['json', 'csv'], default: 'json', description: '`json`: a JSON object a line (NDJSON)' })
  @IsIn(['json', 'csv'])
  format: 'json' | 'csv' = 'json';
}

/** What exists on the platform. */
export class ObjectsResponse {
  /** @example 5230 */
  @ApiProperty({ type: 'integer' })
  total!: number;

  /** @example 30 */
  @ApiProperty({ type: 'integer' })
  users!: number;

  /** @example 1200 */
  @ApiProperty({ type: 'integer' })
  tasks!: number;

  /** @example 1000 */
  @ApiProperty({ type: 'integer' })
  resources!: number;

  /** @example 3000 */
  @ApiProperty({ type: 'integer' })
  storeEntries!: number;
}

export class CreditsResponse {
  /**
   * All finite credits together: limits of users and of their plans, and grants that have not expired
   * @example 2000
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Tasks that exist
   * @example 1200
   */
  @ApiProperty({ type: 'integer' })
  used!: number;
}

export class CallsResponse {
  /**
   * Units
   * @example 958000
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls that a limit refused
   * @example 1200
   */
  @ApiProperty({ type: 'integer' })
  denied!: number;
}

export class RequestsResponse {
  /** @example 1000000 */
  @ApiProperty({ type: 'integer' })
  total!: number;

  /**
   * Answered with 400 or above
   * @example 1500
   */
  @ApiProperty({ type: 'integer' })
  errors!: number;
}

/** The platform in numbers. */
export class MetricsResponse {
  /** @example 30 */
  @ApiProperty({ type: 'integer' })
  users!: number;

  objects!: ObjectsResponse;
  credits!: CreditsResponse;
  calls!: CallsResponse;
  requests!: RequestsResponse;
}

export class UserTasksResponse {
  /** @example 12 */
  @ApiProperty({ type: 'integer' })
  total!: number;

  /** @example 5 */
  @ApiProperty({ type: 'integer' })
  completed!: number;
}

export class UserStoreResponse {
  /** @example 120 */
  @ApiProperty({ type: 'integer' })
  entries!: number;

  /**
   * Of keys and values
   * @example 48000
   */
  @ApiProperty({ type: 'integer' })
  bytes!: number;
}

export class UserCallsResponse extends CallsResponse {
  /** By the slug of the API */
  @ApiProperty({
    type: 'object',
    additionalProperties: { $ref: '#/components/schemas/CallsResponse' },
    example: { api1: { granted: 958, denied: 2 } },
  })
  byApi!: Record<string, CallsResponse>;
}

/** A user in numbers. */
export class UserMetricsResponse {
  /**
   * Tasks the user may have at once, bonus credits included; null: unlimited
   * @example 15
   */
  @ApiProperty({ type: 'integer', nullable: true })
  credits!: number | null;

  /**
   * Never below 0; null: unlimited
   * @example 3
   */
  @ApiProperty({ type: 'integer', nullable: true })
  remainingCredits!: number | null;

  tasks!: UserTasksResponse;

  /** @example 40 */
  @ApiProperty({ type: 'integer' })
  resources!: number;

  store!: UserStoreResponse;
  calls!: UserCallsResponse;
  requests!: RequestsResponse;
}

export class RankedUser {
  /** @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c */
  @ApiId()
  id!: string;

  /** @example ada */
  username!: string | null;

  /** @example ada@example.com */
  @ApiEmail()
  email!: string | null;
}

export class RankResponse {
  /**
   * From 1 on
   * @example 1
   */
  @ApiProperty({ type: 'integer' })
  rank!: number;

  user!: RankedUser;

  /** @example 42 */
  @ApiProperty({ type: 'integer' })
  value!: number;
}

/** Who has most, most first; of equals who was created first. */
export class TopList {
  data!: RankResponse[];
}

export class PointResponse {
  /**
   * When the hour or day began
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  at!: string;

  /**
   * Units; requests answered below 400
   * @example 120
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls that a limit refused; requests answered with 400 or above
   * @example 3
   */
  @ApiProperty({ type: 'integer' })
  denied!: number;
}

/** One point an hour or a day, also where nothing happened. */
export class SeriesResponse {
  data!: PointResponse[];
}

export class RouteResponse {
  /** @example GET */
  method!: string;

  /** @example /v1/users/:user */
  route!: string;

  /** @example 12000 */
  @ApiProperty({ type: 'integer' })
  requests!: number;

  /**
   * Answered with 400 to 499
   * @example 12
   */
  @ApiProperty({ type: 'integer' })
  clientErrors!: number;

  /**
   * Answered with 500 or above
   * @example 0
   */
  @ApiProperty({ type: 'integer' })
  serverErrors!: number;

  /** @example 1.7 */
  averageMilliseconds!: number;
}

/** What was asked of each route, most asked first. */
export class RouteList {
  data!: RouteResponse[];
}

/** What a key used of an API in an hour: a line of the ledger. */
export class UsageResponse {
  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  hour!: string;

  /**
   * The id of the user, also of one that is gone
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string;

  /**
   * The username, else the e-mail; null: the user is gone
   * @example ada
   */
  ownerName!: string | null;

  /**
   * The id of the key
   * @example 019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  key!: string;

  /**
   * The name of the key; null: the key is gone
   * @example my server
   */
  keyName!: string | null;

  /** @example api:api1 */
  meter!: string;

  /**
   * Units
   * @example 120
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls that a limit refused
   * @example 3
   */
  @ApiProperty({ type: 'integer' })
  denied!: number;
}
