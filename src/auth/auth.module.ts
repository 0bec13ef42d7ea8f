import { Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../users/users.module.js';
import { AccessRules } from './access-rules.js';
import { AccessTokens } from './access-tokens.js';
import { AccessGuard } from './access.guard.js';
import { AuthController } from './auth.controller.js';
import { AuthService } from './auth.service.js';
import { AuthenticationGuard } from './authentication.guard.js';
import { Authenticator } from './authenticator.js';
import { JwksController } from './jwks.controller.js';
import { RefreshTokens } from './refresh-tokens.js';
import { Session } from './session.entity.js';
import { SessionsRepository } from './sessions.repository.js';
import { SigningKey } from './signing-key.entity.js';
import { SigningKeys } from './signing-keys.js';
import { SigningKeysRepository } from './signing-keys.repository.js';

/** Sign-in, sessions, and the two guards that stand before every route: who is calling, and may they. */
@Module({
  imports: [TypeOrmModule.forFeature([Session, SigningKey]), UsersModule],
  controllers: [AuthController, JwksController],
  providers: [
    AuthService,
    AccessTokens,
    RefreshTokens,
    AccessRules,
    Authenticator,
    SigningKeys,
    SigningKeysRepository,
    SessionsRepository,
    // In this order.
    { provide: APP_GUARD, useClass: AuthenticationGuard },
    { provide: APP_GUARD, useClass: AccessGuard },
  ],
})
export class AuthModule {}
