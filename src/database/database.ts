import { Injectable } from '@nestjs/common';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { DataSource, type EntityManager } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { isDatabaseUnavailable, isRetryable, sqlState } from '../common/database-error.js';
import { Env } from '../config/env.js';
import { destroy } from './session.js';

/** A statement that is prepared once a connection under its name. */
export interface Statement {
  name: string;
  text: string;
}

/** An open transaction: TypeORM's manager and plain SQL on its one connection. */
export interface Transaction {
  manager: EntityManager;
  query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** COMMIT was answered, but not with COMMIT: nothing was written. */
export class NotCommitted extends Error {
  override readonly name = 'NotCommitted';
}

/** Thrown by the work of a transaction that must begin anew, having acted on what is no longer so. Nothing was written. */
export class OutOfDate extends Error {
  override readonly name = 'OutOfDate';
  /** As PostgreSQL says it: serialization_failure. */
  readonly code = '40001';
}

const MIGRATIONS_DONE = { name: 'migrations-done', text: 'SELECT name FROM migrations' };

/** How often a statement or transaction runs in all, where deadlocks and serialization failures stop it. */
const ATTEMPTS = 3;
/** What the server gets beyond `statement_timeout` before its connection is given up. */
const GRACE_MS = 5_000;

/** The way to PostgreSQL: prepared statements and transactions. */
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

  /** Runs one statement, prepared under its name (without PREPARED_STATEMENTS=off), in a transaction of its own; again after a deadlock, three times at most. */
  async query<Row extends QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]> {
    const { name, text } = statement;
    const query = this.prepares ? { name, text, values } : { text, values };
    return retrying(() => this.withClient(async (client) => (await client.query<Row>(query)).rows));
  }

  /**
   * Runs `work` in one transaction and resolves only when PostgreSQL answered COMMIT with COMMIT. Everything is rolled
   * back when `work` throws. After a deadlock or a serialization failure all of it runs again, three times at most:
   * `work` must have no effect but on the database.
   * @throws NotCommitted when a swallowed error had already ended the transaction (PostgreSQL then says ROLLBACK)
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return retrying(() => this.attempt(work));
  }

  /** Runs `work` in a transaction that is open already, or else in one of its own. */
  within<T>(tx: Transaction | undefined, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return tx ? work(tx) : this.transaction(work);
  }

  /**
   * Reads the rows of a statement as of one moment, some at a time. Holds a connection, and what the moment sees, until all
   * are read or the reader turns away; a reader that pauses longer than a statement may take is given up by the server.
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

  /** The connections of this process. */
  get connections(): { active: number; idle: number; max: number; waiting: number } {
    const { totalCount, idleCount, waitingCount, options } = this.pool;
    return { active: totalCount - idleCount, idle: idleCount, max: options.max, waiting: waitingCount };
  }

  /** Whether the database answers, and has run every migration that this program knows. */
  async isReady(): Promise<boolean> {
    const done = await this.query<{ name: string }>(MIGRATIONS_DONE, []).catch((error: unknown) => {
      // 42P01: not even the table of migrations is there.
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
      // Through TypeORM, so that it knows that a transaction is open and starts none of its own.
      await runner.startTransaction();
      const result = await work({
        manager: runner.manager,
        query: async <Row extends QueryResultRow>(text: string, values: unknown[] = []) =>
          (await client.query<Row>(text, values)).rows,
      });
      // Not through TypeORM, which does not look at the tag.
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

  /** A server that went away without a word answers nothing: the connection, never only the wait, is given up. */
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
    // A connection that cannot roll back may still hold the transaction: it must not go back into the pool.
    destroy(client);
  }
}
