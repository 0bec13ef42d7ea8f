import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { ConfigError } from '../../config/env.js';

/** How far an import has come. */
export interface Progress {
  /** Records that are done. */
  records: number;
  created: number;
  rejected: number;
  /** Bytes of the report about these records. */
  reportBytes: number;
  /**
   * The ids of the accounts of the next batch, written before the batch. After an interruption they tell which of its
   * accounts were created.
   */
  ids: string[];
}

interface Stored extends Progress {
  file: FileStamp;
}

interface FileStamp {
  size: number;
  modified: number;
}

/**
 * The progress of an import, in a file beside the imported one. An import that was interrupted at any moment continues
 * from it, and creates no account twice.
 */
export class Journal {
  readonly path: string;
  private readonly file: FileStamp;

  constructor(imported: string) {
    this.path = `${imported}.progress`;
    const { size, mtimeMs } = statSync(imported);
    this.file = { size, modified: Math.trunc(mtimeMs) };
  }

  /** @returns undefined if no import of the file was interrupted. @throws ConfigError if the file has changed since */
  read(): Progress | undefined {
    let stored: Stored;
    try {
      stored = JSON.parse(readFileSync(this.path, 'utf8')) as Stored;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const { file, ...progress } = stored;
    if (file.size === this.file.size && file.modified === this.file.modified) return progress;
    throw new ConfigError(
      `The file has changed since its import was interrupted. To continue, restore it. To import it from its beginning, delete ${this.path}.`,
    );
  }

  write(progress: Progress): void {
    const draft = `${this.path}.new`;
    writeFileSync(draft, JSON.stringify({ file: this.file, ...progress }), { mode: 0o600 });
    renameSync(draft, this.path);
  }

  delete(): void {
    rmSync(this.path, { force: true });
  }
}
