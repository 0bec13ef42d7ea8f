import { Body, Controller, Get, Param, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly, SelfOrAdmin } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Created } from '../http/conditional/location.js';
import { Paged } from '../http/conditional/page-link.js';
import { PageQuery, mapPage } from '../common/page.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { CreditGrantPage, CreditGrantResponse, GrantCreditsDto, toCreditGrantResponse } from './credit.dto.js';
import { CreditsService } from './credits.service.js';

@ApiTags('Tasks')
@Controller('v1/users/:user/credits')
export class CreditsController {
  constructor(
    private readonly credits: CreditsService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Grant bonus credits in addition to the user’s limit, with or without an expiry */
  @Post()
  @AdminOnly()
  @Idempotent()
  @Created('/v1/users/:user/credits', { isTagged: false })
  @Fails('not_found', 'credits_overprovisioned')
  @ApiBody({ type: GrantCreditsDto, examples: { bonus: { value: { amount: 5, reason: 'Thanks for the report' } } } })
  async grant(
    @Param('user') user: string,
    @Body() dto: GrantCreditsDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<CreditGrantResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      toCreditGrantResponse(await this.credits.grant(user, dto, caller, tx)),
    );
  }

  /** List the bonus credits of a user, newest first */
  @Get()
  @SelfOrAdmin('user')
  @Paged()
  @Fails('validation_failed', 'not_found')
  async list(
    @Param('user') user: string,
    @Query() query: PageQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<CreditGrantPage> {
    return mapPage(await this.credits.list(user, query, caller), toCreditGrantResponse);
  }
}
