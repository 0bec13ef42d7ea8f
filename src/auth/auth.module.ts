import { Module, type NestModule } from '@nestjs/common';
import { APP_GUARD, HttpAdapterHost } from '@nestjs/core';
import { ByteBudget } from '../http/byte-budget.js';
import { PasswordsModule } from '../passwords/passwords.module.js';
import { PlatformModule } from '../platform/platform.module.js';
import { UsersModule } from '../users/users.module.js';
import { AccessRules } from './access-rules.js';
import { AccessGuard } from './access.guard.js';
import { AccountSecurityModule } from './account-security/account-security.module.js';
import { AuthController } from './auth.controller.js';
import { AuthService } from './auth.service.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { JwtStrategy } from './jwt.strategy.js';
import { admitLargeBodies } from './large-bodies.js';
import { PassportOptions } from './passport-options.js';
import { PasswordModule } from './passwords/password.module.js';
import { RecoveryModule } from './recovery/recovery.module.js';
import { SessionsModule } from './sessions/sessions.module.js';
import { SignInPolicyController } from './sign-in-policy.controller.js';
import { SignatureStrategy } from './signature.strategy.js';
import { SignedRequestsModule } from './signed-requests/signed-requests.module.js';
import { ThrottleModule } from './throttle/throttle.module.js';
import { TokensModule } from './tokens/tokens.module.js';
import { TotpModule } from './totp/totp.module.js';

/** Sign-in, and the two guards of every route: who is calling, and what the caller may do. */
@Module({
  imports: [
    ...[UsersModule, PlatformModule, PasswordsModule, TokensModule, SessionsModule, ThrottleModule, PasswordModule],
    ...[TotpModule, RecoveryModule, AccountSecurityModule, SignedRequestsModule],
  ],
  controllers: [AuthController, SignInPolicyController],
  providers: [
    AuthService,
    AccessRules,
    JwtStrategy,
    SignatureStrategy,
    PassportOptions,
    AuthenticationGuard,
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
  ) {}

  configure(): void {
    admitLargeBodies(this.host.httpAdapter.getInstance(), this.guard, this.budget);
  }
}
