import { Controller, Get, Query } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Owned } from '../http/caller/access.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Paged } from '../http/conditional/page-link.js';
import { Fails } from '../http/docs/api-docs.js';
import { mapPage } from '../common/page.js';
import { ListRefusalsQuery, RefusalPage, toRefusalResponse } from './refusal.dto.js';
import { RefusalsService } from './refusals.service.js';

@ApiTags('Metrics')
@Controller('v1/metrics/refusals')
export class RefusalsController {
  constructor(private readonly refusals: RefusalsService) {}

  /** List the last refused calls, newest first: at most a day old, and of each owner the last thousand */
  @Get()
  @Owned()
  @Paged()
  @Fails('forbidden', 'not_found')
  async list(@Query() query: ListRefusalsQuery, @CurrentCaller() caller: Caller): Promise<RefusalPage> {
    return mapPage(await this.refusals.list(query, caller), toRefusalResponse);
  }
}
