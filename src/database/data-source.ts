import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PoolClient } from 'pg';
import { DataSource, type QueryRunner, type ReplicationMode } from 'typeorm';
import { isDatabaseUnavailable, isRetryable } from '../common/database-error.js';
import type { PostgresOptions } from './options.js';
import { queryPrepared } from './prepared-query.js';
import { destroyAfter } from './session.js';

/** Maximum attempts for a statement or transaction after deadlocks and serialization failures. */
const ATTEMPTS = 5;

/** The longest wait before the second attempt, in milliseconds. It doubles with each attempt. */
const WAIT_MS = 20;

/**
 * The `comment` of a frequent `find` that a matching index serves for all values. It is prepared, like a `Statement` with a
 * name. TypeORM prepares nothing, so PostgreSQL would parse and plan it each time.
 */
export const PREPARED = 'prepared';

/** TypeORM's PostgresQueryRunner declares this method private. With an error, the pool drops the connection. */
type EvictingRunner = QueryRunner & { releasePostgresConnection(error: unknown): Promise<void> };

/**
 * Gives the statements of TypeORM the same treatment as those of `Database`: a statement outside a transaction is
 * retried after a deadlock, its connection is destroyed if a lost server never answers, and an unusable connection does
 * not return to the pool. Inside a transaction, `Database.transaction` does this. Prepares what is marked as PREPARED.
 */
export class PostgresDataSource extends DataSource {
  private readonly deadline: number;
  private readonly prepares: boolean;

  constructor(options: PostgresOptions) {
    super(options);
    this.deadline = options.deadline;
    this.prepares = options.prepares;
  }

  override createQueryRunner(mode?: ReplicationMode): QueryRunner {
    const runner = super.createQueryRunner(mode) as EvictingRunner;
    const query = runner.query.bind(runner) as (...args: unknown[]) => Promise<unknown>;
    const queryAlone = async (...args: unknown[]): Promise<unknown> => {
      const client = (await runner.connect()) as PoolClient;
      const stop = destroyAfter(client, this.deadline);
      try {
        const [text, values = [], isStructured = false] = args as [string, unknown[]?, boolean?];
        if (!this.prepares || !text.startsWith(`/* ${PREPARED} */`)) return await query(...args);
        const { rows } = await queryPrepared(client, { name: nameOf(text), text, values });
        return isStructured ? { raw: rows, records: rows } : rows;
      } catch (error) {
        if (isDatabaseUnavailable(error)) await runner.releasePostgresConnection(error);
        throw error;
      } finally {
        stop();
      }
    };
    runner.query = ((...args: unknown[]) =>
      runner.isTransactionActive ? query(...args) : retrying(() => queryAlone(...args))) as typeof runner.query;
    return runner;
  }
}

/** Names of prepared queries, by text. */
const names = new Map<string, string>();

function nameOf(text: string): string {
  const name = names.get(text) ?? createHash('sha256').update(text).digest('hex').slice(0, 32);
  names.set(text, name);
  return name;
}

/**
 * Runs an attempt again after a deadlock or a serialization failure, at most five times in total. Waits a random time
 * first, so that the same transactions do not deadlock again.
 */
export async function retrying<T>(attempt: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      if (count >= ATTEMPTS || !isRetryable(error)) throw error;
      await sleep(Math.random() * WAIT_MS * 2 ** (count - 1));
    }
  }
}
