import pg from 'pg';
import { PLACEMENTS } from '../dist/src/database/citus.js';
import { readDefinitions } from '../dist/src/database/functions.js';
import { command, createDatabase, query } from './support/server.js';
import { until } from './support/until.js';

type Database = Awaited<ReturnType<typeof createDatabase>>;

/** The coordinator and its workers; one address without Citus. */
const nodes = (process.env.TEST_POSTGRES_NODES ?? '').split(' ');

const distribute = (url: string, ...args: string[]) =>
  command({ DATABASE_URL: url }, ['db', 'distribute', ...args, '--json']);

const refusal = (reason: string) => ({
  code: 1,
  stdout: '',
  stderr: expect.stringContaining(`The database cannot be distributed: ${reason}`),
});

/** Where Citus has the rows of each table: by owner, on all nodes, or only on the coordinator. */
async function placementsOf({ url }: Database): Promise<Record<string, string>> {
  const rows = await query(
    url,
    `SELECT c.relname AS name, CASE WHEN d.partmethod = 'h' THEN 'owner' WHEN d.repmodel = 't' THEN 'reference' ELSE 'local' END AS placement
     FROM pg_class c LEFT JOIN pg_dist_partition d ON d.logicalrelid = c.oid
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`,
  );
  return Object.fromEntries(rows.map(({ name, placement }) => [name, placement]));
}

let database: Database;

beforeAll(async () => {
  database = await createDatabase();
});

afterAll(() => database.drop());

test('each table has a placement, after the tables that it references', async () => {
  const tables = await query(
    database.url,
    `SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1`,
  );
  expect(tables.map(({ name }) => name)).toEqual(Object.keys(PLACEMENTS).sort());
  const places = Object.keys(PLACEMENTS);
  const references = await query(
    database.url,
    `SELECT c.relname AS "from", confrelid::regclass::text AS "to" FROM pg_constraint JOIN pg_class c ON c.oid = conrelid
     WHERE contype = 'f'`,
  );
  for (const { from, to } of references.filter((each) =>
    ['owner', 'reference'].includes(PLACEMENTS[each.from] ?? ''),
  )) {
    expect(places.indexOf(to)).toBeLessThan(places.indexOf(from));
  }
});

test('tables that are distributed by owner have it first in their primary key', async () => {
  const keys = await query(
    database.url,
    `SELECT conrelid::regclass::text AS name, pg_get_constraintdef(oid) AS key FROM pg_constraint WHERE contype = 'p'`,
  );
  const distributed = keys.filter(({ name }) => PLACEMENTS[name] === 'owner');
  expect(distributed.length).toBeGreaterThan(5);
  for (const { key } of distributed) expect(key).toMatch(/^PRIMARY KEY \(owner_id,/);
});

/** Constraint names are read from messages: see `violatedConstraint`. */
test('the name of each constraint tells its kind', async () => {
  const rows = await query(
    database.url,
    `SELECT conname AS name FROM pg_constraint JOIN pg_class c ON c.oid = conrelid
     WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f', 'u', 'c') AND c.relname <> 'migrations'`,
  );
  for (const { name } of rows) expect(name).toMatch(/_(pkey|fkey|unique|check)$/);
});

/** Without Citus there is only a refusal. */
const [withoutCitus, withCitus] = nodes.length > 1 ? [describe.skip, describe] : [describe, describe.skip];

withoutCitus('db distribute without Citus', () => {
  test('refused without the extension', async () => {
    expect(await distribute(database.url)).toEqual(refusal('it has no extension citus; install Citus'));
  });
});

withCitus('db distribute', () => {
  test('refused before the migrations, and on a worker', async () => {
    const empty = await createDatabase({ isEmpty: true });
    expect(await distribute(empty.url)).toEqual(refusal('run `quartermaster migrate up` first'));
    const worker = new URL(nodes[1] ?? '');
    worker.pathname = `/${empty.name}`;
    expect(await distribute(worker.href)).toEqual(refusal('it is on a worker; set DATABASE_URL to the coordinator'));
    await query(empty.url, 'SELECT citus_remove_node(nodename, nodeport) FROM pg_dist_node WHERE groupid <> 0');
    expect(await distribute(empty.url)).toEqual(refusal('it has no workers; run for each one'));
    await empty.drop();
  });

  test('a dry run, an interrupted run and its repetition, with the rows that exist', async () => {
    const made = await createDatabase({ isEmpty: true });
    expect(await command({ DATABASE_URL: made.url }, ['migrate', 'up'])).toMatchObject({ code: 0 });
    const owner = '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c';
    await query(made.url, `INSERT INTO users (id, username, password_hash) VALUES ($1, 'ada', '')`, [owner]);
    await query(made.url, `INSERT INTO gauges (owner_id, meter, used) VALUES ($1, 'tasks', 3)`, [owner]);
    const migrated = await placementsOf(made);

    const { code, stdout } = await distribute(made.url, '--dry-run');
    expect(code).toBe(0);
    const { isDryRun, steps } = JSON.parse(stdout);
    expect(isDryRun).toBe(true);
    expect(await placementsOf(made)).toEqual(migrated);

    // Interrupted while it waits for a table that another transaction holds.
    const holder = new pg.Client({ connectionString: made.url });
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE idempotency_keys IN ACCESS SHARE MODE');
    const interrupted = distribute(made.url);
    await until(async () => {
      const ended = await query(
        made.url,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%idempotency_keys%'`,
      );
      return ended.length > 0;
    });
    expect(await interrupted).toMatchObject({ code: 1, stdout: '' });
    await holder.query('ROLLBACK');
    await holder.end();
    const second = await distribute(made.url);
    expect(second).toMatchObject({ code: 0, stderr: '' });
    const rest = JSON.parse(second.stdout);
    expect(rest.steps.length).toBeLessThan(steps.length);
    expect(steps).toEqual(expect.arrayContaining(rest.steps));
    expect(JSON.parse((await distribute(made.url)).stdout)).toEqual({ isDryRun: false, steps: [] });

    expect(await placementsOf(made)).toEqual(PLACEMENTS);
    expect(await query(made.url, 'SELECT used FROM gauges WHERE owner_id = $1', [owner])).toEqual([{ used: '3' }]);
    expect(await query(made.url, `SELECT pg_relation_size('gauges')::int AS bytes`)).toEqual([{ bytes: 0 }]);
    await made.drop();
  });

  test('a start installs changed functions on all nodes, and distributes new ones', async () => {
    const own = await createDatabase();
    await query(own.url, 'DROP FUNCTION owner_quotas');
    expect(await command({ DATABASE_URL: own.url }, ['migrate', 'up'])).toMatchObject({ code: 0 });
    const body = readDefinitions()
      .find(({ name }) => name === 'owner_quotas')
      ?.sql.split('$$')[1];
    for (const node of nodes) {
      const address = new URL(node);
      address.pathname = `/${own.name}`;
      const installed = await query(
        address.href,
        `SELECT p.prosrc AS body, d.distribution_argument_index AS place FROM pg_proc p
         JOIN pg_dist_object d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid WHERE p.proname = 'owner_quotas'`,
      );
      expect(installed).toEqual([{ body, place: 0 }]);
    }
    await own.drop();
  });
});
