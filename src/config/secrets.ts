import { hkdfSync, randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, type Env } from './env.js';

/** Derives one key per purpose from SECRET_KEY (HKDF, RFC 5869), so that no key is used for two purposes. */
export class Secrets {
  constructor(private readonly secretKey: string) {}

  /** Returns 32 bytes for a purpose, the same on every node with the same SECRET_KEY. */
  derive(purpose: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.secretKey, 'quartermaster', purpose, 32));
  }
}

/**
 * Returns SECRET_KEY, or else the text of the file `secret-key` in DATA_DIR. The first start creates the file (mode
 * 0600).
 * @throws ConfigError if the file can be neither read nor created
 */
export function secretKeyOf(env: Env): string {
  if (env.secretKey !== undefined) return env.secretKey;
  const file = join(env.dataDir, 'secret-key');
  try {
    return readSecret(file) ?? makeSecret(file, env.dataDir);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`DATA_DIR ${env.dataDir} cannot hold the secret key: ${(error as Error).message}`);
  }
}

function readSecret(file: string): string | undefined {
  try {
    const text = readFileSync(file, 'utf8').trim();
    if (text.length < 32) throw new ConfigError(`${file} is damaged: restore it from your backup.`);
    return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Writes a draft and links it into place: concurrent first starts share one key, and a crash leaves no partial key. */
function makeSecret(file: string, dataDir: string): string {
  mkdirSync(dataDir, { recursive: true });
  const draft = `${file}.${String(process.pid)}`;
  writeFileSync(draft, `${randomBytes(32).toString('base64url')}\n`, { mode: 0o600, flush: true });
  try {
    linkSync(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  const made = readSecret(file);
  if (made === undefined) throw new ConfigError(`${file} cannot be written.`);
  return made;
}
