import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { QuotaModule } from '../quota/quota.module.js';
import { Api } from './api.entity.js';
import { ApisController } from './apis.controller.js';
import { ApisRepository } from './apis.repository.js';
import { ApisService } from './apis.service.js';
import { CallsService } from './calls.service.js';
import { VerifyController } from './verify.controller.js';
import { VerifyService } from './verify.service.js';

/** The metered APIs: the catalogue, calls, and verification for programs that serve their own APIs. */
@Module({
  imports: [TypeOrmModule.forFeature([Api]), QuotaModule],
  controllers: [ApisController, VerifyController],
  providers: [ApisService, ApisRepository, CallsService, VerifyService],
})
export class ApisModule {}
