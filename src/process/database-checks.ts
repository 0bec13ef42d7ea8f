import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, type Env } from '../config/env.js';
import { durabilityOf, isSetUp, readServerFacts } from '../database/server-facts.js';

/**
 * Checks that the start does not create a secret key for a database that was set up with another one. The file would
 * remain, and later starts would use it.
 * @throws ConfigError
 */
export async function refuseSecondSecretKey(env: Env, url: string): Promise<void> {
  if (env.secretKey !== undefined || existsSync(join(env.dataDir, 'secret-key'))) return;
  if (!(await isSetUp(env, url))) return;
  throw new ConfigError(
    `SECRET_KEY is not set, and there is no secret key in DATA_DIR ${env.dataDir}, but this database was set up with one. Set SECRET_KEY to that key, or DATA_DIR to the folder that has it.`,
  );
}

/** Returns a sentence for each setting of PostgreSQL with which acknowledged writes can be lost. */
export async function unsafeSettings(env: Env, url: string): Promise<string[]> {
  return durabilityOf(await readServerFacts(env, url))
    .filter(({ isSafe }) => !isSafe)
    .map(({ name, value, danger }) => `PostgreSQL runs with ${name} = ${value}: ${danger}. Set ${name} = on.`);
}
