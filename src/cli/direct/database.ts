import { ConfigError, Env } from '../../config/env.js';
import { EmbeddedPostgres } from '../../embedded-postgres/embedded-postgres.js';
import { endOnSignals } from '../../embedded-postgres/end-on-signals.js';
import { STOP_SIGNALS } from '../../process/signals.js';
import type { Io } from '../command.js';
import { isInDataDir } from './data-dir.js';

export interface DatabaseOptions {
  /** Whether to create the embedded database if there is none. */
  mayCreate?: boolean;
}

/**
 * Runs work on the database of DATABASE_URL, or else on the embedded one. Uses the PostgreSQL of a running server and
 * leaves it running. Otherwise starts it, and stops it at the end.
 * @param work receives the configuration with `databaseUrl` set
 * @throws ConfigError if there is no database
 */
export async function withDatabase<T>(
  { variables }: Io,
  work: (env: Env) => Promise<T>,
  { mayCreate = false }: DatabaseOptions = {},
): Promise<T> {
  const env = new Env(variables);
  if (env.databaseUrl !== undefined) return work(env);
  if (!mayCreate && !isInDataDir(env, 'postgres')) {
    throw new ConfigError(
      `DATABASE_URL is not set, and there is no database in ${env.dataDir}. Run this command with the environment variables of the server.`,
    );
  }
  const starting = EmbeddedPostgres.attachOrStart({ dataDir: env.dataDir });
  endOnSignals(STOP_SIGNALS, starting);
  const postgres = await starting;
  try {
    return await work(new Env({ ...variables, DATABASE_URL: postgres.url }));
  } finally {
    await postgres.stop();
  }
}
