import { createWriteStream, existsSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { join } from 'node:path';
import { Env } from '../../config/env.js';
import type { BackupResult } from '../../database/backup/format.js';
import { writeBackup } from '../../database/backup/write-backup.js';
import { UsageError, type Io, type Outcome } from '../command.js';
import { withDatabase } from '../database.js';
import { explainFile } from '../files.js';
import { keyCheckOf } from '../secret-key.js';

/** `quartermaster backup`. */
export async function run(io: Io, file: string): Promise<Outcome> {
  if (existsSync(file)) throw new UsageError(`${file} exists already.`);
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

/** Writes beside the file first: a file with the given name is complete. */
async function writeFile(file: string, env: Env, keyCheck: string): Promise<BackupResult> {
  const draft = `${file}.partial`;
  let result: BackupResult | undefined;
  const chunks = writeBackup(env, keyCheck, (done) => (result = done));
  try {
    const output = createWriteStream(draft, { flags: 'wx', mode: 0o600, flush: true });
    await pipeline(Readable.from(chunks, { objectMode: false }), createGzip(), output);
    await rename(draft, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await rm(draft, { force: true });
    explainFile(error, draft);
  }
  if (!result) throw new Error('A backup has no end');
  return result;
}
