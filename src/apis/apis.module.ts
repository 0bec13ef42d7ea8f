import { Module, type NestModule } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { Env } from '../config/env.js';
import { RequestValidationPipe } from '../http/validation.pipe.js';
import { QuotaModule } from '../quota/quota.module.js';
import { RefusalsModule } from '../refusals/refusals.module.js';
import { Api } from './api.entity.js';
import { ApisController } from './apis.controller.js';
import { ApisRepository } from './apis.repository.js';
import { ApisService } from './apis.service.js';
import { serveCalls } from './call.route.js';
import { CallsService } from './calls.service.js';
import { serveForwardAuth } from './forward-auth.route.js';
import { VerifyController } from './verify.controller.js';
import { VerifyService } from './verify.service.js';

/**
 * The metered APIs: the catalogue, calls, forward auth for gateways, and verification for programs that serve
 * their own APIs.
 */
@Module({
  imports: [TypeOrmModule.forFeature([Api]), QuotaModule, RefusalsModule],
  controllers: [ApisController, VerifyController],
  providers: [ApisService, ApisRepository, CallsService, VerifyService],
})
export class ApisModule implements NestModule {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly calls: CallsService,
    private readonly env: Env,
  ) {}

  async configure(): Promise<void> {
    const server = this.host.httpAdapter.getInstance<FastifyInstance>();
    await serveCalls(server, this.calls);
    await serveForwardAuth(server, this.calls, new RequestValidationPipe(this.env));
  }
}
