import type { Pool, PoolClient } from 'pg';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import type { Env } from '../../config/env.js';
import { VERSION } from '../../config/version.js';
import { connect } from '../connect.js';
import { migrationsOf } from '../inspect.js';
import { dataSourceOptions } from '../options.js';
import { RowDigest } from './digest.js';
import { END_OF_ROWS, type BackupResult, type End, type Manifest, type TableSum } from './format.js';
import { chunksOf } from './lines.js';
import { listTables, readRows } from './tables.js';

/** One snapshot. A slow reader must not end the transaction. */
const BEGIN = [
  'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY',
  'SET LOCAL statement_timeout = 0',
  'SET LOCAL idle_in_transaction_session_timeout = 0',
];

/**
 * Reads the whole database in one snapshot, without blocking writers.
 * @param keyCheck see `Manifest`
 * @param finished receives the result after the last line
 * @returns the lines of the backup, in chunks
 */
export async function* writeBackup(
  env: Env,
  keyCheck: string,
  finished: (result: BackupResult) => void,
): AsyncGenerator<Buffer> {
  const dataSource = await connect({ ...dataSourceOptions(env, env.databaseUrl ?? ''), poolSize: 2 });
  try {
    const runner = dataSource.createQueryRunner();
    const migrations = await migrationsOf(runner, env.databaseSchema).finally(() => runner.release());
    const client = await ((dataSource.driver as PostgresDriver).master as Pool).connect();
    try {
      for (const statement of BEGIN) await client.query(statement);
      yield* chunksOf(linesOfBackup(client, { migrations, keyCheck }, finished));
      await client.query('COMMIT');
    } finally {
      // The connection may be inside a COPY.
      client.release(true);
    }
  } finally {
    await dataSource.destroy();
  }
}

async function* linesOfBackup(
  client: PoolClient,
  given: Pick<Manifest, 'migrations' | 'keyCheck'>,
  finished: (result: BackupResult) => void,
): AsyncGenerator<Buffer> {
  const tables = await listTables(client);
  const result: BackupResult = { tables: tables.length, rows: 0, counts: {} };
  yield json({
    ...{ backup: 'quartermaster', format: 1, version: VERSION, createdAt: new Date().toISOString() },
    ...{ ...given, tables: tables.map(({ table }) => table) },
  } satisfies Manifest);
  for (const header of tables) {
    const digest = new RowDigest();
    yield json(header);
    yield* readRows(client, header, digest);
    yield Buffer.from(END_OF_ROWS);
    yield json({ end: header.table, ...digest.result } satisfies TableSum);
    result.rows += digest.result.rows;
    if (digest.result.rows > 0) result.counts[header.table] = digest.result.rows;
  }
  yield json({ end: 'backup', rows: result.rows } satisfies End);
  finished(result);
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
