import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { Public } from '../http/caller/access.js';
import { Fails } from '../http/docs/api-docs.js';
import { type Attempt } from '../idempotency/idempotency.js';
import { CurrentAttempt, Idempotent } from '../idempotency/idempotent.js';
import { VerifyDto, VerifyResponse } from './verify.dto.js';
import { VerifyService } from './verify.service.js';

@ApiTags('Calls')
@Controller('v1/verify')
export class VerifyController {
  constructor(private readonly verify: VerifyService) {}

  /** Meter a call of an API that you serve yourself: checks the key and spends units */
  @Post()
  @Public()
  @HttpCode(200)
  @Idempotent()
  @Fails('not_found', 'overloaded', 'database_unavailable')
  async spend(@Body() dto: VerifyDto, @CurrentAttempt() attempt: Attempt): Promise<VerifyResponse> {
    return this.verify.verify(dto, attempt);
  }
}
