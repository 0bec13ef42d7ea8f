import { accessSync, constants, existsSync, rmSync, statSync } from 'node:fs';
import { open, rename, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ConfigError } from '../config/env.js';
import { UsageError, type Io, type Outcome } from './command.js';
import { reasonOf } from './system-error.js';

/**
 * Writes exported lines to a file, or to standard output without one.
 * @throws UsageError if the file exists or cannot be written
 */
export async function exportTo(io: Io, file: string | undefined, lines: Readable): Promise<Outcome> {
  const counter = new LineCounter();
  if (file === undefined) await pipeline(lines, counter, io.stdout, { end: false });
  else await writeNewFile(file, lines, counter);
  return {
    data: { lines: counter.lines, file: file ?? null },
    text: `${counter.lines} lines are exported${file === undefined ? '' : ` to ${file}`}.`,
    isBesideData: file === undefined,
  };
}

/**
 * Writes a new file, which only its owner can read. Writes beside it first: a file with the given name is complete.
 * @throws UsageError if the file exists or cannot be written; ConfigError if the disk is full
 */
export async function writeNewFile(path: string, source: Readable, transform: Transform): Promise<void> {
  requireNoFile(path);
  const draft = `${path}.partial`;
  const file = await openDraft(draft, path);
  const discard = (): void => {
    rmSync(draft, { force: true });
  };
  process.once('exit', discard);
  try {
    await pipeline(source, transform, file.createWriteStream({ flush: true }));
    await rename(draft, path);
  } catch (error) {
    discard();
    explainFile(error, path);
  } finally {
    process.off('exit', discard);
  }
}

async function openDraft(draft: string, path: string): Promise<FileHandle> {
  try {
    return await open(draft, 'wx', 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new UsageError(`There is no folder ${dirname(path)}.`);
    if (code !== 'EEXIST') explainFile(error, path);
    throw new UsageError(`${draft} exists: another command is writing it, or was killed. In that case delete it.`);
  }
}

/** @throws UsageError if the file exists */
export function requireNoFile(path: string): void {
  if (existsSync(path)) throw new UsageError(`${path} exists already.`);
}

/** @throws UsageError if there is no such file, or it cannot be read */
export function sizeOf(path: string): number {
  try {
    const stat = statSync(path);
    accessSync(path, constants.R_OK);
    if (stat.isFile()) return stat.size;
  } catch (error) {
    explainFile(error, path);
  }
  throw new UsageError(`${path} is not a file.`);
}

/** Codes of files that cannot be opened. */
const UNUSABLE = ['EACCES', 'EISDIR', 'ENAMETOOLONG', 'ENOTDIR', 'EPERM', 'EROFS'];

/** Codes of disks, which can come in the middle of the work. */
const DISK = ['EDQUOT', 'EFBIG', 'EIO', 'ENOSPC'];

/** Explains an error of a file that a command reads or writes. Rethrows others, such as those of the database. */
export function explainFile(error: unknown, path: string): never {
  const { code = '', syscall } = error as NodeJS.ErrnoException;
  if (syscall === 'connect') throw error;
  if (code === 'EEXIST') throw new UsageError(`${path} exists already.`);
  if (code === 'ENOENT') throw new UsageError(`There is no ${path}.`);
  const reason = reasonOf(error as NodeJS.ErrnoException);
  if (UNUSABLE.includes(code)) throw new UsageError(`${path} cannot be used: ${reason}.`);
  if (DISK.includes(code)) throw new ConfigError(`${path} cannot be written: ${reason}.`);
  throw error;
}

class LineCounter extends Transform {
  lines = 0;

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) this.lines++;
    done(null, chunk);
  }
}
