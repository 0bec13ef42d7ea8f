import { Module, type DynamicModule } from '@nestjs/common';
import { APP_FILTER, APP_PIPE } from '@nestjs/core';
import { ApisModule } from './apis/apis.module.js';
import { AuditModule } from './audit/audit.module.js';
import { AuthModule } from './auth/auth.module.js';
import { HttpModule } from './http/http.module.js';
import { ProblemFilter } from './http/problem.filter.js';
import { RequestValidationPipe } from './http/validation.pipe.js';
import { ConfigModule } from './config/config.module.js';
import type { Env } from './config/env.js';
import { DatabaseModule } from './database/database.module.js';
import { IdempotencyModule } from './idempotency/idempotency.module.js';
import { KeysModule } from './keys/keys.module.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { PlansModule } from './plans/plans.module.js';
import { PlatformModule } from './platform/platform.module.js';
import { QuotaModule } from './quota/quota.module.js';
import { RefusalsModule } from './refusals/refusals.module.js';
import { ResourcesModule } from './resources/resources.module.js';
import { StoreModule } from './store/store.module.js';
import { TasksModule } from './tasks/tasks.module.js';
import { UsersModule } from './users/users.module.js';

/** All modules. AuthModule provides the guards. CONTRIBUTING.md describes how a request is processed. */
@Module({
  imports: [
    HttpModule,
    DatabaseModule,
    IdempotencyModule,
    AuditModule,
    AuthModule,
    UsersModule,
    QuotaModule,
    PlansModule,
    KeysModule,
    ApisModule,
    RefusalsModule,
    ResourcesModule,
    TasksModule,
    StoreModule,
    PlatformModule,
    MetricsModule,
  ],
  providers: [
    { provide: APP_FILTER, useClass: ProblemFilter },
    { provide: APP_PIPE, useClass: RequestValidationPipe },
  ],
})
export class AppModule {
  static forRoot(env: Env): DynamicModule {
    return { module: AppModule, imports: [ConfigModule.forRoot(env)] };
  }
}
