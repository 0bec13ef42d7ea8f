import pg from 'pg';
import { isDistributed } from './citus.js';
import type { Fleet } from './fleet.js';
import { until } from './until.js';

/** The number of objects by kind. Expired store entries count until they are swept. */
export interface Objects {
  users: number;
  tasks: number;
  resources: number;
  entries: number;
}

const ROWS = `
  SELECT (SELECT count(*) FROM users)::int AS users, (SELECT count(*) FROM tasks)::int AS tasks,
    (SELECT count(*) FROM resources)::int AS resources, (SELECT count(*) FROM store_entries)::int AS entries`;

export async function objectsIn(fleet: Fleet): Promise<Objects> {
  return (await fleet.query(ROWS))[0];
}

export function total({ users, tasks, resources, entries }: Objects): number {
  return users + tasks + resources + entries;
}

/** Deletes all users but the administrator, as the API does, but at once. */
export async function deleteUsers(fleet: Fleet): Promise<void> {
  await fleet.query(`DO $$
    DECLARE
      one uuid;
      leaving uuid[] := ARRAY(SELECT id FROM users WHERE username <> 'admin' ORDER BY id);
    BEGIN
      -- A sweeper still works: it locks gauges of owners in this order, and then quotas of the platform.
      FOREACH one IN ARRAY leaving LOOP
        PERFORM FROM gauges WHERE owner_id = one ORDER BY meter FOR UPDATE;
        PERFORM FROM flows WHERE owner_id = one ORDER BY key_id, meter FOR UPDATE;
      END LOOP;
      FOREACH one IN ARRAY leaving LOOP
        PERFORM release_user(one);
      END LOOP;
      DELETE FROM users WHERE username <> 'admin';
    END $$`);
}

/** Compares the maintained sums with sums computed here from the rows, independently of the database functions. */
const FAULTS = `
  WITH there AS MATERIALIZED (${ROWS}), owned AS MATERIALIZED (
    SELECT owner_id, 'tasks' AS meter, count(*) AS units FROM tasks GROUP BY owner_id
    UNION ALL SELECT owner_id, 'resources', count(*) FROM resources GROUP BY owner_id
    UNION ALL SELECT owner_id, 'store.entries', count(*) FROM store_entries GROUP BY owner_id
  ), charged AS MATERIALIZED (
    SELECT owner_id, meter, used AS units FROM gauges WHERE meter IN ('tasks', 'resources', 'store.entries')
  ), settings AS MATERIALIZED (
    SELECT credits, credits_at FROM platform_settings
  ), grants AS MATERIALIZED (
    SELECT g.owner_id, sum(g.amount) AS amount FROM credit_grants g, settings s
    WHERE g.expires_at IS NULL OR g.expires_at > s.credits_at
    GROUP BY g.owner_id
  ), credits AS MATERIALIZED (
    SELECT coalesce(sum(coalesce(t.amount, p.limits[1]) + coalesce(g.amount, 0)), 0) AS sum FROM users u
    LEFT JOIN gauges t ON t.owner_id = u.id AND t.meter = 'tasks'
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
    LEFT JOIN grants g ON g.owner_id = u.id
    WHERE coalesce(t.amount, p.limits[1]) >= 0
  )
  SELECT 'objects' AS of, to_json(p.counts[1]) AS kept, row_to_json(t) AS there FROM platform_quotas p, there t
  WHERE p.meter = 'objects' AND p.counts[1] <> t.users + t.tasks + t.resources + t.entries
  UNION ALL SELECT 'gauges', row_to_json(c), row_to_json(o)
  FROM charged c FULL JOIN owned o ON o.owner_id = c.owner_id AND o.meter = c.meter
  WHERE coalesce(c.units, 0) <> coalesce(o.units, 0)
  UNION ALL SELECT 'credits', to_json(s.credits), to_json(c.sum)
  FROM settings s, credits c WHERE s.credits <> c.sum`;

/** Returns each maintained sum that differs from its rows. */
export function faultsIn(fleet: Pick<Fleet, 'query'>): Promise<object[]> {
  return fleet.query(FAULTS);
}

/** Checks that all maintained sums match their rows. */
export async function expectSound(fleet: Fleet): Promise<void> {
  expect(await faultsIn(fleet)).toEqual([]);
}

/** Returns the number of statements that wait for a lock. */
export async function waitingIn(fleet: Fleet): Promise<number> {
  const here = `SELECT count(*)::int FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'quartermaster'`;
  const onNodes = isDistributed() ? 'SELECT count(DISTINCT waiting_gpid)::int FROM citus_lock_waits' : 'SELECT 0';
  const [row] = await fleet.query(`SELECT greatest((${here}), (${onNodes})) AS count`);
  return row.count;
}

/** Returns the number of deadlocks that PostgreSQL has resolved. */
export async function deadlocksIn(fleet: Fleet): Promise<number> {
  // A PostgreSQL backend reports its statistics after some seconds, or when it exits, so this terminates the backends.
  const connections = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'quartermaster'`;
  const ended = await fleet.query(`SELECT pid, pg_terminate_backend(pid) ${connections}`);
  const pids = ended.map(({ pid }) => pid as number);
  await until(async () => (await fleet.query(`SELECT ${connections} AND pid = ANY($1)`, [pids])).length === 0);
  // Responses to later requests prove that the servers have seen the closed connections.
  for (const { url } of fleet.servers) await (await fetch(`${url}/livez`)).text();
  const text = 'SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()';
  return (await fleet.query(text))[0].deadlocks;
}

const SUMS = `
  SELECT (SELECT credits::text FROM platform_settings) AS credits,
    (SELECT json_agg(json_build_array(meter, counts[1]) ORDER BY meter COLLATE "C") FROM platform_quotas) AS platform`;

/** Returns the maintained sums before and after `recount_platform()`, in a transaction that is rolled back. */
export async function recounted(fleet: Fleet): Promise<{ kept: object; made: object }> {
  const client = new pg.Client({ connectionString: fleet.url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query('LOCK TABLE gauges, users, credit_grants IN EXCLUSIVE MODE');
    await client.query('SELECT advance_credits() FROM platform_settings WHERE credits IS NOT NULL');
    const kept = (await client.query<object>(SUMS)).rows[0]!;
    await client.query('SELECT recount_platform()');
    const made = (await client.query<object>(SUMS)).rows[0]!;
    await client.query('ROLLBACK');
    return { kept, made };
  } finally {
    await client.end();
  }
}
