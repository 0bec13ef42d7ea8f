import type { Pool, PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { isDatabaseUnavailable } from '../common/database-error.js';
import type { PostgresOptions } from './options.js';
import { destroy } from './session.js';

/** Opens a pool that outlives its database. @throws what the driver says when the database cannot be reached now */
export async function connect(options: PostgresOptions): Promise<DataSource> {
  const dataSource = await new DataSource(options).initialize();
  evictUnusable((dataSource.driver as PostgresDriver).master as Pool);
  return dataSource;
}

/**
 * Makes a pool survive the loss of its database, and drop every connection that says it is of no more use, whoever used
 * it (TypeORM's own included).
 */
function evictUnusable(pool: Pool): void {
  const watch = (client: PoolClient): void => {
    // A connection may be lost while it is checked out and between two statements, when neither the pool nor a
    // statement listens; unheard, that ends the process. Whoever uses it next is told by the statement that fails.
    client.on('error', () => undefined);
    const { connection } = client as PoolClient & { connection: NodeJS.EventEmitter };
    connection.on('errorMessage', (message: { code?: string }) => {
      if (isDatabaseUnavailable(message)) destroy(client);
    });
  };
  pool.on('connect', watch);
  // Connecting has made the first already.
  for (const client of (pool as Pool & { _clients: PoolClient[] })._clients) watch(client);
}
