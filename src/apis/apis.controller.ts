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
import { ApiPage, ApiResponse, CreateApiDto, UpdateApiDto, toApiResponse } from './api.dto.js';
import { ApisService } from './apis.service.js';

@ApiTags('APIs')
@Controller('v1/apis')
export class ApisController {
  constructor(
    private readonly apis: ApisService,
    private readonly idempotency: Idempotency,
  ) {}

  /** List the catalogue of metered APIs, newest first */
  @Get()
  @Owned('catalogue')
  @Paged()
  async list(@Query() query: PageQuery, @CurrentCaller() caller: Caller): Promise<ApiPage> {
    return mapPage(await this.apis.list(query), (api) => toApiResponse(api, caller.role === 'admin'));
  }

  /** Add an API to the catalogue */
  @Post()
  @AdminOnly()
  @Idempotent()
  @Created('/v1/apis/:slug')
  @Fails('slug_taken')
  @ApiBody({
    type: CreateApiDto,
    examples: {
      text: { summary: 'Return a fixed text', value: { slug: 'maps', name: 'Maps', answer: 'MAPS' } },
      upstream: {
        summary: 'Forward calls',
        value: { slug: 'maps', name: 'Maps', upstream: 'http://127.0.0.1:8080/maps' },
      },
    },
  })
  async create(
    @Body() dto: CreateApiDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<ApiResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      toApiResponse(await this.apis.create(dto, caller, tx), true),
    );
  }

  /** Read an API of the catalogue */
  @Get(':slug')
  @Owned('catalogue')
  @Tagged()
  @Fails('not_found')
  async get(@Param('slug') slug: string, @CurrentCaller() caller: Caller): Promise<ApiResponse> {
    return toApiResponse(await this.apis.get(slug), caller.role === 'admin');
  }

  /** Change an API of the catalogue */
  @Patch(':slug')
  @AdminOnly()
  @Conditional()
  @Fails('not_found')
  @ApiBody({ type: UpdateApiDto, examples: { name: { value: { name: 'Maps' } } } })
  async update(
    @Param('slug') slug: string,
    @Body() dto: UpdateApiDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<ApiResponse> {
    return toApiResponse(await this.apis.update(slug, dto, caller, preconditions), true);
  }

  /** Remove an API from the catalogue */
  @Delete(':slug')
  @AdminOnly()
  @HttpCode(204)
  @Conditional()
  @Fails('not_found')
  async delete(
    @Param('slug') slug: string,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<void> {
    await this.apis.delete(slug, caller, preconditions);
  }
}
