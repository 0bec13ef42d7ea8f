import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../users/users.module.js';
import { Counter } from './counter.entity.js';
import { Limit } from './limit.entity.js';
import { QuotaController } from './quota.controller.js';
import { QuotaRepository } from './quota.repository.js';
import { QuotaService } from './quota.service.js';

/** Limits and what is used of them. */
@Module({
  imports: [TypeOrmModule.forFeature([Limit, Counter]), UsersModule],
  controllers: [QuotaController],
  providers: [QuotaService, QuotaRepository],
})
export class QuotaModule {}
