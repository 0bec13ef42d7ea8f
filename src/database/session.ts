import type { ClientBase, QueryResult } from 'pg';
import type { Env } from '../config/env.js';

/** Settings by name, with values as in `pg_settings`. */
export type Settings = Readonly<Record<string, string>>;

/**
 * Settings that every connection needs, regardless of the defaults of the role, the database or postgresql.conf:
 * settings that change results or weaken a guarantee, timeouts, and the query planner.
 */
export function sessionSettings(env: Env): Settings {
  return {
    // Timeouts of the database server. Never set the driver's `query_timeout`: it returns connections with an open
    // transaction to the pool, and acknowledged writes are lost (node-postgres #3399).
    statement_timeout: String(env.statementTimeout),
    idle_in_transaction_session_timeout: String(env.statementTimeout),
    ...{ lock_timeout: '0', transaction_timeout: '0', idle_session_timeout: '0' },
    ...{ search_path: env.databaseSchema, default_transaction_isolation: 'read committed' },
    ...{ default_transaction_read_only: 'off', row_security: 'on', exit_on_error: 'off' },
    // With `off`, a crash of the database server can lose acknowledged writes.
    synchronous_commit: 'on',
    // Text format of values.
    ...{ DateStyle: 'ISO, MDY', IntervalStyle: 'postgres', TimeZone: 'UTC', bytea_output: 'hex' },
    ...{ extra_float_digits: '1', array_nulls: 'on', standard_conforming_strings: 'on', transform_null_equals: 'off' },
    // JIT compilation takes longer than any statement here. Other settings of the planner keep their defaults: a
    // statement is planned for the tables as they are. Prepared statements: see prepared-query.ts.
    ...{ jit: 'off', plan_cache_mode: 'auto', enable_seqscan: 'on', enable_bitmapscan: 'on' },
    // Of Citus: otherwise a transaction that has read or written several shards cannot write a reference table.
    'citus.multi_shard_modify_mode': 'sequential',
  };
}

/** Settings that are set only if the session has this value: the operator chooses among the others. */
const UNFIT: Settings = { synchronous_commit: 'off' };

/**
 * `SET LOCAL` of a transaction default does not affect the current transaction, so these set the transaction itself.
 */
const IN_TRANSACTION: Settings = {
  default_transaction_isolation: 'transaction_isolation',
  default_transaction_read_only: 'transaction_read_only',
};

/** Not set behind a pooler, which closes idle connections itself. */
const NOT_FOR_POOLERS = ['idle_session_timeout'];

/**
 * Reads the settings in one round trip. Disables `statement_timeout` first, because the session's value may be too
 * short, and therefore reads that setting from `reset_val`.
 */
const inspectionOf = (names: readonly string[]): string => `
  BEGIN; SET LOCAL statement_timeout = 0;
  SELECT pg_backend_pid() AS pid, EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS "hasCitus",
    json_object_agg(name, CASE name WHEN 'statement_timeout' THEN reset_val ELSE setting END) AS settings
  FROM pg_settings WHERE name IN (${names.map((name) => `'${name}'`).join(', ')});
  COMMIT`;

interface Session {
  pid: number;
  hasCitus: boolean;
  settings: Settings;
}

/** Milliseconds within which a new connection must answer its first statement. */
const ANSWER_MS = 5_000;

type Query = (...args: unknown[]) => Promise<QueryResult>;

/**
 * Applies the settings to a new connection. A direct connection to PostgreSQL is set once. Behind a pooler in
 * transaction mode (PgBouncer), each transaction may get another session, which other clients share. There, the
 * settings that differ are set in each transaction, in the round trip that opens it. A single statement becomes a
 * transaction.
 */
export async function adopt(client: ClientBase, settings: Settings): Promise<void> {
  // The pool waits for this function: destroy the connection if the database server does not answer.
  const timer = setTimeout(() => destroy(client), ANSWER_MS);
  const inspect = client.query.bind(client) as Query;
  const results = await inspect(inspectionOf(Object.keys(settings))).finally(() => clearTimeout(timer));
  const session = (results as unknown as QueryResult<Session>[])[2]?.rows[0];
  if (!session) throw new Error('The database returned no session settings');
  if (session.hasCitus) onCitus.add(client);
  const differing = Object.entries(settings).filter(([name, value]) => {
    // Ignores settings that this PostgreSQL does not have.
    const current = session.settings[name] ?? value;
    return current !== value && current === (UNFIT[name] ?? current);
  });
  // A pooler reports a made-up process id to its clients.
  if (session.pid === (client as ClientBase & { processID: number }).processID) {
    if (differing.length > 0) await client.query(assignments('SET', differing));
    return;
  }
  pooled.add(client);
  const ofTransactions = differing
    .filter(([name]) => !NOT_FOR_POOLERS.includes(name))
    .map(([name, value]): [string, string] => [IN_TRANSACTION[name] ?? name, value]);
  if (ofTransactions.length > 0) setInEachTransaction(client, assignments('SET LOCAL', ofTransactions));
}

function assignments(command: string, settings: readonly [name: string, value: string][]): string {
  return settings.map(([name, value]) => `${command} ${name} = '${value}'`).join('; ');
}

const pooled = new WeakSet<ClientBase>();

/** Whether an adopted connection goes through a pooler. */
export function isPooled(client: ClientBase): boolean {
  return pooled.has(client);
}

const onCitus = new WeakSet<ClientBase>();

/** Whether the database of an adopted connection has the Citus extension. */
export function hasCitus(client: ClientBase): boolean {
  return onCitus.has(client);
}

function setInEachTransaction(client: ClientBase, prelude: string): void {
  const query = client.query.bind(client) as Query;
  const queryAlone: Query = async (...args) => {
    try {
      await query(`BEGIN; ${prelude}`);
      const result = await query(...args);
      await query('COMMIT');
      return result;
    } catch (error) {
      // If the rollback fails, the transaction may still be open: the connection must not return to the pool.
      if (client.getTransactionStatus() !== 'I') await query('ROLLBACK').catch(() => destroy(client));
      throw error;
    }
  };
  // Callbacks need no support: TypeORM and this folder use promises.
  client.query = ((...args: unknown[]) => {
    const [statement] = args;
    const opens = typeof statement === 'string' && /^\s*(BEGIN|START TRANSACTION)\b/i.test(statement);
    if (opens) return query(`${statement}; ${prelude}`);
    return client.getTransactionStatus() === 'I' ? queryAlone(...args) : query(...args);
  }) as ClientBase['query'];
}

/**
 * Destroys a connection if a lost server does not answer in time. Ending only the wait would return it to the pool,
 * busy. @returns stops the timer
 */
export function destroyAfter(client: ClientBase, milliseconds: number): () => void {
  const timer = setTimeout(() => {
    destroy(client);
  }, milliseconds);
  return () => {
    clearTimeout(timer);
  };
}

/** Closes a connection immediately. The pool drops it on release. */
export function destroy(client: ClientBase): void {
  (client as ClientBase & { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}
