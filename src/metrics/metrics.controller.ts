import { Controller, Get, Param, Query, StreamableFile } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiTags, getSchemaPath } from '@nestjs/swagger';
import { AdminOnly, Owned, SelfOrAdmin } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { headers } from '../http/docs/api-headers.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import {
  MetricsResponse,
  RangeQuery,
  RouteList,
  SeriesQuery,
  SeriesResponse,
  TopList,
  TopQuery,
  UsageQuery,
  UsageResponse,
  UserMetricsResponse,
} from './metrics.dto.js';
import { MetricsService } from './metrics.service.js';
import { UsageExport } from './usage-export.js';

const USAGE_EXAMPLE = `hour,owner,ownerName,key,keyName,meter,granted,denied
2026-11-21T08:00:00.000Z,019aa5d2-0000-7b1a-9d54-3f0f5a1f2b3c,ada,019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c,my server,api:api1,120,3
`;

@ApiTags('Metrics')
@Controller('v1/metrics')
export class MetricsController {
  constructor(
    private readonly metrics: MetricsService,
    private readonly exports: UsageExport,
  ) {}

  /** Read the metrics of the platform */
  @Get()
  @AdminOnly()
  async ofPlatform(): Promise<MetricsResponse> {
    return this.metrics.ofPlatform();
  }

  /** Read the metrics of a user */
  @Get('users/:user')
  @SelfOrAdmin('user')
  @Fails('not_found')
  async ofUser(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<UserMetricsResponse> {
    return this.metrics.ofUser(user, caller);
  }

  /** List the top users by tasks, resources, store entries, calls or requests */
  @Get('top')
  @AdminOnly()
  async top(@Query() query: TopQuery): Promise<TopList> {
    return this.metrics.top(query);
  }

  /** Read usage over time, by hour or day */
  @Get('series')
  @Owned()
  @Fails('forbidden', 'not_found')
  async series(@Query() query: SeriesQuery, @CurrentCaller() caller: Caller): Promise<SeriesResponse> {
    return { data: await this.metrics.series(query, caller) };
  }

  /** Read request counts and average durations by route */
  @Get('routes')
  @AdminOnly()
  async routes(@Query() query: RangeQuery): Promise<RouteList> {
    return { data: await this.metrics.routes(query) };
  }

  /** Export the ledger for billing, by hour, owner, key and meter; without `from`, since the start of the month */
  @Get('usage')
  @AdminOnly()
  @ApiExtraModels(UsageResponse)
  @ApiOkResponse({
    description: 'The lines of the ledger',
    headers: headers('Content-Disposition'),
    content: {
      'application/x-ndjson': { schema: { $ref: getSchemaPath(UsageResponse) } },
      'text/csv': { schema: { type: 'string' }, example: USAGE_EXAMPLE },
    },
  })
  @Fails('overloaded')
  async usage(@Query() query: UsageQuery): Promise<StreamableFile> {
    const { type, fileName, text } = await this.exports.open(query);
    return new StreamableFile(text, { type, disposition: `attachment; filename="${fileName}"` });
  }
}
