import { accessSync, appendFileSync, constants, rmSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { stringify } from 'csv-stringify/sync';
import { explainFile } from '../files.js';

/** A rejected line of an imported file. */
export interface Rejected {
  line: number;
  reason: string;
}

/** Returns the path of the report about an imported file, or about a file that was only checked. */
export function reportOf(imported: string, isDry = false): string {
  // An interrupted import appends to its report when it continues.
  return isDry ? `${imported}.dry-run.csv` : `${imported}.rejected.csv`;
}

const HEADER = 'line,reason\n';

/** The rejected lines of an imported file, as a CSV file beside it. */
export class Report {
  /**
   * Checks that the report can be written, before anything is imported.
   * @param bytes of the report of an interrupted import that stay
   * @throws UsageError if it cannot
   */
  constructor(
    readonly path: string,
    private bytes: number,
  ) {
    try {
      accessSync(dirname(this.path), constants.W_OK);
      if (bytes > 0) truncateSync(this.path, bytes);
      else rmSync(this.path, { force: true });
    } catch (error) {
      explainFile(error, this.path);
    }
  }

  get length(): number {
    return this.bytes;
  }

  add(rejected: readonly Rejected[]): void {
    if (rejected.length === 0) return;
    const header = this.bytes === 0 ? HEADER : '';
    const text = header + stringify(rejected.map(({ line, reason }) => [line, reason]));
    try {
      appendFileSync(this.path, text, { mode: 0o600 });
    } catch (error) {
      explainFile(error, this.path);
    }
    this.bytes += Buffer.byteLength(text);
  }
}
