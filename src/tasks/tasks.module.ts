import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PlatformModule } from '../platform/platform.module.js';
import { UsersModule } from '../users/users.module.js';
import { CreditGrant } from './credit-grant.entity.js';
import { CreditsController } from './credits.controller.js';
import { CreditsRepository } from './credits.repository.js';
import { CreditsService } from './credits.service.js';
import { Task } from './task.entity.js';
import { TasksController } from './tasks.controller.js';
import { TasksRepository } from './tasks.repository.js';
import { TasksService } from './tasks.service.js';

/** Tasks, and the credits that they hold. */
@Module({
  imports: [TypeOrmModule.forFeature([Task, CreditGrant]), UsersModule, PlatformModule],
  controllers: [TasksController, CreditsController],
  providers: [TasksService, TasksRepository, CreditsService, CreditsRepository],
})
export class TasksModule {}
