import pg, { type CustomTypesConfig } from 'pg';
import type { DataSourceOptions } from 'typeorm';
import type { Env } from '../config/env.js';
import { migrations } from './migrations/index.js';

export type PostgresOptions = Extract<DataSourceOptions, { type: 'postgres' }>;

/** The type oids of bigint and bigint[] (pg_type.dat). */
const INT8 = 20;
const INT8_ARRAY = 1016;

const getTypeParser = pg.types.getTypeParser as (oid: number, format?: 'text') => unknown;

/** bigint as a number: every amount is bounded by CHECKs to what a double holds exactly (2^53 − 1). */
const types = {
  getTypeParser: (oid: number, format?: 'text') => {
    if (oid === INT8) return Number;
    return oid === INT8_ARRAY ? parseNumbers : getTypeParser(oid, format);
  },
} as CustomTypesConfig;

/** The text form of a bigint[] of one dimension. */
function parseNumbers(text: string): (number | null)[] {
  if (text === '{}') return [];
  return text
    .slice(1, -1)
    .split(',')
    .map((element) => (element === 'NULL' ? null : Number(element)));
}

/**
 * One description of the database for the server, the migrations and the TypeORM CLI. Who needs entities adds them:
 * this folder knows no feature.
 */
export function dataSourceOptions(env: Env, url: string): PostgresOptions {
  return {
    type: 'postgres',
    url,
    migrations,
    migrationsTransactionMode: 'each',
    // Extensions need rights that a hosted database does not give, and nothing here uses one.
    installExtensions: false,
    applicationName: 'quartermaster',
    poolSize: env.databasePool,
    connectTimeoutMS: 5_000,
    logging: false,
    extra: {
      types,
      // The server's own limit. `query_timeout` must never be set: it puts connections with an open transaction back
      // into the pool, and acknowledged writes are lost (node-postgres #3399).
      statement_timeout: env.statementTimeout,
      idle_in_transaction_session_timeout: env.statementTimeout,
      // Every statement here has an index to go by. Without this a prepared statement that was planned while a table was
      // small scans the whole of it until the next ANALYZE: 6.4 ms instead of 0.12 at 100,000 rows, measured.
      // Nor may it read all of an index's range in advance (bitmap scans) where a page is wanted, as it does before the
      // first ANALYZE. And compiling a plan (JIT) takes longer than anything here runs.
      options: '-c enable_seqscan=off -c enable_bitmapscan=off -c jit=off',
      keepAlive: true,
    },
  };
}
