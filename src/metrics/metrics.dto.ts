import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import { IsIn } from 'class-validator';
import { ApiEmail, ApiId, ApiTime } from '../common/formats.js';
import { IsUserReference } from '../http/caller/owner.js';
import { IsLength } from '../common/page.js';
import { IsMatch, IsMoment, MayBeMissing } from '../common/text.js';
import { ALL_CALLS, isFlow, isMeter } from '../quota/meters.js';

/** Criteria of the top lists. */
export const RANKED_BY = ['tasks', 'resources', 'storeEntries', 'calls', 'requests'] as const;

export type RankedBy = (typeof RANKED_BY)[number];

/** Requests to the REST API. Not a meter, but has a series too. */
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

/** The formats that `IsMoment` accepts. */
const DAY_OR_TIME = {
  anyOf: [
    { type: 'string', format: 'date' },
    { type: 'string', format: 'date-time' },
  ],
};

/** A time range. */
export class RangeQuery {
  @ApiPropertyOptional({
    ...DAY_OR_TIME,
    description: 'Start of the range: a day (UTC), or a time with an offset. Rounded down to the full hour or day',
    example: '2026-11-01',
  })
  @MayBeMissing()
  @IsMoment()
  from?: string;

  @ApiPropertyOptional({
    ...DAY_OR_TIME,
    description: 'End of the range, exclusive, in the same format. Rounded up to the full hour or day. Default: now',
    example: '2026-11-21T12:00:00Z',
  })
  @MayBeMissing()
  @IsMoment()
  to?: string;
}

export class SeriesQuery extends RangeQuery {
  @ApiPropertyOptional({
    description:
      '`api:<slug>` for calls to one API, `api:*` for calls to all APIs, or `requests` for requests to this API',
    default: ALL_CALLS,
  })
  @IsMatch(
    'isSeries',
    (value) => value === REQUESTS || (isMeter(value) && isFlow(value)),
    `be api:<slug>, ${ALL_CALLS} or ${REQUESTS}; gauges have no series`,
  )
  meter: string = ALL_CALLS;

  @ApiPropertyOptional({ enum: STEPS, default: 'hour', description: 'Length of a step, in UTC' })
  @IsIn(STEPS)
  step: Step = 'hour';

  @IsUserReference(
    'The user: id, username, e-mail or `me`. Default: all users for administrators, otherwise the caller',
  )
  user?: string;
}

export class UsageQuery extends RangeQuery {
  @ApiPropertyOptional({
    enum: ['json', 'csv'],
    default: 'json',
    description: '`json`: one JSON object per line (NDJSON)',
  })
  @IsIn(['json', 'csv'])
  format: 'json' | 'csv' = 'json';
}

/** Numbers of objects on the platform. */
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
   * Sum of all finite credits: limits of users or of their plans, and unexpired grants
   * @example 2000
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Number of tasks
   * @example 1200
   */
  @ApiProperty({ type: 'integer' })
  used!: number;
}

export class CallsResponse {
  /**
   * Units granted
   * @example 958000
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls denied by a limit
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

/** Metrics of the platform. */
export class MetricsResponse {
  /**
   * The moment that the numbers describe: at most 5 seconds ago
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  asOf!: string;

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
   * Size of keys and values in bytes
   * @example 48000
   */
  @ApiProperty({ type: 'integer' })
  bytes!: number;
}

export class UserCallsResponse extends CallsResponse {
  /** Calls by the slug of the API */
  @ApiProperty({
    type: 'object',
    additionalProperties: { $ref: '#/components/schemas/CallsResponse' },
    example: { api1: { granted: 958, denied: 2 } },
  })
  byApi!: Record<string, CallsResponse>;
}

/** Metrics of a user. */
export class UserMetricsResponse {
  /**
   * Tasks that the user may have at once, including bonus credits; null is unlimited
   * @example 15
   */
  @ApiProperty({ type: 'integer', nullable: true })
  credits!: number | null;

  /**
   * Never below 0; null is unlimited
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
   * Position in the list, starting at 1
   * @example 1
   */
  @ApiProperty({ type: 'integer' })
  rank!: number;

  user!: RankedUser;

  /** @example 42 */
  @ApiProperty({ type: 'integer' })
  value!: number;
}

/** Users by value in descending order. Users with equal values are listed by creation time, oldest first. */
export class TopList {
  data!: RankResponse[];
}

export class PointResponse {
  /**
   * Start of the hour or day
   * @example 2026-11-21T08:00:00.000Z
   */
  @ApiTime()
  at!: string;

  /**
   * Units granted, or requests answered with a status below 400
   * @example 120
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls denied by a limit, or requests answered with a status of 400 or above
   * @example 3
   */
  @ApiProperty({ type: 'integer' })
  denied!: number;
}

/** One point per hour or day. Steps without data have zeros. */
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

/** Requests by route, most requests first. */
export class RouteList {
  data!: RouteResponse[];
}

/** A line of the ledger: the usage of an API by a key in an hour. */
export class UsageResponse {
  /** @example 2026-11-21T08:00:00.000Z */
  @ApiTime()
  hour!: string;

  /**
   * The id of the user; kept after the user is deleted
   * @example 019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c
   */
  @ApiId()
  owner!: string;

  /**
   * The username, or else the e-mail; null if the user was deleted
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
   * The name of the key; null if the key was deleted
   * @example my server
   */
  keyName!: string | null;

  /** @example api:api1 */
  meter!: string;

  /**
   * Units granted
   * @example 120
   */
  @ApiProperty({ type: 'integer' })
  granted!: number;

  /**
   * Calls denied by a limit
   * @example 3
   */
  @ApiProperty({ type: 'integer' })
  denied!: number;
}
