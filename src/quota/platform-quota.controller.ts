import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly } from '../http/caller/access.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { QuotaList, QuotaResponse, SetQuotaDto, WindowQuery } from './quota.dto.js';
import { QuotaService } from './quota.service.js';

@ApiTags('Quotas')
@Controller('v1/platform/quotas')
export class PlatformQuotaController {
  constructor(private readonly quotas: QuotaService) {}

  /** List the platform's quotas: limits on all users together, and their usage */
  @Get()
  @AdminOnly()
  async list(): Promise<QuotaList> {
    return { data: await this.quotas.listOfPlatform() };
  }

  /** Set a quota of the platform; the first quota on a meter starts with the existing usage */
  @Put(':meter')
  @AdminOnly()
  @ApiBody({ type: SetQuotaDto, examples: { calls: { value: { limit: 1_000_000, window: 'month' } } } })
  async set(
    @Param('meter') meter: string,
    @Body() dto: SetQuotaDto,
    @CurrentCaller() caller: Caller,
  ): Promise<QuotaResponse> {
    return this.quotas.setOfPlatform(meter, dto, caller);
  }

  /** Remove a quota of the platform */
  @Delete(':meter')
  @AdminOnly()
  @HttpCode(204)
  async unset(
    @Param('meter') meter: string,
    @Query() query: WindowQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<void> {
    await this.quotas.unsetOfPlatform(meter, query, caller);
  }
}
