import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { AppModule } from '../../app.module.js';
import { ConfigError, Env } from '../../config/env.js';
import { connect } from '../../database/connect.js';
import { Database } from '../../database/database.js';
import { dataSourceOptions } from '../../database/options.js';
import type { Io } from '../command.js';
import { withDatabase } from './database.js';
import { requireSecretKey } from './secret-key.js';

/**
 * Runs work with the services of the platform, on the database of the server, which may be running.
 * @throws ConfigError if there is no database, no secret key, or the tables are of another version
 */
export async function withPlatform<T>(
  io: Io,
  work: (app: INestApplicationContext, env: Env) => Promise<T>,
): Promise<T> {
  requireSecretKey(new Env(io.variables));
  return withDatabase(io, async (env) => {
    await requireTables(env);
    const options = { logger: false, abortOnError: false } as const;
    const app = await NestFactory.createApplicationContext(AppModule.forRoot(env), options);
    try {
      return await work(app, env);
    } finally {
      await app.close();
    }
  });
}

/** Does not run migrations: only the server does, and a server of an older version may be running. */
async function requireTables(env: Env): Promise<void> {
  const dataSource = await connect(dataSourceOptions(env, env.databaseUrl ?? ''));
  try {
    if (await new Database(dataSource).isReady()) return;
    throw new ConfigError('The database has no tables of this version. Start the server of this version first.');
  } finally {
    await dataSource.destroy();
  }
}
