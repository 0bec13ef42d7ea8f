import { Body, Controller, Delete, Get, HttpCode, Param, Patch, Post, Put, Query } from '@nestjs/common';
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
import { QuotaResponse, SetQuotaDto, WindowQuery } from '../quota/quota.dto.js';
import {
  CreateKeyDto,
  IssuedKeyResponse,
  KeyPage,
  KeyResponse,
  ListKeysQuery,
  RotateKeyDto,
  UpdateKeyDto,
  toKeyResponse,
} from './key.dto.js';
import { KeysService, type IssuedKey } from './keys.service.js';

@ApiTags('Keys')
@Controller('v1/keys')
export class KeysController {
  constructor(
    private readonly keys: KeysService,
    private readonly idempotency: Idempotency,
  ) {}

  /** Create an API key; its secret is returned only this once */
  @Post()
  @Owned()
  @Idempotent()
  @Created('/v1/keys/:id', { isTagged: false })
  @Fails('forbidden', 'not_found')
  @ApiBody({
    type: CreateKeyDto,
    examples: {
      key: { value: { name: 'my server', scopes: ['api1'] } },
      limited: {
        summary: 'With its own limit',
        value: {
          ...{ name: 'my server', scopes: ['api1'] },
          limits: [{ meter: 'api:api1', window: 'minute', limit: 100 }],
        },
      },
    },
  })
  async create(
    @Body() dto: CreateKeyDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<IssuedKeyResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      toIssuedKeyResponse(await this.keys.create(dto, caller, tx)),
    );
  }

  /** List API keys, newest first */
  @Get()
  @Owned()
  @Paged()
  @Fails('forbidden', 'not_found')
  async list(@Query() query: ListKeysQuery, @CurrentCaller() caller: Caller): Promise<KeyPage> {
    return mapPage(await this.keys.list(query, caller), toKeyResponse);
  }

  /** Read an API key with its limits, usage and last use */
  @Get(':id')
  @Owned()
  @Tagged()
  @Fails('not_found')
  async get(@Param('id', IdPipe) id: string, @CurrentCaller() caller: Caller): Promise<KeyResponse> {
    return toKeyResponse(await this.keys.get(id, caller));
  }

  /** Change an API key, or disable it */
  @Patch(':id')
  @Owned()
  @Conditional()
  @Fails('not_found')
  @ApiBody({
    type: UpdateKeyDto,
    examples: {
      name: { value: { name: 'my server' } },
      disable: { summary: 'Disable the key', value: { disabled: true } },
    },
  })
  async update(
    @Param('id', IdPipe) id: string,
    @Body() dto: UpdateKeyDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<KeyResponse> {
    return toKeyResponse(await this.keys.update(id, dto, caller, preconditions));
  }

  /** Revoke an API key; its recorded usage stays */
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
    await this.keys.delete(id, caller, preconditions);
  }

  /** Give an API key a new secret; it keeps its id, limits and counts */
  @Post(':id/rotate')
  @Owned()
  @Idempotent()
  @Created('/v1/keys/:id', { isTagged: false })
  @Fails('not_found')
  @ApiBody({ type: RotateKeyDto, required: false })
  async rotate(
    @Param('id', IdPipe) id: string,
    @Body() dto: RotateKeyDto,
    @CurrentCaller() caller: Caller,
    @CurrentAttempt() attempt: Attempt,
  ): Promise<IssuedKeyResponse> {
    return this.idempotency.respond(attempt, async (tx) =>
      toIssuedKeyResponse(await this.keys.rotate(id, dto, caller, tx)),
    );
  }

  /** Set a limit of an API key; its owner may only lower a limit, administrators may also raise it */
  @Put(':id/quotas/:meter')
  @Owned()
  @Fails('forbidden', 'not_found')
  @ApiBody({ type: SetQuotaDto, examples: { calls: { value: { limit: 100, window: 'minute' } } } })
  async setQuota(
    @Param('id', IdPipe) id: string,
    @Param('meter') meter: string,
    @Body() dto: SetQuotaDto,
    @CurrentCaller() caller: Caller,
  ): Promise<QuotaResponse> {
    return this.keys.setQuota(id, meter, dto, caller);
  }

  /** Remove a limit of an API key. Only administrators can remove a limit; if there is none, anyone gets 204 */
  @Delete(':id/quotas/:meter')
  @Owned()
  @HttpCode(204)
  @Fails('forbidden', 'not_found')
  async unsetQuota(
    @Param('id', IdPipe) id: string,
    @Param('meter') meter: string,
    @Query() query: WindowQuery,
    @CurrentCaller() caller: Caller,
  ): Promise<void> {
    await this.keys.unsetQuota(id, meter, query, caller);
  }
}

function toIssuedKeyResponse(issued: IssuedKey): IssuedKeyResponse {
  return { ...toKeyResponse(issued), key: issued.secret };
}
