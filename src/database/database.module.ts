import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Env } from '../config/env.js';
import { connect } from './connect.js';
import { Database } from './database.js';
import { dataSourceOptions, type PostgresOptions } from './options.js';

/**
 * The one connection pool of the process, and `Database`, for every module. By now DATABASE_URL is set in any case:
 * `primary` sets it to the embedded PostgreSQL's address.
 */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [Env],
      useFactory: (env: Env) => ({
        ...dataSourceOptions(env, env.databaseUrl ?? ''),
        autoLoadEntities: true,
        // A server that cannot reach its database says so at once instead of trying for half a minute.
        retryAttempts: 0,
      }),
      dataSourceFactory: (options) => connect(options as PostgresOptions),
    }),
  ],
  providers: [Database],
  exports: [Database],
})
export class DatabaseModule {}
