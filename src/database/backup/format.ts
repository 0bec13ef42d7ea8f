import type { Sum } from './digest.js';

/**
 * A backup is gzip of lines: a manifest; for each table a header, its rows in the text format of COPY, `\.`, and a sum;
 * and the end. All lines but rows and `\.` are JSON. A row is one line, because COPY escapes line feeds, and is never
 * `\.`, because COPY escapes backslashes.
 */
export interface Manifest {
  backup: 'quartermaster';
  format: 1;
  version: string;
  createdAt: string;
  /** The migrations that created the tables, oldest first. */
  migrations: string[];
  /** Proves that the secret key is the same, without telling it. */
  keyCheck: string;
  /** The tables in the order of their foreign keys. */
  tables: string[];
}

export interface TableHeader {
  table: string;
  columns: string[];
}

export type TableSum = Sum & { end: string };

export interface End {
  end: 'backup';
  rows: number;
}

export const END_OF_ROWS = '\\.';

/** What was written or read. */
export interface BackupResult {
  tables: number;
  rows: number;
  /** The number of rows of each table that has some. */
  counts: Record<string, number>;
}
