import { Module } from '@nestjs/common';
import { UsersModule } from '../../users/users.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { TotpModule } from '../totp/totp.module.js';
import { AccountSecurityController } from './account-security.controller.js';
import { AccountSecurityRepository } from './account-security.repository.js';
import { AccountSecurityService } from './account-security.service.js';

/** What administrators see and do when a user has lost access. */
@Module({
  imports: [UsersModule, SessionsModule, TotpModule],
  controllers: [AccountSecurityController],
  providers: [AccountSecurityService, AccountSecurityRepository],
})
export class AccountSecurityModule {}
