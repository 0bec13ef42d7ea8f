import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { CreditBound } from './credit-bound.js';
import { HealthController } from './health.controller.js';
import { Plan } from './plan.entity.js';
import { PlanLimit } from './plan-limit.entity.js';
import { PlatformSettings } from './platform-settings.entity.js';
import { PlatformController } from './platform.controller.js';
import { PlatformRepository } from './platform.repository.js';
import { PlatformService } from './platform.service.js';
import { Shutdown } from './shutdown.js';

/** The platform: its settings, its bounds on objects and credits, and its health. */
@Module({
  imports: [TypeOrmModule.forFeature([PlatformSettings, Plan, PlanLimit])],
  controllers: [HealthController, PlatformController],
  providers: [PlatformService, PlatformRepository, CreditBound, Shutdown],
  exports: [PlatformService, PlatformRepository, CreditBound],
})
export class PlatformModule {}
