import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { Owned } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Conditional, CurrentPreconditions, Tagged, type Preconditions } from '../http/conditional/etag.js';
import { Created } from '../http/conditional/location.js';
import { IdPipe } from '../http/caller/id.pipe.js';
import { Paged } from '../http/conditional/page-link.js';
import { mapPage } from '../common/page.js';
import { Idempotency, type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import {
  CreateResourceDto,
  ListResourcesQuery,
  ResourcePage,
  ResourceResponse,
  toResourceResponse,
} from './resource.dto.js';
import { ResourcesService } from './resources.service.js';

@ApiTags('Resources')
@Controller('v1/resources')
export class ResourcesController {
  constructor(
    private readonly resources: ResourcesService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Create a resource and charge its owner's quota */
  @Post()
  @Owned()
  @Idempotent()
  @Created('/v1/resources/:id')
  @Fails('quota_exceeded', 'forbidden', 'not_found', 'overloaded')
  @ApiBody({ type: CreateResourceDto, examples: { resource: { value: { value: 'a text of mine' } } } })
  async create(
    @Body() dto: CreateResourceDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<ResourceResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      toResourceResponse(await this.resources.create(dto, caller, tx)),
    );
  }

  /** List resources, newest first */
  @Get()
  @Owned()
  @Paged()
  @Fails('validation_failed', 'forbidden', 'not_found')
  async list(@Query() query: ListResourcesQuery, @CurrentCaller() caller: Caller): Promise<ResourcePage> {
    return mapPage(await this.resources.list(query, caller), toResourceResponse);
  }

  /** Read a resource */
  @Get(':id')
  @Owned()
  @Tagged()
  @Fails('not_found')
  async get(@Param('id', IdPipe) id: string, @CurrentCaller() caller: Caller): Promise<ResourceResponse> {
    return toResourceResponse(await this.resources.get(id, caller));
  }

  /** Delete a resource and release its quota */
  @Delete(':id')
  @Owned()
  @HttpCode(204)
  @Conditional()
  @Fails('not_found')
  async delete(
    @Param('id', IdPipe) id: string,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<void> {
    await this.resources.delete(id, caller, preconditions);
  }
}
