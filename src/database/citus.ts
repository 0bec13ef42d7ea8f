import type { QueryRunner } from 'typeorm';

/**
 * Where the rows of a table are in a database that Citus distributes. `owner`: the rows of an owner are on one node,
 * those of all such tables together. `reference`: every node has all rows, so that they can be read without asking
 * another node; writes go to all nodes. `local`: only the coordinator has the table, because its rows are claimed across
 * all owners (FOR UPDATE SKIP LOCKED), or belong to none.
 */
export type Placement = 'owner' | 'reference' | 'local';

/** Every table, referenced ones before those that reference them. */
export const PLACEMENTS: Readonly<Record<string, Placement>> = {
  plans: 'reference',
  plan_limits: 'reference',
  users: 'reference',
  apis: 'reference',
  api_keys: 'reference',
  api_key_secrets: 'reference',
  platform_quotas: 'reference',
  gauges: 'owner',
  flows: 'owner',
  resources: 'owner',
  tasks: 'owner',
  store_entries: 'owner',
  credit_grants: 'owner',
  usage_hours: 'owner',
  idempotency_keys: 'owner',
  account_tokens: 'local',
  audit_entries: 'local',
  audit_seals: 'local',
  departed_calls: 'local',
  mail_outbox: 'local',
  migrations: 'local',
  platform_hours: 'local',
  platform_settings: 'local',
  recovery_requests: 'local',
  refusals: 'local',
  request_counts: 'local',
  request_hours: 'local',
  request_keys: 'local',
  request_nonces: 'local',
  request_routes: 'local',
  request_totals: 'local',
  sessions: 'local',
  sign_in_attempts: 'local',
  sign_in_places: 'local',
  sign_in_streaks: 'local',
  signing_keys: 'local',
  totp_recovery_codes: 'local',
  totp_secrets: 'local',
};

/** The table whose rows of an owner decide where its other rows are, and where its functions run. */
const FIRST_TABLE = 'gauges';

/** One thing that distributing the database does. Its statements are one transaction. */
export interface Step {
  /** The table or function. */
  name: string;
  becomes: 'table by owner' | 'reference table' | 'function by owner';
  statements: string[];
}

const TABLES_DONE = `
  SELECT logicalrelid::regclass::text AS name FROM pg_dist_partition
  WHERE partmethod = 'h' OR (partmethod = 'n' AND repmodel = 't')`;

/** Functions of one owner that do not run on its node yet. Helpers in SQL run wherever they are called. */
const FUNCTIONS_LEFT = `
  SELECT p.oid::regprocedure::text AS name FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  WHERE p.pronamespace = current_schema()::regnamespace AND p.proargnames[1] = 'of_owner' AND l.lanname = 'plpgsql'
    AND NOT EXISTS (SELECT FROM pg_dist_object d
      WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.distribution_argument_index IS NOT NULL)
  ORDER BY 1`;

/** Whether the database has tables that Citus distributes. */
export async function isDistributed(runner: QueryRunner): Promise<boolean> {
  const [{ hasCitus }] = (await runner.query(
    `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS "hasCitus"`,
  )) as [{ hasCitus: boolean }];
  return hasCitus && (await namesOf(runner, TABLES_DONE)).includes(FIRST_TABLE);
}

/** Returns what is left to do for the tables. The database must have the extension. */
export async function tablesLeft(runner: QueryRunner): Promise<Step[]> {
  const done = await namesOf(runner, TABLES_DONE);
  return Object.entries(PLACEMENTS).flatMap(([name, placement]): Step[] => {
    if (placement === 'local' || done.includes(name)) return [];
    if (placement === 'reference') {
      return [{ name, becomes: 'reference table', statements: [`SELECT create_reference_table('${name}')`] }];
    }
    const colocated = name === FIRST_TABLE ? 'none' : FIRST_TABLE;
    const statements = [
      `SELECT create_distributed_table('${name}', 'owner_id', colocate_with => '${colocated}')`,
      // The rows have been copied; without this, the coordinator keeps the old ones.
      `SELECT truncate_local_data_after_distributing_table('${name}')`,
    ];
    return [{ name, becomes: 'table by owner', statements }];
  });
}

/** Returns what is left to do for the functions: each runs on the node that has the rows of its first argument. */
export async function functionsLeft(runner: QueryRunner): Promise<Step[]> {
  return (await namesOf(runner, FUNCTIONS_LEFT)).map((name) => ({
    name,
    becomes: 'function by owner',
    statements: [`SELECT create_distributed_function('${name}', 'of_owner', colocate_with := '${FIRST_TABLE}')`],
  }));
}

async function namesOf(runner: QueryRunner, statement: string): Promise<string[]> {
  return ((await runner.query(statement)) as { name: string }[]).map(({ name }) => name);
}
