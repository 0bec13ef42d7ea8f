import pg, { type ClientBase, type CustomTypesConfig } from 'pg';
import type { DataSourceOptions } from 'typeorm';
import type { Env } from '../config/env.js';
import { migrations } from './migrations/index.js';
import { adopt, sessionSettings } from './session.js';

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
  const settings = sessionSettings(env);
  return {
    type: 'postgres',
    url: asLibpq(url),
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
      keepAlive: true,
      onConnect: (client: ClientBase) => adopt(client, settings),
    },
  };
}

/**
 * The driver takes `sslmode` for more than libpq does, and warns of it: this makes it mean the same. `require` encrypts and
 * checks the certificate only where `sslrootcert` is given.
 */
function asLibpq(url: string): string {
  return /[?&]sslmode=(prefer|require|verify-ca)(&|$)/.test(url) && !url.includes('uselibpqcompat=')
    ? `${url}&uselibpqcompat=true`
    : url;
}
