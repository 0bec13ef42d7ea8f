import { Global, Module } from '@nestjs/common';
import { Env } from './env.js';
import { Secrets, secretKeyOf } from './secrets.js';

/** The configuration and the keys derived from it, for every module. */
@Global()
@Module({
  providers: [
    { provide: Env, useFactory: () => new Env() },
    { provide: Secrets, useFactory: (env: Env) => new Secrets(secretKeyOf(env)), inject: [Env] },
  ],
  exports: [Env, Secrets],
})
export class ConfigModule {}
