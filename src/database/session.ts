import type { ClientBase, QueryResult } from 'pg';
import type { Env } from '../config/env.js';

/** Settings by name, each as `pg_settings` shows it. */
export type Settings = Readonly<Record<string, string>>;

/**
 * What the server needs set on a connection, whatever a role, a database or postgresql.conf sets: what changes an answer,
 * the time limits, and how statements are planned.
 */
export function sessionSettings(env: Env): Settings {
  return {
    // The server's own limits. `query_timeout` must never be set: it puts connections with an open transaction back into
    // the pool, and acknowledged writes are lost (node-postgres #3399).
    statement_timeout: String(env.statementTimeout),
    idle_in_transaction_session_timeout: String(env.statementTimeout),
    ...{ lock_timeout: '0', transaction_timeout: '0', idle_session_timeout: '0' },
    ...{ search_path: env.databaseSchema, default_transaction_isolation: 'read committed' },
    ...{ default_transaction_read_only: 'off', row_security: 'on', exit_on_error: 'off' },
    // How values are written as text and read.
    ...{ DateStyle: 'ISO, MDY', IntervalStyle: 'postgres', TimeZone: 'UTC', bytea_output: 'hex' },
    ...{ extra_float_digits: '1', array_nulls: 'on', standard_conforming_strings: 'on', transform_null_equals: 'off' },
    // Every statement here has an index to go by. Without this a prepared statement that was planned while a table was
    // small scans the whole of it until the next ANALYZE: 6.4 ms instead of 0.12 at 100,000 rows, measured. Nor may it
    // read all of an index's range in advance (bitmap scans) where a page is wanted, as it does before the first ANALYZE.
    // And compiling a plan (JIT) takes longer than anything here runs.
    ...{ enable_seqscan: 'off', enable_bitmapscan: 'off', jit: 'off' },
  };
}

/** `SET LOCAL` of a default for transactions comes too late for the transaction it is in. */
const IN_TRANSACTION: Settings = {
  default_transaction_isolation: 'transaction_isolation',
  default_transaction_read_only: 'transaction_read_only',
};

/** A pooler ends idle connections itself. */
const NOT_FOR_POOLERS = ['idle_session_timeout'];

/** In one round trip, and whatever time limit the session begins with, which is then read as what RESET would set. */
const inspectionOf = (names: readonly string[]): string => `
  BEGIN; SET LOCAL statement_timeout = 0;
  SELECT pg_backend_pid() AS pid, json_object_agg(name, CASE name WHEN 'statement_timeout' THEN reset_val ELSE setting END) AS settings
  FROM pg_settings WHERE name IN (${names.map((name) => `'${name}'`).join(', ')});
  COMMIT`;

interface Session {
  pid: number;
  settings: Settings;
}

/** Milliseconds that a new connection gets to answer its first statement. */
const ANSWER_MS = 5_000;

type Query = (...args: unknown[]) => Promise<QueryResult>;

/**
 * Gives a new connection the settings that it needs. On a connection to PostgreSQL they are set once. Behind a pooler in
 * transaction mode (PgBouncer) each transaction may get another session, which other clients use too: there those that
 * differ are set in each transaction, in the round trip that opens it, and a statement alone becomes a transaction.
 */
export async function adopt(client: ClientBase, settings: Settings): Promise<void> {
  // A server that goes away now answers nothing, and the pool waits for this.
  const timer = setTimeout(() => destroy(client), ANSWER_MS);
  const inspect = client.query.bind(client) as Query;
  const results = await inspect(inspectionOf(Object.keys(settings))).finally(() => clearTimeout(timer));
  const session = (results as unknown as QueryResult<Session>[])[2]?.rows[0];
  if (!session) throw new Error('The session told nothing of itself');
  // A setting that this version of PostgreSQL does not have is not found.
  const differing = Object.entries(settings).filter(([name, value]) => (session.settings[name] ?? value) !== value);
  // A pooler tells its clients a process number that it makes up.
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

/** Whether a connection that was adopted goes through a pooler. */
export function isPooled(client: ClientBase): boolean {
  return pooled.has(client);
}

function setInEachTransaction(client: ClientBase, prelude: string): void {
  const query = client.query.bind(client) as Query;
  const queryAlone: Query = async (...args) => {
    await query(`BEGIN; ${prelude}`);
    try {
      const result = await query(...args);
      await query('COMMIT');
      return result;
    } catch (error) {
      // A connection that cannot roll back may still hold the transaction: it must not go back into the pool.
      if (client.getTransactionStatus() !== 'I') await query('ROLLBACK').catch(() => destroy(client));
      throw error;
    }
  };
  // Calls with a callback do not occur: TypeORM and this folder use promises.
  client.query = ((...args: unknown[]) => {
    const [statement] = args;
    const opens = typeof statement === 'string' && /^\s*(BEGIN|START TRANSACTION)\b/i.test(statement);
    if (opens) return query(`${statement}; ${prelude}`);
    return client.getTransactionStatus() === 'I' ? queryAlone(...args) : query(...args);
  }) as ClientBase['query'];
}

/** Ends a connection at once; the pool then drops it when it is released. */
export function destroy(client: ClientBase): void {
  (client as ClientBase & { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}
