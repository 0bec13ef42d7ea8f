import { Global, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Env } from '../config/env.js';
import { connect } from './connect.js';
import { Database } from './database.js';
import { dataSourceOptions, type PostgresOptions } from './options.js';

/**
 * Provides the connection pool of the process and `Database` to every module. DATABASE_URL is always set here:
 * `primary` sets it to the address of the embedded PostgreSQL.
 */
@Global()
@Module({
  imports: [
    TypeOrmModule.forRootAsync({
      inject: [Env],
      useFactory: (env: Env) => ({
        ...dataSourceOptions(env, env.databaseUrl ?? ''),
        autoLoadEntities: true,
        // Fail immediately if the database is unreachable, instead of retrying for half a minute.
        retryAttempts: 0,
      }),
      dataSourceFactory: (options) => connect(options as PostgresOptions),
    }),
  ],
  providers: [Database],
  exports: [Database],
})
export class DatabaseModule {}
