import { Module } from '@nestjs/common';
import { Passwords } from './passwords.js';

/** Hashing of passwords and the rules for new ones. */
@Module({ providers: [Passwords], exports: [Passwords] })
export class PasswordsModule {}
