import { randomUUID } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import type { QueryRunner } from 'typeorm';
import { UnusableDatabase, sqlState } from '../common/database-error.js';
import type { ConfigError, Env } from '../config/env.js';
import { migrations } from './migrations/index.js';
import { isPooled } from './session.js';

interface Facts {
  version: number;
  encoding: string;
  replicationRole: string;
  isStandby: boolean;
  role: string;
  database: string;
  hasSchema: boolean;
  mayMakeSchema: boolean;
}

const FACTS = `
  SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
    current_setting('session_replication_role') AS "replicationRole", pg_is_in_recovery() AS "isStandby",
    current_user::text AS role, current_database()::text AS database,
    has_database_privilege(current_database(), 'CREATE') AS "mayMakeSchema",
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS "hasSchema"`;

const MIGRATIONS_TABLE = `
  SELECT has_table_privilege(to_regclass(format('%I.migrations', $1::text)), 'SELECT') AS "isReadable"`;

/** Objects in a schema, except those of extensions, and the table that an interrupted first start has left empty. */
const FOREIGN_OBJECTS = `
  SELECT name FROM (
    SELECT relname::text AS name, 'pg_class'::regclass AS class, oid FROM pg_class
      WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL SELECT typname::text, 'pg_type'::regclass, oid FROM pg_type
      WHERE typnamespace = $1::regnamespace AND typtype IN ('d', 'e', 'r')
    UNION ALL SELECT proname::text, 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = $1::regnamespace
  ) AS object
  WHERE name NOT IN ('migrations', 'migrations_id_seq') AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = object.class AND d.objid = object.oid AND d.deptype = 'e')
  ORDER BY name LIMIT 1`;

/**
 * Checks requirements that a connection cannot set itself, before anything is created in the database. Then creates the
 * schema if it is missing.
 * @throws ConfigError with one line that says what to do
 */
export async function inspect(pool: Pool, env: Env): Promise<void> {
  const [one, other] = [await pool.connect(), await pool.connect()];
  try {
    await inspectDatabase(one, env.databaseSchema);
    if (env.preparedStatements && isPooled(one)) await inspectPooler(one, other);
  } finally {
    one.release();
    other.release();
  }
}

async function inspectDatabase(client: PoolClient, schema: string): Promise<void> {
  const [facts] = (await client.query<Facts>(FACTS, [schema])).rows;
  if (!facts) throw new Error('The database returned no information about itself');
  const { version, encoding, role, database } = facts;
  if (version < 150_000) {
    throw refusal(`PostgreSQL ${String(Math.trunc(version / 10_000))} is too old: version 15 or newer is required`);
  }
  if (encoding !== 'UTF8') {
    throw refusal(
      `database "${database}" has the encoding ${encoding}: create a database with ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
  if (facts.isStandby) throw refusal('the server is a standby, which is read-only: use the primary');
  if (facts.replicationRole !== 'origin') {
    throw refusal(
      `session_replication_role is ${facts.replicationRole}, which disables triggers: reset it for the role and the database`,
    );
  }
  if (!facts.hasSchema) {
    if (!facts.mayMakeSchema) {
      throw refusal(
        `there is no schema ${schema}; run as a superuser in "${database}": CREATE SCHEMA ${schema} AUTHORIZATION "${role}"`,
      );
    }
    await client.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
  }
}

/**
 * Rejects a schema with objects of another program or an older version, unless a migration of this version has run
 * there. Call it while no other process runs migrations.
 * @throws ConfigError
 */
export async function refuseForeignObjects(runner: QueryRunner, schema: string): Promise<void> {
  const done = await migrationsOf(runner, schema);
  if (done.some((name) => migrations.some((migration) => migration.name === name))) return;
  if (done[0] !== undefined) {
    throw refusal(
      `schema ${schema} was created by an older version or another program (migration ${done[0]}); use an empty database, or set DATABASE_SCHEMA to an empty schema`,
    );
  }
  const [foreign] = (await runner.query(FOREIGN_OBJECTS, [schema])) as { name: string }[];
  if (foreign) throw foreignObject(schema, `"${foreign.name}"`);
}

/** @param object names the object, or is the error of a statement that it blocked */
export function foreignObject(schema: string, object: string): ConfigError {
  return refusal(
    `schema ${schema} holds another program's objects (${object}); use an empty database, or set DATABASE_SCHEMA to an empty schema`,
  );
}

/** Returns the names of the migrations that have run in a schema, of any program, oldest first. */
export async function migrationsOf(runner: QueryRunner, schema: string): Promise<string[]> {
  const [table] = (await runner.query(MIGRATIONS_TABLE, [schema])) as { isReadable: boolean | null }[];
  if (table?.isReadable !== true) return [];
  // Another program's table can have other columns.
  const rows = (await runner.query(
    `SELECT to_jsonb(m) ->> 'name' AS name FROM ${schema}.migrations m ORDER BY to_jsonb(m) -> 'id'`,
  )) as { name: string | null }[];
  return rows.flatMap(({ name }) => name ?? []);
}

/** Tests whether a prepared statement of one client conflicts with another client that gets the same session. */
async function inspectPooler(one: PoolClient, other: PoolClient): Promise<void> {
  try {
    for (let triesLeft = 10; triesLeft > 0; triesLeft--) {
      const name = `probe-${randomUUID()}`;
      const session = await prepare(one, name, 'SELECT pg_backend_pid() AS pid');
      // Same name, different text. The pooler reuses the last session first, so both clients nearly always share it.
      if ((await prepare(other, name, 'SELECT pg_backend_pid() AS pid, 1')) === session) return;
    }
  } catch (error) {
    // 42P05: the name exists already; 26000: the statement was prepared on another session.
    if (!['42P05', '26000'].includes(sqlState(error) ?? '')) throw error;
    throw refusal(
      'its pooler does not keep prepared statements: set max_prepared_statements = 200 (PgBouncer 1.21 or newer), or PREPARED_STATEMENTS=off',
    );
  }
}

async function prepare(client: PoolClient, name: string, text: string): Promise<number | undefined> {
  return (await client.query<{ pid: number }>({ name, text })).rows[0]?.pid;
}

export function refusal(reason: string): ConfigError {
  return new UnusableDatabase(reason);
}
