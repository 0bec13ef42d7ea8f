import { Module } from '@nestjs/common';
import { PasswordsModule } from '../../passwords/passwords.module.js';
import { SignInAttemptsRepository } from './sign-in-attempts.repository.js';
import { SignInThrottle } from './sign-in-throttle.js';

/** Throttling of repeated failed attempts. */
@Module({
  imports: [PasswordsModule],
  providers: [SignInThrottle, SignInAttemptsRepository],
  exports: [SignInThrottle],
})
export class ThrottleModule {}
