import { Injectable } from '@nestjs/common';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { DataSource, type EntityManager, type ObjectLiteral, type QueryRunner, type Repository } from 'typeorm';
import type { PostgresDriver } from 'typeorm/driver/postgres/PostgresDriver.js';
import { isDatabaseUnavailable, sqlState } from '../common/database-error.js';
import { retrying } from './data-source.js';
import type { PostgresOptions } from './options.js';
import { queryPrepared } from './prepared-query.js';
import { destroy, destroyAfter, hasCitus } from './session.js';

/**
 * SQL with numbered parameters. With a name, each connection prepares it once and keeps one plan for all values, with
 * index scans only: use a name only for frequent statements that a matching index serves for all values. Such a statement
 * must join an array with a table by LATERAL and OFFSET 0, or find rows by `= ANY`: if a plain join is planned while the
 * table is small, its plan reads all rows of an owner. Without a name it is planned at each execution.
 */
export interface Statement {
  name?: string;
  text: string;
}

/** An open transaction. `within` binds a repository to it; `Database.query` runs SQL in it. */
export type Transaction = EntityManager;

export interface LockOptions {
  /** Two names with the same hash only wait for each other. */
  name?: string;
  /** Whether other holders may share the lock. */
  isShared?: boolean;
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

const MIGRATIONS_DONE = { text: 'SELECT name FROM migrations' };

/** Runs SQL and transactions. */
@Injectable()
export class Database {
  /** Whether the database is distributed over nodes by owner. Known after the first statement. */
  isDistributed = false;
  private readonly deadline: number;
  private readonly prepares: boolean;

  constructor(private readonly dataSource: DataSource) {
    const { deadline, prepares } = dataSource.options as PostgresOptions;
    this.deadline = deadline;
    this.prepares = prepares;
  }

  /**
   * Runs a statement in the transaction `tx`; without one, in its own transaction, at most five times if deadlocks stop
   * it. A statement in `tx`, or with PREPARED_STATEMENTS=off, is not prepared.
   */
  async query<Row extends QueryResultRow>(statement: Statement, values: unknown[], tx?: Transaction): Promise<Row[]> {
    const { name, text } = statement;
    if (tx) return (await runnerOf(tx).query(text, values, true)).records as Row[];
    return retrying(() =>
      this.withClient(async (client) => {
        const result =
          name !== undefined && this.prepares
            ? await queryPrepared<Row>(client, { name, text, values })
            : await client.query<Row>(text, values);
        return result.rows;
      }),
    );
  }

  /**
   * Runs `work` in one transaction and resolves only after PostgreSQL confirms the COMMIT. Rolls back if `work` throws.
   * Runs `work` again after a deadlock or a serialization failure, at most five times in total: `work` must have no
   * side effects outside the database.
   * @throws NotCommitted if `work` swallowed an error that had already aborted the transaction (PostgreSQL answers
   * ROLLBACK)
   */
  async transaction<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return retrying(() => this.attempt(work));
  }

  /** For coalescers: on a distributed database, a statement has requests of one owner only, so that one node runs it. */
  partitionOf(ownerId: string): string | undefined {
    return this.isDistributed ? ownerId : undefined;
  }

  /** Runs `work` in the open transaction `tx`, or in a new one. */
  within<T>(tx: Transaction | undefined, work: (tx: Transaction) => Promise<T>): Promise<T> {
    return tx ? work(tx) : this.transaction(work);
  }

  /**
   * Takes an advisory lock until the transaction ends. Holders of the same key wait for each other.
   * @param key a number that is the same in every process; with a name, one of the locks of that kind
   */
  async lock(tx: Transaction, key: number, { name, isShared = false }: LockOptions = {}): Promise<void> {
    const take = `pg_advisory_xact_lock${isShared ? '_shared' : ''}`;
    if (name === undefined) await this.query({ text: `SELECT ${take}($1)` }, [key], tx);
    else await this.query({ text: `SELECT ${take}($1, hashtext($2))` }, [key, name], tx);
  }

  /** Like `lock`, but does not wait. @returns false if another transaction holds the lock */
  async tryLock(tx: Transaction, key: number | bigint): Promise<boolean> {
    const text = 'SELECT pg_try_advisory_xact_lock($1::bigint) AS "isLocked"';
    return (await this.query<{ isLocked: boolean }>({ text }, [key], tx))[0]?.isLocked ?? false;
  }

  /**
   * Reads the rows of a statement from one snapshot, in batches. Holds a connection and the snapshot until all rows are
   * read or the reader stops. PostgreSQL ends the transaction if the reader pauses longer than `statement_timeout`. It
   * would not with `pg-cursor`, which sends no Sync between batches, so that the session never counts as idle.
   */
  async *stream<Row extends QueryResultRow>(text: string, values: unknown[], rowsATime: number): AsyncGenerator<Row[]> {
    const client = await this.pool.connect();
    const ask = async (...query: [string, unknown[]?]): Promise<Row[]> => {
      const stop = destroyAfter(client, this.deadline);
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
    const stop = destroyAfter(client, this.deadline);
    try {
      // Through TypeORM, so that it knows about the transaction and does not start another one.
      await runner.startTransaction();
      const result = await work(runner.manager);
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
    const stop = destroyAfter(client, this.deadline);
    let unusable = false;
    this.isDistributed = hasCitus(client);
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

  private get pool(): Pool {
    return (this.dataSource.driver as PostgresDriver).master as Pool;
  }
}

/** Returns a repository that runs its statements in the transaction, if there is one. */
export function within<T extends ObjectLiteral>(repository: Repository<T>, tx: Transaction | undefined): Repository<T> {
  return tx ? tx.withRepository(repository) : repository;
}

/** EntityManager.query is not used: for UPDATE and DELETE it returns the rows and their number. */
function runnerOf(tx: Transaction): QueryRunner {
  if (tx.queryRunner?.isTransactionActive !== true) throw new Error('No transaction is open');
  return tx.queryRunner;
}

async function rollBack(client: PoolClient): Promise<void> {
  try {
    await client.query('ROLLBACK');
  } catch {
    // If the rollback fails, the transaction may still be open: the connection must not return to the pool.
    destroy(client);
  }
}
