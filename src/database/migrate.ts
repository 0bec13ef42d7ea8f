import type { Pool } from 'pg';
import type { DataSource, QueryRunner } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { sqlState } from '../common/database-error.js';
import { ConfigError, type Env } from '../config/env.js';
import { connect } from './connect.js';
import { errorLine } from '../embedded-postgres/embedded-postgres-error.js';
import { installFunctions, listOutdated } from './functions.js';
import { foreignObject, inspect, migrationsOf, refusal, refuseForeignObjects } from './inspect.js';
import { dataSourceOptions } from './options.js';

/** Key of the advisory lock for start-up work. An arbitrary number, the same in every process. */
const LOCK = 0x716d_6d69;

/**
 * Checks the database and runs the pending migrations. If several processes start at once, one runs them and the others
 * wait.
 * @throws ConfigError if the database does not meet the requirements
 */
export async function migrate(env: Env, url: string): Promise<void> {
  await alone(env, url, async (dataSource, holder) => {
    await refuseForeignObjects(holder, env.databaseSchema);
    await runMigrations(dataSource).catch((error: unknown) => explain(error, holder, env));
  });
}

/**
 * Undoes the last migration, with the data that only its tables have.
 * @param name of the last migration
 * @throws ConfigError if the last migration has another name
 */
export async function undoLast(env: Env, url: string, name: string): Promise<void> {
  await alone(env, url, async (dataSource, holder) => {
    const last = (await migrationsOf(holder, env.databaseSchema)).at(-1);
    if (last !== name) throw new ConfigError(`The last migration is ${last ?? 'none'}, not ${name}.`);
    await dataSource.undoLastMigration();
  });
}

/** The migrations of this version, and what differs in the database. */
export interface MigrationState {
  migrations: { name: string; isDone: boolean }[];
  /** Functions and views that the next start replaces. */
  outdatedFunctions: string[];
}

/** Reads the state of the database without changing it. */
export async function readState(env: Env, url: string): Promise<MigrationState> {
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 2 });
  const runner = dataSource.createQueryRunner();
  try {
    const done = await migrationsOf(runner, env.databaseSchema);
    const names = dataSource.migrations.map((migration) => migration.name ?? migration.constructor.name);
    return {
      migrations: names.map((name) => ({ name, isDone: done.includes(name) })),
      outdatedFunctions: done.length === 0 ? [] : await listOutdated(dataSource),
    };
  } finally {
    await runner.release();
    await dataSource.destroy();
  }
}

/**
 * Runs work while no other process runs migrations. The lock belongs to the transaction of `holder`, so that it also
 * works behind PgBouncer.
 */
export async function alone<T>(
  env: Env,
  url: string,
  work: (dataSource: DataSource, holder: QueryRunner) => Promise<T>,
): Promise<T> {
  // The default logger prints failed migrations even if `logging` is off; this one prints only if DEBUG is set.
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 2, logger: 'debug' });
  try {
    await inspect((dataSource.driver as PostgresDriver).master as Pool, env);
    const holder = dataSource.createQueryRunner();
    try {
      await holder.startTransaction();
      // A migration, and the wait for another process's migrations, can take long.
      await holder.query('SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0');
      await holder.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      const result = await work(dataSource, holder);
      await holder.commitTransaction();
      return result;
    } finally {
      await holder.release();
    }
  } finally {
    await dataSource.destroy();
  }
}

/** Runs the pending migrations, then replaces the functions that have changed. */
async function runMigrations(dataSource: DataSource): Promise<void> {
  await dataSource.runMigrations();
  await installFunctions(dataSource);
}

/** Throws a ConfigError if another program's tables or missing privileges block a migration; otherwise rethrows. */
async function explain(error: unknown, runner: QueryRunner, { databaseSchema: schema }: Env): Promise<never> {
  switch (sqlState(error)) {
    // An object of an extension has the name, or a table `migrations` has other columns.
    case '42P07':
    case '42710':
    case '42723':
    case '42703':
      throw foreignObject(schema, errorLine(error));
    // Missing privilege. A schema without any privilege for the role is reported as 3F000.
    case '42501':
    case '3F000': {
      const [{ role, database, may }] = (await runner.query(
        `SELECT current_user::text AS role, current_database()::text AS database,
           has_schema_privilege($1, 'CREATE') AND has_schema_privilege($1, 'USAGE') AS may`,
        [schema],
      )) as [{ role: string; database: string; may: boolean }];
      throw refusal(
        may
          ? `${errorLine(error)}; make role "${role}" the owner of all objects in schema ${schema}`
          : `role "${role}" may not create tables in schema ${schema}; run as a superuser in "${database}": GRANT ALL ON SCHEMA ${schema} TO "${role}"`,
      );
    }
    default:
      throw error;
  }
}
