import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { ConfigError, Env } from '../../config/env.js';
import type { Manifest } from '../../database/backup/format.js';
import { BackupReader } from '../../database/backup/read-backup.js';
import { restoreBackup } from '../../database/backup/restore.js';
import type { Io, Outcome } from '../command.js';
import { withDatabase } from '../direct/database.js';
import { sizeOf } from '../files.js';
import { keyCheckOf } from '../direct/secret-key.js';

/** `quartermaster restore`. */
export async function run(io: Io, file: string): Promise<Outcome> {
  sizeOf(file);
  const keyCheck = keyCheckOf(new Env(io.variables));
  const source = createReadStream(file);
  const unpacked = createGunzip();
  source.on('error', (error) => unpacked.destroy(error)).pipe(unpacked);
  try {
    const reader = new BackupReader(unpacked);
    const manifest = await reader.readManifest();
    if (manifest.keyCheck !== keyCheck) {
      throw new ConfigError('The backup was made with another secret key. Set SECRET_KEY to that one.');
    }
    return await withDatabase(io, (env) => restore(env, reader, manifest), { mayCreate: true });
  } catch (error) {
    if (/^(Z_|ERR_.*ZLIB)|incorrect header/.test((error as NodeJS.ErrnoException).code ?? '')) {
      throw new ConfigError('The backup is damaged: it cannot be unpacked.');
    }
    throw error;
  } finally {
    source.destroy();
  }
}

async function restore(env: Env, reader: BackupReader, manifest: Manifest): Promise<Outcome> {
  const { createdAt, version } = manifest;
  const { tables, rows, counts } = await restoreBackup(env, reader, manifest);
  return {
    data: { createdAt, version, tables, rows, counts },
    text: `${rows} rows of ${tables} tables are restored, as of ${createdAt}. Numbers of rows and checksums are those of the backup.`,
  };
}
