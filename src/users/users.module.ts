import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { MailModule } from '../mail/mail.module.js';
import { PlatformModule } from '../platform/platform.module.js';
import { AccountToken } from './account-token.entity.js';
import { AccountTokensRepository } from './account-tokens.repository.js';
import { FirstAdmin } from './first-admin.js';
import { Notices } from './notices.js';
import { PasswordsModule } from '../passwords/passwords.module.js';
import { User } from './user.entity.js';
import { UserImport } from './user-import.js';
import { UsersController } from './users.controller.js';
import { UsersRepository } from './users.repository.js';
import { UsersService } from './users.service.js';

/** Accounts. */
@Module({
  imports: [TypeOrmModule.forFeature([User, AccountToken]), PlatformModule, MailModule, PasswordsModule],
  controllers: [UsersController],
  providers: [UsersRepository, UsersService, UserImport, FirstAdmin, AccountTokensRepository, Notices],
  exports: [UsersRepository, UsersService, AccountTokensRepository, Notices],
})
export class UsersModule {}
