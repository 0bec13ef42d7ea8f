import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { UsersModule } from '../../users/users.module.js';
import { PasswordModule } from '../passwords/password.module.js';
import { ThrottleModule } from '../throttle/throttle.module.js';
import { TotpCodes } from './totp-codes.js';
import { TotpRecoveryCode } from './totp-recovery-code.entity.js';
import { TotpSecret } from './totp-secret.entity.js';
import { TotpController } from './totp.controller.js';
import { TotpRepository } from './totp.repository.js';
import { TotpService } from './totp.service.js';

/** Two-factor sign-in with time-based codes (TOTP). */
@Module({
  imports: [TypeOrmModule.forFeature([TotpSecret, TotpRecoveryCode]), UsersModule, ThrottleModule, PasswordModule],
  controllers: [TotpController],
  providers: [TotpService, TotpCodes, TotpRepository],
  exports: [TotpService, TotpRepository],
})
export class TotpModule {}
