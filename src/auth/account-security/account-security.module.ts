import { Module } from '@nestjs/common';
import { UsersModule } from '../../users/users.module.js';
import { PlatformModule } from '../../platform/platform.module.js';
import { PasswordModule } from '../passwords/password.module.js';
import { SessionsModule } from '../sessions/sessions.module.js';
import { TotpModule } from '../totp/totp.module.js';
import { AccountSecurityController } from './account-security.controller.js';
import { AccountSecurityRepository } from './account-security.repository.js';
import { AccountSecurityService } from './account-security.service.js';

/** The security settings of an account, what administrators do when a user has lost access, and deletion. */
@Module({
  imports: [PlatformModule, UsersModule, PasswordModule, SessionsModule, TotpModule],
  controllers: [AccountSecurityController],
  providers: [AccountSecurityService, AccountSecurityRepository],
})
export class AccountSecurityModule {}
