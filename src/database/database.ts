import { Injectable } from '@nestjs/common';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { isDatabaseUnavailable, isRetryable, sqlState } from '../common/database-error.js';
import { Env } from '../config/env.js';
import { destroy } from './session.js';

/** A statement that each connection prepares once, under its name. */
export interface Statement {
  name: string;
  text: string;
}

/** An open transaction: TypeORM's manager and plain SQL on the same connection. */
export interface Transaction {
  manager: EntityManager;
  query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** PostgreSQL answered COMMIT with another command tag (ROLLBACK): nothing was written. */
export class NotCommitted extends Error {
  override readonly name = 'NotCommitted';
}

/** Thrown inside a transaction that must restart because it used a stale read. Nothing was written. */
export class OutOfDate extends Error {
  override readonly name = 'OutOfDate';
  /** SQLSTATE serialization_failure, so that the transaction is retried. */
  readonly code = '40001';
}

const MIGRATIONS_DONE = { name: 'migrations-done', text: 'SELECT name FROM migrations' };

/** Maximum attempts for a statement or transaction after deadlocks and serialization failures. */
const ATTEMPTS = 3;
/** Milliseconds after `statement_timeout` before the connection is destroyed. */
const GRACE_MS = 5_000;

/** Runs prepared statements and transactions. */
@Injectable()
export class Database {
  private readonly deadline: number;
  private readonly prepares: boolean;

  constructor(
    private readonly dataSource: DataSource,
    env: Env,
  ) {
    this.deadline = env.statementTimeout + GRACE_MS;
    this.prepares = env.preparedStatements;
  }

  /**
   * Runs one statement in its own transaction, at most three times if deadlocks stop it. The statement is prepared
   * under its name, unless PREPARED_STATEMENTS=off.
   */
  async query<Row extends QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]> {
    const { name, text } = statement;
    const query = this.prepares ? { name, text, values } : { text, values };
    return retrying(() => this.withClient(async (client) => (await client.query<Row>(query)).rows));
  }

  /**
   * Runs `work` in one transaction and resolves only after PostgreSQL confirms the COMMIT. Rolls back if `work` throws.
   * Runs `work` again after a deadlock or a serialization failure, at most three times in total: `work` must have no
   * side effects outside the database.
   * @throws NotCommitted if `work` swallowed an error that had already aborted the transaction (PostgreSQL answers
   * ROLLBACK)
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return retrying(() => this.attempt(work));
  }

  /** Runs `work` in the open transaction `tx`, or in a new one. */
  within<T>(tx: Transaction | undefined, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return tx ? work(tx) : this.transaction(work);
  }

  /**
   * Reads the rows of a statement from one snapshot, in batches. Holds a connection and the snapshot until all rows are
   * read or the reader stops. PostgreSQL ends the transaction if the reader pauses longer than `statement_timeout`. It
   * would not with `pg-cursor`, which sends no Sync between batches, so that the session never counts as idle.
   */
  async *stream<Row extends QueryResultRow>(text: string, values: unknown[], rowsATime: number): AsyncGenerator<Row[]> {
    const client = await this.pool.connect();
    const ask = async (...query: [string, unknown[]?]): Promise<Row[]> => {
      const stop = this.destroyAtDeadline(client);
      try {
        return (await client.query<Row>(...query)).rows;
      } finally {
        stop();
      }
    };
    let isDone = false;
    try {
      await ask('BEGIN READ ONLY');
      await ask(`DECLARE streamed NO SCROLL CURSOR FOR ${text}`, values);
      for (;;) {
        const rows = await ask(`FETCH ${String(rowsATime)} FROM streamed`);
        if (rows.length === 0) break;
        yield rows;
      }
      await ask('COMMIT');
      isDone = true;
    } finally {
      client.release(!isDone);
    }
  }

  /** Connection counts of this process. */
  get connections(): { active: number; idle: number; max: number; waiting: number } {
    const { totalCount, idleCount, waitingCount, options } = this.pool;
    return { active: totalCount - idleCount, idle: idleCount, max: options.max, waiting: waitingCount };
  }

  /** Whether the database answers and has run every migration of this version. */
  async isReady(): Promise<boolean> {
    const done = await this.query<{ name: string }>(MIGRATIONS_DONE, []).catch((error: unknown) => {
      // 42P01: the table of migrations does not exist.
      if (sqlState(error) === '42P01') return [];
      throw error;
    });
    const names = new Set(done.map((row) => row.name));
    return this.dataSource.migrations.every((migration) => names.has(migration.name ?? migration.constructor.name));
  }

  private async attempt<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    const runner = this.dataSource.createQueryRunner();
    const client = (await runner.connect()) as PoolClient;
    const stop = this.destroyAtDeadline(client);
    try {
      // Through TypeORM, so that it knows about the transaction and does not start another one.
      await runner.startTransaction();
      const result = await work({
        manager: runner.manager,
        query: async <Row extends QueryResultRow>(text: string, values: unknown[] = []) =>
          (await client.query<Row>(text, values)).rows,
      });
      // Not through TypeORM, which does not check the command tag.
      const { command } = await client.query('COMMIT');
      if (command !== 'COMMIT') throw new NotCommitted(`COMMIT was answered with ${command}`);
      return result;
    } catch (error) {
      await rollBack(client);
      throw error;
    } finally {
      stop();
      await runner.release();
    }
  }

  private async withClient<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    const stop = this.destroyAtDeadline(client);
    let unusable = false;
    try {
      return await work(client);
    } catch (error) {
      unusable = isDatabaseUnavailable(error);
      throw error;
    } finally {
      stop();
      client.release(unusable);
    }
  }

  /** Destroys the connection if a lost server never answers. Ending only the wait would return it to the pool, busy. */
  private destroyAtDeadline(client: PoolClient): () => void {
    const timer = setTimeout(() => {
      destroy(client);
    }, this.deadline);
    return () => {
      clearTimeout(timer);
    };
  }

  private get pool(): Pool {
    return (this.dataSource.driver as PostgresDriver).master as Pool;
  }
}

async function retrying<T>(attempt: () => Promise<T>): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      if (count >= ATTEMPTS || !isRetryable(error)) throw error;
    }
  }
}

async function rollBack(client: PoolClient): Promise<void> {
  try {
    await client.query('ROLLBACK');
  } catch {
    // If the rollback fails, the transaction may still be open: the connection must not return to the pool.
    destroy(client);
  }
}
