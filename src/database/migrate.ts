import type { Env } from '../config/env.js';
import { connect } from './connect.js';
import { dataSourceOptions } from './options.js';

/** Any number, the same in every process: the key of the advisory lock that start-up work is done under. */
const LOCK = 0x716d_6d69;

/**
 * Runs the migrations that are missing. Of several processes that start at once one runs them and the others wait.
 * The lock is one of a transaction on a connection of its own, so that it also holds behind PgBouncer.
 */
export async function migrate(env: Env, url: string): Promise<void> {
  const dataSource = await connect({ ...dataSourceOptions(env, url), poolSize: 2 });
  try {
    const holder = dataSource.createQueryRunner();
    try {
      await holder.startTransaction();
      // The wait for another process's migrations may be long, and so may a migration be.
      await holder.query('SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0');
      await holder.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
      await dataSource.runMigrations();
      await holder.commitTransaction();
    } finally {
      await holder.release();
    }
  } finally {
    await dataSource.destroy();
  }
}
