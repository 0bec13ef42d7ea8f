import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { join } from 'node:path';
import { Env } from '../../config/env.js';
import type { BackupResult } from '../../database/backup/format.js';
import { writeBackup } from '../../database/backup/write-backup.js';
import type { Io, Outcome } from '../command.js';
import { withDatabase } from '../direct/database.js';
import { requireNoFile, writeNewFile } from '../files.js';
import { keyCheckOf } from '../direct/secret-key.js';

/** `quartermaster backup`. */
export async function run(io: Io, file: string): Promise<Outcome> {
  requireNoFile(file);
  const keyCheck = keyCheckOf(new Env(io.variables));
  return withDatabase(io, async (env) => {
    const { tables, rows, counts } = await writeFile(file, env, keyCheck);
    const { size } = await stat(file);
    const key = env.secretKey === undefined ? join(env.dataDir, 'secret-key') : 'SECRET_KEY';
    return {
      data: { file, bytes: size, tables, rows, counts },
      text: `${rows} rows of ${tables} tables are in ${file} (${size} bytes).\nThe secret key is not: keep ${key} as well, apart from the backup.`,
    };
  });
}

async function writeFile(file: string, env: Env, keyCheck: string): Promise<BackupResult> {
  let result: BackupResult | undefined;
  const chunks = writeBackup(env, keyCheck, (done) => (result = done));
  await writeNewFile(file, Readable.from(chunks, { objectMode: false }), createGzip());
  if (!result) throw new Error('A backup has no end');
  return result;
}
