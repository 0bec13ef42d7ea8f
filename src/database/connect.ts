import type { Pool, PoolClient } from 'pg';
import type { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { isDatabaseUnavailable } from '../common/database-error.js';
import { PostgresDataSource } from './data-source.js';
import type { PostgresOptions } from './options.js';
import { destroy } from './session.js';

/** Opens a pool that survives the loss of its database. @throws the driver's error if the database is unreachable */
export async function connect(options: PostgresOptions): Promise<DataSource> {
  const dataSource = await new PostgresDataSource(options).initialize();
  evictUnusable((dataSource.driver as PostgresDriver).master as Pool);
  return dataSource;
}

/**
 * Makes a pool survive the loss of its database and drop every connection that reports it is unusable, including those
 * that TypeORM uses.
 */
function evictUnusable(pool: Pool): void {
  const watch = (client: PoolClient): void => {
    // Neither the pool nor a statement listens for errors while a connection is checked out but idle. An unhandled
    // error event would end the process. The next statement on the connection fails and reports the loss.
    client.on('error', () => undefined);
    const { connection } = client as PoolClient & { connection: NodeJS.EventEmitter };
    connection.on('errorMessage', (message: { code?: string }) => {
      if (isDatabaseUnavailable(message)) destroy(client);
    });
  };
  pool.on('connect', watch);
  // The pool already has one connection.
  for (const client of (pool as Pool & { _clients: PoolClient[] })._clients) watch(client);
}
