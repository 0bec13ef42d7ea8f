import { Body, Controller, Get, Patch } from '@nestjs/common';
import { ApiBody, ApiTags } from '@nestjs/swagger';
import { AdminOnly } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { CurrentCaller, type Caller } from '../http/caller/caller.js';
import { Conditional, CurrentPreconditions, Tagged, type Preconditions } from '../http/conditional/etag.js';
import { PlatformResponse, UpdatePlatformDto } from './platform.dto.js';
import { PlatformService } from './platform.service.js';

@ApiTags('Platform')
@Controller('v1/platform')
export class PlatformController {
  constructor(private readonly platform: PlatformService) {}

  /** Read the platform’s settings */
  @Get()
  @AdminOnly()
  @Tagged()
  async get(): Promise<PlatformResponse> {
    return this.platform.get();
  }

  /** Change the platform’s settings; the first `totalObjects` counts existing objects */
  @Patch()
  @AdminOnly()
  @Conditional()
  @Fails('credits_overprovisioned')
  @ApiBody({
    type: UpdatePlatformDto,
    examples: {
      credits: { value: { creditOverprovisioning: false } },
      objects: { summary: 'Bound all objects', value: { totalObjects: 100_000 } },
    },
  })
  async update(
    @Body() dto: UpdatePlatformDto,
    @CurrentCaller() caller: Caller,
    @CurrentPreconditions() preconditions: Preconditions,
  ): Promise<PlatformResponse> {
    return this.platform.update(dto, caller, preconditions);
  }
}
