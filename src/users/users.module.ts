import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { PlatformModule } from '../platform/platform.module.js';
import { FirstAdmin } from './first-admin.js';
import { Passwords } from './passwords.js';
import { Plan } from '../platform/plan.entity.js';
import { User } from './user.entity.js';
import { UsersController } from './users.controller.js';
import { UsersRepository } from './users.repository.js';
import { UsersService } from './users.service.js';

/** Accounts. */
@Module({
  imports: [TypeOrmModule.forFeature([User, Plan]), PlatformModule],
  controllers: [UsersController],
  providers: [UsersRepository, UsersService, Passwords, FirstAdmin],
  exports: [UsersRepository, UsersService, Passwords],
})
export class UsersModule {}
