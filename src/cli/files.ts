import { createWriteStream, statSync } from 'node:fs';
import { Transform, type Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { UsageError, type Io, type Outcome } from './command.js';

/**
 * Writes exported lines to a file, or to standard output without one.
 * @throws UsageError if the file exists or cannot be written
 */
export async function exportTo(io: Io, file: string | undefined, lines: Readable): Promise<Outcome> {
  const counter = new LineCounter();
  if (file === undefined) await pipeline(lines, counter, io.stdout, { end: false });
  else await pipeline(lines, counter, newFile(file)).catch((error: unknown) => explainFile(error, file));
  return {
    data: { lines: counter.lines, file: file ?? null },
    text: `${counter.lines} lines are exported${file === undefined ? '' : ` to ${file}`}.`,
    isBesideData: file === undefined,
  };
}

/** Never replaces a file. Only its owner can read it. */
export function newFile(path: string): Writable {
  return createWriteStream(path, { flags: 'wx', mode: 0o600 });
}

/** @throws UsageError if there is no such file */
export function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    explainFile(error, path);
  }
}

/** Codes of files that cannot be read or written. Errors of the database have others. */
const UNUSABLE = ['EACCES', 'EDQUOT', 'EISDIR', 'ENOSPC', 'ENOTDIR', 'EPERM', 'EROFS'];

/** Explains an error of a file that a command reads or writes. */
export function explainFile(error: unknown, path: string): never {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST') throw new UsageError(`${path} exists already.`);
  if (code === 'ENOENT') throw new UsageError(`There is no ${path}.`);
  if (code !== undefined && UNUSABLE.includes(code)) throw new UsageError(`${path} cannot be used (${code}).`);
  throw error;
}

class LineCounter extends Transform {
  lines = 0;

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) this.lines++;
    done(null, chunk);
  }
}
