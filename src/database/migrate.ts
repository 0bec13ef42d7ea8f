import type { Pool } from 'pg';
import type { QueryRunner } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { sqlState } from '../common/database-error.js';
import { ConfigError, type Env } from '../config/env.js';
import { connect } from './connect.js';
import { errorLine } from './embedded-postgres-error.js';
import { inspect } from './inspect.js';
import { dataSourceOptions } from './options.js';

/** Any number, the same in every process: the key of the advisory lock that start-up work is done under. */
const LOCK = 0x716d_6d69;

/**
 * Checks the database and runs the migrations that are missing. Of several processes that start at once one runs them and
 * the others wait. The lock is one of a transaction on a connection of its own, so that it also holds behind PgBouncer.
 * @throws ConfigError when the database cannot be used as it is
 */
export async function migrate(env: Env, url: string): Promise<void> {
  // The default logger prints failures of migrations, whatever `logging` says; this one does so only where DEBUG is set.
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 2, logger: 'debug' });
  try {
    await inspect((dataSource.driver as PostgresDriver).master as Pool, env);
    const holder = dataSource.createQueryRunner();
    try {
      await holder.startTransaction();
      // The wait for another process's migrations may be long, and so may a migration be.
      await holder.query('SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0');
      await holder.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      await dataSource.runMigrations().catch((error: unknown) => explain(error, holder, env));
      await holder.commitTransaction();
    } finally {
      await holder.release();
    }
  } finally {
    await dataSource.destroy();
  }
}

/** Names what stands in the way of a migration, where that is another program's or another role's. */
async function explain(error: unknown, runner: QueryRunner, { databaseSchema: schema }: Env): Promise<never> {
  const refuse = (reason: string): never => {
    throw new ConfigError(`The database of DATABASE_URL cannot be used: ${reason}.`);
  };
  switch (sqlState(error)) {
    // A table, index, type or function that is there already; a table `migrations` with other columns.
    case '42P07':
    case '42710':
    case '42723':
    case '42703':
      return refuse(
        `schema ${schema} holds another program's tables (${errorLine(error)}); use an empty database, or set DATABASE_SCHEMA to an empty schema`,
      );
    // No right; a schema in which one has no right at all is none to make tables in.
    case '42501':
    case '3F000': {
      const [{ role, database, may }] = (await runner.query(
        `SELECT current_user::text AS role, current_database()::text AS database,
           has_schema_privilege($1, 'CREATE') AND has_schema_privilege($1, 'USAGE') AS may`,
        [schema],
      )) as [{ role: string; database: string; may: boolean }];
      return refuse(
        may
          ? `${errorLine(error)}; make role "${role}" the owner of all that is in schema ${schema}`
          : `role "${role}" may not make tables in schema ${schema}; run as a superuser in "${database}": GRANT ALL ON SCHEMA ${schema} TO "${role}"`,
      );
    }
    default:
      throw error;
  }
}
