import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../users/users.module.js';
import { PlatformQuotaController } from './platform-quota.controller.js';
import { PlatformQuota } from './platform-quota.entity.js';
import { QuotaController } from './quota.controller.js';
import { Quota } from './quota.entity.js';
import { QuotaRepository } from './quota.repository.js';
import { QuotaService } from './quota.service.js';
import { Spender } from './spender.js';
import { SpendsRepository } from './spends.repository.js';
import { UsageHour } from './usage-hour.entity.js';

/** The quota engine: limits, what is used of them, and spends. */
@Module({
  imports: [TypeOrmModule.forFeature([Quota, PlatformQuota, UsageHour]), UsersModule],
  controllers: [QuotaController, PlatformQuotaController],
  providers: [
    QuotaService,
    QuotaRepository,
    SpendsRepository,
    {
      provide: Spender,
      inject: [SpendsRepository],
      useFactory: (spends: SpendsRepository) => new Spender((runs, tx) => spends.spend(runs, tx)),
    },
  ],
  exports: [QuotaService, QuotaRepository, Spender],
})
export class QuotaModule {}
