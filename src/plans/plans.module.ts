import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PlanLimit } from '../platform/plan-limit.entity.js';
import { Plan } from '../platform/plan.entity.js';
import { PlatformModule } from '../platform/platform.module.js';
import { QuotaModule } from '../quota/quota.module.js';
import { PlansController } from './plans.controller.js';
import { PlansRepository } from './plans.repository.js';
import { PlansService } from './plans.service.js';

/** Plans: named sets of limits, assigned to users. */
@Module({
  imports: [TypeOrmModule.forFeature([Plan, PlanLimit]), QuotaModule, PlatformModule],
  controllers: [PlansController],
  providers: [PlansService, PlansRepository],
})
export class PlansModule {}
