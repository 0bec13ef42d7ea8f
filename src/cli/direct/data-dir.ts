import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, type Env } from '../../config/env.js';
import { reasonOf } from '../system-error.js';

/** Whether DATA_DIR has a file or folder of this name. @throws ConfigError if this user cannot look into DATA_DIR */
export function isInDataDir({ dataDir }: Env, name: string): boolean {
  try {
    statSync(join(dataDir, name));
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    throw new ConfigError(
      `DATA_DIR ${dataDir} cannot be used: ${reasonOf(error as NodeJS.ErrnoException)}. Run this command as the user of the server.`,
    );
  }
}
