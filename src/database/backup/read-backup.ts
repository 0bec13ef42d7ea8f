import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { PoolClient } from 'pg';
import { from } from 'pg-copy-streams';
import { ConfigError } from '../../config/env.js';
import { RowDigest, type Sum } from './digest.js';
import { END_OF_ROWS, type BackupResult, type End, type Manifest, type TableHeader, type TableSum } from './format.js';
import { chunksOf, linesOf } from './lines.js';
import { listTables, sumOf, targetOf } from './tables.js';

/** Reads a backup in its order: the manifest, then each table. */
export class BackupReader {
  private readonly lines: AsyncGenerator<Buffer>;

  /** @param source the unpacked file */
  constructor(source: AsyncIterable<Buffer>) {
    this.lines = linesOf(source);
  }

  /** @throws ConfigError if this is not a backup that this version can read */
  async readManifest(): Promise<Manifest> {
    const manifest = (await this.readJson().catch(() => ({}))) as Partial<Manifest>;
    if (manifest.backup !== 'quartermaster') throw new ConfigError('The file is not a backup of Quartermaster.');
    if (manifest.format !== 1) {
      throw new ConfigError(`The backup was made by version ${manifest.version ?? 'unknown'}: use that version.`);
    }
    return manifest as Manifest;
  }

  /**
   * Replaces the rows of all tables, in the open transaction of a client. Compares number and checksum of the rows in
   * the file and, after loading, in the table.
   * @throws ConfigError if the file is damaged
   */
  async load(client: PoolClient, { tables: names }: Manifest): Promise<BackupResult> {
    const tables = await listTables(client);
    const missing = names.find((name) => !tables.some(({ table }) => table === name));
    if (missing !== undefined || names.length !== tables.length) {
      throw new ConfigError(
        `The backup has other tables than this version${missing === undefined ? '' : `: ${missing}`}.`,
      );
    }
    await client.query(`TRUNCATE ${tables.map(({ table }) => table).join(', ')}`);
    const result: BackupResult = { tables: tables.length, rows: 0, counts: {} };
    for (const name of names) {
      const { rows } = await this.loadTable(client, name, tables);
      result.rows += rows;
      if (rows > 0) result.counts[name] = rows;
    }
    const end = (await this.readJson()) as Partial<End>;
    if (end.end !== 'backup' || end.rows !== result.rows) throw damaged('its end is missing');
    return result;
  }

  private async loadTable(client: PoolClient, name: string, tables: readonly TableHeader[]): Promise<Sum> {
    const header = (await this.readJson()) as TableHeader;
    const known = tables.find(({ table }) => table === header.table);
    if (header.table !== name || !known || !header.columns.every((column) => known.columns.includes(column))) {
      throw damaged(`table ${name} is missing or has other columns`);
    }
    const digest = new RowDigest();
    const copy = client.query(from(`COPY ${targetOf(header)} FROM STDIN`));
    await pipeline(Readable.from(chunksOf(this.readRows(digest)), { objectMode: false }), copy);
    const { end, ...written } = (await this.readJson()) as TableSum;
    for (const [sum, where] of [
      [digest.result, 'the file'],
      [await sumOf(client, header), 'the database'],
    ] as const) {
      if (end !== name || sum.rows !== written.rows || sum.checksum !== written.checksum) {
        throw damaged(`the rows of table ${name} in ${where} are not those that were backed up`);
      }
    }
    return written;
  }

  private async *readRows(digest: RowDigest): AsyncGenerator<Buffer> {
    for (;;) {
      const row = await this.readLine();
      if (row.length === END_OF_ROWS.length && row.toString() === END_OF_ROWS) return;
      digest.add(row);
      yield row;
    }
  }

  private async readJson(): Promise<unknown> {
    return JSON.parse((await this.readLine()).toString());
  }

  private async readLine(): Promise<Buffer> {
    const next = await this.lines.next();
    if (next.done === true) throw damaged('its end is missing');
    return next.value;
  }
}

function damaged(reason: string): ConfigError {
  return new ConfigError(`The backup is damaged: ${reason}.`);
}
