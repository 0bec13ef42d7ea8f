import { Module, type NestModule } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { PlatformModule } from '../platform/platform.module.js';
import { UsersModule } from '../users/users.module.js';
import { CallRanks } from './calls/call-ranks.js';
import { PlatformQuotaController } from './platform-quota.controller.js';
import { PlatformQuota } from './platform-quota.entity.js';
import { QuotaController } from './quota.controller.js';
import { Quota } from './quota.entity.js';
import { QuotaRepository } from './quota.repository.js';
import { QuotaService } from './quota.service.js';
import { Spender } from './calls/spender.js';
import { SpendsRepository } from './calls/spends.repository.js';
import { UsageHour } from './calls/usage-hour.entity.js';

/** The quota engine: limits, usage and spends. */
@Module({
  imports: [TypeOrmModule.forFeature([Quota, PlatformQuota, UsageHour]), UsersModule, PlatformModule],
  controllers: [QuotaController, PlatformQuotaController],
  providers: [
    QuotaService,
    QuotaRepository,
    SpendsRepository,
    CallRanks,
    {
      provide: Spender,
      inject: [SpendsRepository, CallRanks],
      useFactory: (spends: SpendsRepository, ranks: CallRanks) =>
        new Spender((runs, tx) => spends.spend(runs, tx), {
          name: 'calls',
          onGranted: (ownerId) => {
            ranks.touch(ownerId);
          },
        }),
    },
  ],
  exports: [QuotaService, QuotaRepository, Spender, CallRanks],
})
export class QuotaModule implements NestModule {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly ranks: CallRanks,
  ) {}

  configure(): void {
    // When every request is answered, and before the connection pool closes.
    this.host.httpAdapter.getInstance<FastifyInstance>().addHook('onClose', () => this.ranks.stop());
  }
}
