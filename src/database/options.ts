import pg, { type ClientBase, type CustomTypesConfig } from 'pg';
import type { DataSourceOptions } from 'typeorm';
import type { Env } from '../config/env.js';
import { migrations } from './migrations/index.js';
import { adopt, sessionSettings } from './session.js';

export type PostgresOptions = Extract<DataSourceOptions, { type: 'postgres' }> & {
  /** Milliseconds after which a connection that does not answer is destroyed. */
  deadline: number;
  /** Whether statements are prepared (PREPARED_STATEMENTS). */
  prepares: boolean;
};

/** Milliseconds after `statement_timeout` before the connection is destroyed. */
const GRACE_MS = 5_000;

/** The type oids of bigint and bigint[] (pg_type.dat). */
const INT8 = 20;
const INT8_ARRAY = 1016;

const getTypeParser = pg.types.getTypeParser as (oid: number, format?: 'text') => unknown;

/** Reads bigint as a number: CHECK constraints limit every amount to 2^53 − 1, which a double holds exactly. */
const types = {
  getTypeParser: (oid: number, format?: 'text') => {
    if (oid === INT8) return Number;
    return oid === INT8_ARRAY ? parseNumbers : getTypeParser(oid, format);
  },
} as CustomTypesConfig;

/** Parses the text form of a one-dimensional bigint[]. */
function parseNumbers(text: string): (number | null)[] {
  if (text === '{}') return [];
  return text
    .slice(1, -1)
    .split(',')
    .map((element) => (element === 'NULL' ? null : Number(element)));
}

/**
 * Returns the data source options for the server, the migrations and the TypeORM CLI. Callers add their entities: this
 * folder does not depend on features.
 */
export function dataSourceOptions(env: Env, url: string): PostgresOptions {
  const settings = sessionSettings(env);
  return {
    type: 'postgres',
    url: asLibpq(url),
    migrations,
    migrationsTransactionMode: 'each',
    // Extensions need privileges that hosted databases do not grant, and none is used.
    installExtensions: false,
    applicationName: 'quartermaster',
    poolSize: env.databasePool,
    connectTimeoutMS: 5_000,
    deadline: env.statementTimeout + GRACE_MS,
    prepares: env.preparedStatements,
    logging: false,
    extra: {
      types,
      keepAlive: true,
      onConnect: (client: ClientBase) => adopt(client, settings),
    },
  };
}

/**
 * Makes `sslmode` mean the same as in libpq: the driver is stricter and logs a warning. `require` encrypts, and checks
 * the certificate only if `sslrootcert` is set.
 */
function asLibpq(url: string): string {
  return /[?&]sslmode=(prefer|require|verify-ca)(&|$)/.test(url) && !url.includes('uselibpqcompat=')
    ? `${url}&uselibpqcompat=true`
    : url;
}
