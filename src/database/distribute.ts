import type { DataSource, QueryRunner } from 'typeorm';
import { sqlState } from '../common/database-error.js';
import { ConfigError, type Env } from '../config/env.js';
import { errorLine } from '../embedded-postgres/embedded-postgres-error.js';
import { functionsLeft, tablesLeft, type Step } from './citus.js';
import { installFunctions } from './functions.js';
import { migrationsOf } from './inspect.js';
import { alone } from './migrate.js';

/** The oldest version of Citus that the program was tested with. */
const [MAJOR, MINOR] = [13, 2];

const FACTS = `
  SELECT (SELECT extversion FROM pg_extension WHERE extname = 'citus') AS version, current_user::text AS role,
    (SELECT relname::text FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE')
     ORDER BY relname LIMIT 1) AS "foreignTable"`;

const NODES = `
  SELECT (SELECT groupid FROM pg_dist_local_group) = 0 AS "isCoordinator",
    EXISTS (SELECT FROM pg_dist_node WHERE groupid = 0) AS "isKnown",
    EXISTS (SELECT FROM pg_dist_node WHERE groupid <> 0 AND noderole = 'primary' AND shouldhaveshards) AS "hasWorkers"`;

/**
 * Turns a migrated database with the Citus extension into a distributed one. Does only what is not done yet, so that an
 * interrupted run can be repeated.
 * @param isDryRun only returns what would be done
 * @throws ConfigError with one line that says what to do first
 */
export async function distribute(env: Env, url: string, { isDryRun }: { isDryRun: boolean }): Promise<Step[]> {
  return alone(env, url, async (dataSource, holder) => {
    await refuseUnfit(holder, env);
    const done = await migrationsOf(holder, env.databaseSchema);
    if (done.length < dataSource.migrations.length) throw refusal('run `quartermaster migrate up` first');
    const [tables, functions] = [await tablesLeft(holder), await functionsLeft(holder)];
    if (isDryRun) return [...tables, ...functions];
    try {
      for (const step of tables) await perform(dataSource, step);
      // Nodes that were added after the functions were created do not have them yet. Views have lost their comments.
      if (tables.length + functions.length > 0) await installFunctions(dataSource, { isForced: true });
    } catch (error) {
      throw sqlState(error) === '42501'
        ? refusal(`${errorLine(error)}; use a role that has this privilege on all nodes`)
        : error;
    }
    return [...tables, ...functions];
  });
}

/** The transaction is long: of `Database`, it would be ended. */
async function perform(dataSource: DataSource, { statements }: Step): Promise<void> {
  await dataSource.transaction(async ({ queryRunner }) => {
    await queryRunner?.query('SET LOCAL statement_timeout = 0');
    for (const statement of statements) await queryRunner?.query(statement);
  });
}

async function refuseUnfit(runner: QueryRunner, { databaseSchema: schema }: Env): Promise<void> {
  const [{ version, role, foreignTable }] = (await runner.query(FACTS)) as [
    { version: string | null; role: string; foreignTable: string | null },
  ];
  if (version === null) {
    throw refusal(
      'it has no extension citus; install Citus, and run as a superuser on each node: CREATE EXTENSION citus',
    );
  }
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  if (major < MAJOR || (major === MAJOR && minor < MINOR)) {
    throw refusal(`Citus ${version} is too old: version ${MAJOR}.${MINOR} or newer is required`);
  }
  const [{ isCoordinator, isKnown, hasWorkers }] = (await runner.query(NODES)) as [
    { isCoordinator: boolean; isKnown: boolean; hasWorkers: boolean },
  ];
  if (!isCoordinator) throw refusal('it is on a worker; set DATABASE_URL to the coordinator');
  if (!isKnown) {
    throw refusal(
      "the coordinator is not in its own list of nodes; run: SELECT citus_set_coordinator_host('its host name')",
    );
  }
  if (!hasWorkers) throw refusal("it has no workers; run for each one: SELECT citus_add_node('its host name', 5432)");
  // Functions on workers look for tables in the default search path.
  if (schema !== 'public') throw refusal(`its tables are in schema ${schema}, but must be in public`);
  if (foreignTable !== null) {
    throw refusal(`role "${role}" is not the owner of table ${foreignTable}; use the role that created the tables`);
  }
}

function refusal(reason: string): ConfigError {
  return new ConfigError(`The database cannot be distributed: ${reason}.`);
}
