import { ConfigError, type Env } from '../../config/env.js';
import { Secrets, secretKeyOf } from '../../config/secrets.js';
import { isInDataDir } from './data-dir.js';

/** @throws ConfigError if there is no secret key; a command must not create one */
export function requireSecretKey(env: Env): void {
  if (env.secretKey !== undefined || isInDataDir(env, 'secret-key')) return;
  throw new ConfigError(
    `SECRET_KEY is not set, and there is no secret key in ${env.dataDir}. Run this command with the environment variables of the server. Its first start creates the key.`,
  );
}

/** Returns a text by which a backup recognises the secret key. The key cannot be derived from it. */
export function keyCheckOf(env: Env): string {
  requireSecretKey(env);
  return new Secrets(secretKeyOf(env)).derive('backup-check').toString('hex');
}
