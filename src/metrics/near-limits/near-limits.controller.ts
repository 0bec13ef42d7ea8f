import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { AdminOnly } from '../../http/caller/access.js';
import { NearLimitList, NearLimitsQuery } from './near-limit.dto.js';
import { NearLimitsService } from './near-limits.service.js';

@ApiTags('Metrics')
@Controller('v1/metrics/near-limits')
export class NearLimitsController {
  constructor(private readonly limits: NearLimitsService) {}

  /** List the limits of users, plans and keys that are nearly used up; limits of the platform are not included */
  @Get()
  @AdminOnly()
  async list(@Query() query: NearLimitsQuery): Promise<NearLimitList> {
    return { data: await this.limits.list(query) };
  }
}
