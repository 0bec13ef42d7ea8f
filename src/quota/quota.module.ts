import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PlatformModule } from '../platform/platform.module.js';
import { UsersModule } from '../users/users.module.js';
import { Flow } from './flow.entity.js';
import { Gauge } from './gauge.entity.js';
import { PlatformQuotaController } from './platform-quota.controller.js';
import { PlatformQuota } from './platform-quota.entity.js';
import { QuotaController } from './quota.controller.js';
import { QuotaRepository } from './quota.repository.js';
import { QuotaService } from './quota.service.js';
import { Database } from '../database/database.js';
import { KeyOwners } from './calls/key-owners.js';
import { Spender } from './calls/spender.js';
import { SpendsRepository } from './calls/spends.repository.js';
import { UsageHour } from './calls/usage-hour.entity.js';

/** The quota engine: limits, usage and spends. */
@Module({
  imports: [TypeOrmModule.forFeature([Gauge, Flow, PlatformQuota, UsageHour]), UsersModule, PlatformModule],
  controllers: [QuotaController, PlatformQuotaController],
  providers: [
    QuotaService,
    QuotaRepository,
    SpendsRepository,
    {
      provide: Spender,
      inject: [SpendsRepository, Database],
      useFactory: (spends: SpendsRepository, database: Database) =>
        new Spender(new KeyOwners((hash, tx) => spends.findOwner(hash, tx)), (runs, tx) => spends.spend(runs, tx), {
          name: 'calls',
          partition: ({ ownerId }) => database.partitionOf(ownerId),
        }),
    },
  ],
  exports: [QuotaService, QuotaRepository, Spender],
})
export class QuotaModule {}
