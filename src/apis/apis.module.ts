import { Module, type NestModule } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { QuotaModule } from '../quota/quota.module.js';
import { RefusalsModule } from '../refusals/refusals.module.js';
import { Api } from './api.entity.js';
import { ApisController } from './apis.controller.js';
import { ApisRepository } from './apis.repository.js';
import { ApisService } from './apis.service.js';
import { serveCalls } from './call.route.js';
import { CallsService } from './calls.service.js';
import { VerifyController } from './verify.controller.js';
import { VerifyService } from './verify.service.js';

/** The metered APIs: the catalogue, calls, and verification for programs that serve their own APIs. */
@Module({
  imports: [TypeOrmModule.forFeature([Api]), QuotaModule, RefusalsModule],
  controllers: [ApisController, VerifyController],
  providers: [ApisService, ApisRepository, CallsService, VerifyService],
})
export class ApisModule implements NestModule {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly calls: CallsService,
  ) {}

  configure(): Promise<void> {
    return serveCalls(this.host.httpAdapter.getInstance(), this.calls);
  }
}
