import { Module, type NestModule } from '@nestjs/common';
import { APP_GUARD, HttpAdapterHost } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { FastifyInstance } from 'fastify';
import { ByteBudget } from '../common/byte-budget.js';
import { Env } from '../config/env.js';
import { MailModule } from '../mail/mail.module.js';
import { User } from '../users/user.entity.js';
import { UsersModule } from '../users/users.module.js';
import { AccountRescue } from './account-rescue.js';
import { AccessRules } from './access-rules.js';
import { AccessTokens } from './access-tokens.js';
import { AccessGuard } from './access.guard.js';
import { AccountSecurityController } from './account-security.controller.js';
import { AccountSecurityRepository } from './account-security.repository.js';
import { AccountSecurityService } from './account-security.service.js';
import { AuthController } from './auth.controller.js';
import { AuthService } from './auth.service.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { watchContentDigests } from './content-digest.js';
import { EmailConfirmationService } from './email-confirmation.service.js';
import { JwksController } from './jwks.controller.js';
import { JwtStrategy } from './jwt.strategy.js';
import { admitLargeBodies } from './large-bodies.js';
import { PassportOptions } from './passport-options.js';
import { PasswordService } from './password.service.js';
import { RecoveryRequest } from './recovery-request.entity.js';
import { RecoveryRequestsRepository } from './recovery-requests.repository.js';
import { RecoveryController } from './recovery.controller.js';
import { RecoveryRequests } from './recovery-requests.js';
import { serveRecoveryPages } from './recovery.pages.js';
import { RecoveryService } from './recovery.service.js';
import { RefreshTokens } from './refresh-tokens.js';
import { RequestKey } from './request-key.entity.js';
import { RequestSignatures } from './request-signatures.js';
import { SignatureStrategy } from './signature.strategy.js';
import { SignaturesRepository } from './signatures.repository.js';
import { RequestKeysController } from './request-keys.controller.js';
import { RequestKeysRepository } from './request-keys.repository.js';
import { RequestKeysService } from './request-keys.service.js';
import { Session } from './session.entity.js';
import { SessionsRepository } from './sessions.repository.js';
import { SessionsService } from './sessions.service.js';
import { SignInAttemptsRepository } from './sign-in-attempts.repository.js';
import { SignInThrottle } from './sign-in-throttle.js';
import { SigningKey } from './signing-key.entity.js';
import { SigningKeys } from './signing-keys.js';
import { SigningKeysRepository } from './signing-keys.repository.js';
import { TotpCodes } from './totp-codes.js';
import { TotpRecoveryCode } from './totp-recovery-code.entity.js';
import { TotpSecret } from './totp-secret.entity.js';
import { TotpController } from './totp.controller.js';
import { TotpRepository } from './totp.repository.js';
import { TotpService } from './totp.service.js';

/** Sign-in, sessions, and the two guards of every route: who is calling, and what the caller may do. */
@Module({
  imports: [
    TypeOrmModule.forFeature([User, Session, SigningKey, RequestKey, RecoveryRequest, TotpSecret, TotpRecoveryCode]),
    UsersModule,
    MailModule,
  ],
  controllers: [
    AuthController,
    RecoveryController,
    AccountSecurityController,
    RequestKeysController,
    TotpController,
    JwksController,
  ],
  providers: [
    AuthService,
    PasswordService,
    SessionsService,
    SignInThrottle,
    SignInAttemptsRepository,
    TotpService,
    TotpCodes,
    TotpRepository,
    AccessTokens,
    RefreshTokens,
    AccessRules,
    JwtStrategy,
    SignatureStrategy,
    PassportOptions,
    AuthenticationGuard,
    SigningKeys,
    SigningKeysRepository,
    SessionsRepository,
    RequestSignatures,
    SignaturesRepository,
    RequestKeysService,
    RequestKeysRepository,
    RecoveryService,
    EmailConfirmationService,
    AccountRescue,
    AccountSecurityService,
    AccountSecurityRepository,
    RecoveryRequests,
    RecoveryRequestsRepository,
    // The order matters: the access guard needs the caller.
    { provide: APP_GUARD, useExisting: AuthenticationGuard },
    { provide: APP_GUARD, useClass: AccessGuard },
  ],
})
export class AuthModule implements NestModule {
  constructor(
    private readonly host: HttpAdapterHost,
    private readonly guard: AuthenticationGuard,
    private readonly budget: ByteBudget,
    private readonly env: Env,
  ) {}

  configure(): void {
    const server = this.host.httpAdapter.getInstance<FastifyInstance>();
    serveRecoveryPages(server, this.env);
    watchContentDigests(server);
    admitLargeBodies(server, this.guard, this.budget);
  }
}
