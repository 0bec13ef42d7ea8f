import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, type Env } from '../config/env.js';
import { Secrets, secretKeyOf } from '../config/secrets.js';

/** @throws ConfigError if there is no secret key; a command must not create one */
export function requireSecretKey({ secretKey, dataDir }: Env): void {
  if (secretKey !== undefined || existsSync(join(dataDir, 'secret-key'))) return;
  throw new ConfigError(
    `SECRET_KEY is not set, and there is no secret key in ${dataDir}. Run this command with the environment variables of the server.`,
  );
}

/** Returns a text by which a backup recognises the secret key. The key cannot be derived from it. */
export function keyCheckOf(env: Env): string {
  requireSecretKey(env);
  return new Secrets(secretKeyOf(env)).derive('backup-check').toString('hex');
}
