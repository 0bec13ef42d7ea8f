import { Module, type NestModule } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { MailModule } from '../../mail/mail.module.js';
import { PasswordsModule } from '../../passwords/passwords.module.js';
import { UsersModule } from '../../users/users.module.js';
import { ThrottleModule } from '../throttle/throttle.module.js';
import { TotpModule } from '../totp/totp.module.js';
import { AccountRescue } from './account-rescue.js';
import { EmailConfirmationService } from './email-confirmation.service.js';
import { RecoveryRequest } from './recovery-request.entity.js';
import { RecoveryMailer } from './recovery-mailer.js';
import { RecoveryRequestsRepository } from './recovery-requests.repository.js';
import { RecoveryController } from './recovery.controller.js';
import { serveRecoveryPages } from './recovery.pages.js';
import { RecoveryService } from './recovery.service.js';

/** Lost passwords, confirmation of e-mail addresses, and the pages that the links in e-mails open. */
@Module({
  imports: [
    TypeOrmModule.forFeature([RecoveryRequest]),
    ...[PasswordsModule, UsersModule, MailModule, ThrottleModule, TotpModule],
  ],
  controllers: [RecoveryController],
  providers: [RecoveryService, EmailConfirmationService, AccountRescue, RecoveryMailer, RecoveryRequestsRepository],
})
export class RecoveryModule implements NestModule {
  constructor(private readonly host: HttpAdapterHost) {}

  configure(): void {
    serveRecoveryPages(this.host.httpAdapter.getInstance());
  }
}
