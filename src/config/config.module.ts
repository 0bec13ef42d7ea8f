import { Global, Module, type DynamicModule } from '@nestjs/common';
import { Env } from './env.js';
import { Secrets, secretKeyOf } from './secrets.js';

/** Provides the configuration and its derived keys to every module. */
@Global()
@Module({})
export class ConfigModule {
  static forRoot(env: Env): DynamicModule {
    return {
      module: ConfigModule,
      providers: [
        { provide: Env, useValue: env },
        { provide: Secrets, useFactory: () => new Secrets(secretKeyOf(env)) },
      ],
      exports: [Env, Secrets],
    };
  }
}
