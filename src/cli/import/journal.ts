import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { ConfigError } from '../../config/env.js';
import { explainFile } from '../files.js';

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
  target: string;
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

  /** @param target where the accounts go to: an address, or `database` */
  constructor(
    imported: string,
    private readonly target: string,
  ) {
    this.path = `${imported}.progress`;
    const { size, mtimeMs } = statSync(imported);
    this.file = { size, modified: Math.trunc(mtimeMs) };
  }

  /** @returns undefined if no import of the file was interrupted. @throws ConfigError if it cannot be continued */
  read(): Progress | undefined {
    if (!existsSync(this.path)) return undefined;
    let stored: Stored;
    try {
      stored = JSON.parse(readFileSync(this.path, 'utf8')) as Stored;
    } catch (error) {
      if (error instanceof SyntaxError) throw new ConfigError(`${this.path} is damaged. Delete it to begin anew.`);
      explainFile(error, this.path);
    }
    const { file, target, ...progress } = stored;
    if (target !== this.target) {
      throw new ConfigError(
        `The interrupted import of this file went to another place (${target}). To continue it, name that place. To begin anew, delete ${this.path}.`,
      );
    }
    if (file.size === this.file.size && file.modified === this.file.modified) return progress;
    throw new ConfigError(
      `The file has changed since its import was interrupted. To continue, restore it. To import it from its beginning, delete ${this.path}.`,
    );
  }

  write(progress: Progress): void {
    const draft = `${this.path}.new`;
    const { file, target } = this;
    try {
      writeFileSync(draft, JSON.stringify({ file, target, ...progress }), { mode: 0o600 });
      renameSync(draft, this.path);
    } catch (error) {
      rmSync(draft, { force: true });
      explainFile(error, this.path);
    }
  }

  delete(): void {
    rmSync(this.path, { force: true });
  }
}
