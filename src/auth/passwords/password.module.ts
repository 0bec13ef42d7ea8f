import { Module } from '@nestjs/common';
import { PasswordsModule } from '../../passwords/passwords.module.js';
import { UsersModule } from '../../users/users.module.js';
import { ThrottleModule } from '../throttle/throttle.module.js';
import { PasswordService } from './password.service.js';

/** Confirmation and change of the caller's password. */
@Module({
  imports: [PasswordsModule, UsersModule, ThrottleModule],
  providers: [PasswordService],
  exports: [PasswordService],
})
export class PasswordModule {}
