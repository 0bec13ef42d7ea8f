import { Body, Controller, Delete, Get, HttpCode, Param, Put, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly, SelfOrAdmin } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { QuotaList, QuotaResponse, SetQuotaDto, WindowQuery } from './quota.dto.js';
import { QuotaService } from './quota.service.js';

@ApiTags('Quotas')
@Controller('v1/users/:user/quotas')
export class QuotaController {
  constructor(private readonly quotas: QuotaService) {}

  /** List a user's quotas and their usage */
  @Get()
  @SelfOrAdmin('user')
  @Fails('not_found')
  async list(@Param('user') user: string, @CurrentCaller() caller: Caller): Promise<QuotaList> {
    return { data: await this.quotas.list(user, caller) };
  }

  /** Set a quota; it applies from the next request */
  @Put(':meter')
  @AdminOnly()
  @Fails('not_found', 'credits_overprovisioned')
  @ApiBody({ type: SetQuotaDto, examples: { objects: { value: { limit: 50 } } } })
  async set(
    @Param('user') user: string,
    @Param('meter') meter: string,
    @Body() dto: SetQuotaDto,
    @CurrentCaller() caller: Caller,
  ): Promise<QuotaResponse> {
    return this.quotas.set(user, meter, dto, caller);
  }

  /** Remove a user's quota; the limit of the plan applies again, if any */
  @Delete(':meter')
  @AdminOnly()
  @HttpCode(204)
  @Fails('not_found', 'credits_overprovisioned')
  async unset(
    @Param('user') user: string,
    @Param('meter') meter: string,
    @Query() query: WindowQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<void> {
    await this.quotas.unset(user, meter, query, caller);
  }
}
