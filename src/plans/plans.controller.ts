import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly, Owned } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Conditional, CurrentPreconditions, Tagged, type Preconditions } from '../http/conditional/etag.js';
import { Created } from '../http/conditional/location.js';
import { Paged } from '../http/conditional/page-link.js';
import { PageQuery, mapPage } from '../common/page.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { CreatePlanDto, PlanPage, PlanResponse, UpdatePlanDto, toPlanResponse } from './plan.dto.js';
import { PlansService } from './plans.service.js';

@ApiTags('Plans')
@Controller('v1/plans')
export class PlansController {
  constructor(
    private readonly plans: PlansService,
    private readonly idempotency: Idempotency,
  ) {}

  /** List plans, newest first */
  @Get()
  @Owned('catalogue')
  @Paged()
  async list(@Query() query: PageQuery): Promise<PlanPage> {
    return mapPage(await this.plans.list(query), toPlanResponse);
  }

  /** Create a plan */
  @Post()
  @AdminOnly()
  @Idempotent()
  @Created('/v1/plans/:slug')
  @Fails('slug_taken')
  async create(
    @Body() dto: CreatePlanDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<PlanResponse> {
    return this.idempotency.respond(attempt, async (tx) => toPlanResponse(await this.plans.create(dto, caller, tx)));
  }

  /** Read a plan */
  @Get(':slug')
  @Owned('catalogue')
  @Tagged()
  @Fails('not_found')
  async get(@Param('slug') slug: string): Promise<PlanResponse> {
    return toPlanResponse(await this.plans.get(slug));
  }

  /** Change a plan; the change applies to its users from the next request */
  @Patch(':slug')
  @AdminOnly()
  @Conditional()
  @Fails('not_found', 'slug_taken', 'credits_overprovisioned')
  @ApiBody({
    type: UpdatePlanDto,
    examples: {
      name: { value: { name: 'Free' } },
      limits: {
        summary: 'Replace all limits',
        value: { limits: [{ meter: 'api:*', window: 'month', limit: 1_000 }] },
      },
    },
  })
  async update(
    @Param('slug') slug: string,
    @Body() dto: UpdatePlanDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<PlanResponse> {
    return toPlanResponse(await this.plans.update(slug, dto, caller, preconditions));
  }

  /** Delete a plan that no user has */
  @Delete(':slug')
  @AdminOnly()
  @HttpCode(204)
  @Conditional()
  @Fails('not_found', 'plan_in_use')
  async delete(
    @Param('slug') slug: string,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<void> {
    await this.plans.delete(slug, caller, preconditions);
  }
}
