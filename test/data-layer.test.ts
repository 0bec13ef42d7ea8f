import pg from 'pg';
import type { DataSource } from 'typeorm';
import { findLive as findSessions } from '../src/auth/sessions/sessions.statements.js';
import { findLive, use } from '../src/auth/signed-requests/signatures.statements.js';
import { USUAL_LENGTH } from '../src/common/page.js';
import { Env } from '../src/config/env.js';
import { connect } from '../src/database/connect.js';
import { Database, type Statement } from '../src/database/database.js';
import { dataSourceOptions } from '../src/database/options.js';
import { queryPrepared } from '../src/database/prepared-query.js';
import { PlanLimit } from '../src/platform/plan-limit.entity.js';
import { Plan } from '../src/platform/plan.entity.js';
import { SpendsRepository } from '../src/quota/calls/spends.repository.js';
import { ChargedObjectsRepository } from '../src/quota/objects/charged-objects.repository.js';
import { ChargedObjectsStatements } from '../src/quota/objects/charged-objects.statements.js';
import { Flow } from '../src/quota/flow.entity.js';
import { LIST, LIST_OF_KEYS } from '../src/quota/quota.statements.js';
import { Resource } from '../src/resources/resource.entity.js';
import { Task } from '../src/tasks/task.entity.js';
import { StoreRepository } from '../src/store/store.repository.js';
import { FIND, FIND_ALL, LIST_OWNED } from '../src/store/store.statements.js';
import { User } from '../src/users/user.entity.js';
import { findByIds } from '../src/users/users.statements.js';
import { isDistributed } from './support/citus.js';
import { createDatabase } from './support/server.js';

const ID = '01a22790-0000-7000-8000-000000000000';
const OTHER = '01a22790-0000-7000-8000-000000000001';

const env = new Env({ DATABASE_POOL: '2' });
let database: Awaited<ReturnType<typeof createDatabase>>;
let dataSource: DataSource;
let db: Database;

beforeAll(async () => {
  database = await createDatabase();
  const options = dataSourceOptions(env, database.url);
  // One connection, so that each statement sees what the one before has left.
  dataSource = await connect({ ...options, poolSize: 1, entities: [User, Plan, PlanLimit] });
  await dataSource.runMigrations();
  db = new Database(dataSource);
});

afterAll(async () => {
  await dataSource.destroy();
  await database.drop();
});

/** Inserts users with a session, a key and entries each, past the API. */
async function fill(from: number, to: number): Promise<void> {
  const statements = [
    `INSERT INTO users (id, username, username_key, password_hash)
     SELECT gen_random_uuid(), 'u' || n, 'u' || n, '' FROM generate_series($1::int, $2::int) n`,
    `INSERT INTO request_keys (id, owner_id, name, public_key)
     SELECT gen_random_uuid(), id, '', decode(repeat('00', 32), 'hex') FROM users
     WHERE substr(username, 2)::int BETWEEN $1 AND $2`,
    `INSERT INTO store_entries (owner_id, key, value, version)
     SELECT id, 'k' || n, '1', 1 FROM users, generate_series(1, 3) n WHERE substr(username, 2)::int BETWEEN $1 AND $2`,
    `INSERT INTO gauges (owner_id, meter)
     SELECT id, 'store.entries' FROM users WHERE substr(username, 2)::int BETWEEN $1 AND $2`,
  ];
  for (const statement of statements) await dataSource.query(statement, [from, to]);
}

describe('prepared statements', () => {
  /** Frequent statements over tables that grow, and a value for each parameter. */
  const frequent = (): [Statement, unknown[]][] => [
    [findByIds(dataSource.getRepository(User)), [[ID]]],
    [findLive(env), [[ID]]],
    [use(env), [[ID], [Buffer.alloc(32)], [0], [null]]],
    [FIND.several, [[ID], ['k1']]],
    [FIND.one, [ID, ['k1']]],
    ...Object.values(FIND_ALL).flatMap(({ several, one }): [Statement, unknown[]][] => [
      [several, [[ID], ['k1'], [1], [1]]],
      [one, [ID, ['k1'], [1], [1]]],
    ]),
    [LIST_OWNED, [ID, 'a', 'z', 50, true]],
    [LIST_OF_KEYS, [[ID], [ID]]],
    [LIST, [ID, ['tasks']]],
  ];

  /** Returns the plan of a prepared statement that scans a whole table of users or of what they own. */
  async function scansOf([{ name, text }, values]: [Statement, unknown[]], state: string): Promise<string[]> {
    const explained = { name: `${String(name)} ${state}`, text: `EXPLAIN ${text}` };
    const plan = await db.query<{ 'QUERY PLAN': string }>(explained, values);
    const lines = plan.map((row) => row['QUERY PLAN'].trim());
    return lines.filter((line) =>
      /(Seq|Bitmap Heap) Scan on (users|request_keys|store_entries|quotas|sessions)/.test(line),
    );
  }

  test('index scans on tables that are empty, small, and large, with and without statistics', async () => {
    const states: [state: string, reach: () => Promise<unknown>][] = [
      ['empty', () => Promise.resolve()],
      ['few rows', () => fill(1, 20)],
      ['few rows, analyzed', () => dataSource.query('ANALYZE')],
      ['many rows, statistics of few', () => fill(21, 5_000)],
      ['many rows, analyzed', () => dataSource.query('ANALYZE')],
    ];
    for (const [state, reach] of states) {
      await reach();
      for (const each of frequent())
        expect({ state, of: each[0].name, scans: await scansOf(each, state) }).toEqual({
          state,
          of: each[0].name,
          scans: [],
        });
    }
  });

  test('planned once for all values', async () => {
    const statement = { name: 'planned', text: 'SELECT id FROM users WHERE id = ANY($1::uuid[])' };
    for (let n = 0; n < 3; n++) await db.query(statement, [[ID]]);
    const [counts] = await db.query(
      {
        text: `SELECT generic_plans::int AS kept, custom_plans::int AS discarded FROM pg_prepared_statements WHERE name = $1`,
      },
      ['planned'],
    );
    expect(counts).toEqual({ kept: 3, discarded: 0 });
  });

  test('the settings of the planner do not outlive the statement, also after an error', async () => {
    const settings = { text: `SELECT name FROM pg_settings WHERE name LIKE 'enable_%scan' AND setting = 'off'` };
    expect(await db.query({ name: 'works', text: 'SELECT 1 AS one' }, [])).toEqual([{ one: 1 }]);
    expect(await db.query(settings, [])).toEqual([]);
    await expect(db.query({ name: 'fails', text: 'SELECT 1 / $1::int' }, [0])).rejects.toMatchObject({ code: '22012' });
    expect(await db.query(settings, [])).toEqual([]);
    expect(await db.query({ name: 'works', text: 'SELECT 1 AS one' }, [])).toEqual([{ one: 1 }]);
  });

  test('first prepared statement of a connection cannot be parsed: it runs once its table exists', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const late = { name: 'late', text: 'SELECT count(*)::int AS count FROM late', values: [] };
    await expect(queryPrepared(client, late)).rejects.toMatchObject({ code: '42P01' });
    await client.query('CREATE TABLE late ()');
    expect((await queryPrepared(client, late)).rows).toEqual([{ count: 0 }]);
    await client.query('DROP TABLE late');
    await client.end();
  });

  test('a statement without a name, in a transaction, or of TypeORM: planned with the defaults', async () => {
    const setting = { text: `SELECT current_setting('enable_seqscan') AS value` };
    expect(await db.query(setting, [])).toEqual([{ value: 'on' }]);
    expect(await db.transaction((tx) => db.query({ name: 'in-tx', ...setting }, [], tx))).toEqual([{ value: 'on' }]);
    expect(await dataSource.query(setting.text)).toEqual([{ value: 'on' }]);
  });
});

/** Rows of one owner. A plan that reads them all shows in the number of rows read. */
const MANY = 5_000;

const describeUnlessDistributed = isDistributed() ? describe.skip : describe;

describeUnlessDistributed('statements that were planned on small tables', () => {
  const hash = '07'.repeat(32);
  let own: Awaited<ReturnType<typeof createDatabase>>;
  let source: DataSource;
  let used: Database;

  beforeAll(async () => {
    own = await createDatabase();
    const entities = [User, Plan, PlanLimit, Resource, Task, Flow];
    // One connection, which keeps its plans.
    source = await connect({ ...dataSourceOptions(env, own.url), poolSize: 1, entities });
    used = new Database(source);
    for (const [statement, values] of [
      [
        `INSERT INTO users (id, username, username_key, password_hash)
         VALUES ($1::uuid, 'rich', 'rich', ''), ($2::uuid, 'other', 'other', '')`,
        [ID, OTHER],
      ],
      [`INSERT INTO flows (owner_id, meter) VALUES ($1, 'api:*')`, [ID]],
      [`INSERT INTO api_keys (owner_id, id, name, hint, scopes) VALUES ($1, $1, '', '', '{*}')`, [ID]],
      [
        `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled) VALUES ($2, $1, $1, '{*}', false)`,
        [ID, Buffer.from(hash, 'hex')],
      ],
      [
        `INSERT INTO request_keys (id, owner_id, name, public_key) VALUES ($1, $1, '', decode(repeat('00', 32), 'hex'))`,
        [ID],
      ],
    ] as const) {
      await source.query(statement, [...values]);
    }
    await source.query('ANALYZE');
  });

  afterAll(async () => {
    await source.destroy();
    await own.drop();
  });

  /** Counts the rows of a table that the connection has read. */
  async function rowsRead(table: string): Promise<number> {
    await source.query('SELECT pg_stat_force_next_flush()');
    const [row] = await source.query(
      `SELECT coalesce(idx_tup_fetch, 0)::int + seq_tup_read::int AS count FROM pg_stat_user_tables WHERE relname = $1`,
      [table],
    );
    return row.count;
  }

  test('they read only the rows that they need of an owner with many', async () => {
    const store = new StoreRepository(used);
    const resources = new ChargedObjectsStatements(used, source.getRepository(Resource));
    const tasks = new ChargedObjectsStatements(used, source.getRepository(Task));
    const listed = new ChargedObjectsRepository(source.getRepository(Resource), used);
    const listedTasks = new ChargedObjectsRepository(source.getRepository(Task), used);
    const spends = new SpendsRepository(used);
    const page = { before: OTHER, limit: USUAL_LENGTH + 1 };
    let written = 0;
    const entry = { key: 'k7', value: Buffer.from('1'), ttlSeconds: null, ifVersion: null };
    const run = { ownerId: ID, hash, slug: 'api1', cost: 1, count: 1, dryRun: false };
    const both = [ID, OTHER];
    const cases: [name: string, table: string, run: () => Promise<unknown>][] = [
      [
        'write',
        'store_entries',
        () => store.write({ ownerId: ID, onConflict: 'replace', atomic: false, entries: [entry] }),
      ],
      [
        'write a new key',
        'store_entries',
        () =>
          store.write({
            ...{ ownerId: ID, onConflict: 'skip', atomic: false },
            entries: [{ ...entry, key: `new${written++}` }],
          }),
      ],
      ['delete', 'store_entries', () => store.delete({ ownerId: ID, keys: ['k8'], ifVersion: null })],
      ['read', 'store_entries', () => store.find(ID, 'k9')],
      ['read all', 'store_entries', () => store.findAll(ID, ['k9', 'none'])],
      ['read all of two owners', 'store_entries', () => Promise.all(both.map((owner) => store.findAll(owner, ['k9'])))],
      ['read a resource', 'resources', () => resources.find({ ownerId: ID, id: ID })],
      [
        'read resources of two owners',
        'resources',
        () => Promise.all(both.map((ownerId) => resources.find({ ownerId, id: ID }))),
      ],
      ['read any resource', 'resources', () => resources.find({ ownerId: null, id: ID })],
      ['list resources', 'resources', () => listed.list(ID, { ...page, before: null })],
      ['list a later page of resources', 'resources', () => listed.list(ID, page)],
      ['list resources of all', 'resources', () => listed.list(null, page)],
      ['list tasks', 'tasks', () => listedTasks.list(ID, page)],
      ['list open tasks', 'tasks', () => listedTasks.list(ID, page, { completed: false })],
      ['list open tasks of all', 'tasks', () => listedTasks.list(null, page, { completed: false })],
      ['read a task', 'tasks', () => tasks.find({ ownerId: ID, id: ID })],
      ['read any task', 'tasks', () => tasks.find({ ownerId: null, id: ID })],
      ['find the owner of a key', 'api_key_secrets', () => spends.findOwner(hash)],
      ['spend, secrets', 'api_key_secrets', () => spends.spend([run])],
      ['spend, flows', 'flows', () => spends.spend([run])],
      ['find a signing key', 'request_keys', () => used.query(findLive(env), [[ID]])],
      ['find the user of a signing key', 'users', () => used.query(findLive(env), [[ID]])],
      ['use a signature', 'request_keys', () => used.query(use(env), [[ID], [Buffer.alloc(32)], [0], [null]])],
      ['find sessions', 'sessions', () => used.query(findSessions(env), [[ID], [ID]])],
    ];
    // Before version 17, PostgreSQL may compare instead of looking up what `= ANY` asks of a later column of an index.
    const [{ version }] = await source.query(`SELECT current_setting('server_version_num')::int AS version`);
    const known = version >= 170_000 ? [] : ['delete', 'read all', 'read all of two owners', 'spend, flows'];
    for (const [, , once] of cases) await once();
    for (const statement of [
      `INSERT INTO users (id, username, username_key, password_hash)
       SELECT gen_random_uuid(), 'u' || n, 'u' || n, $1::text FROM generate_series(1, $2::int) n`,
      `INSERT INTO store_entries (owner_id, key, value, version) SELECT $1, 'k' || n, '1', 1 FROM generate_series(1, $2::int) n
       ON CONFLICT DO NOTHING`,
      `INSERT INTO resources (owner_id, id, value) SELECT $1, gen_random_uuid(), '' FROM generate_series(1, $2::int)`,
      `INSERT INTO tasks (owner_id, id, completed) SELECT $1, gen_random_uuid(), false FROM generate_series(1, $2::int)`,
      `INSERT INTO api_keys (owner_id, id, name, hint, scopes)
       SELECT $1, gen_random_uuid(), '', '', '{*}' FROM generate_series(1, $2::int)`,
      `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled)
       SELECT sha256(id::text::bytea), id, owner_id, scopes, false FROM api_keys WHERE owner_id = $1 LIMIT $2`,
      `INSERT INTO flows (owner_id, key_id, meter) SELECT owner_id, id, 'api:api1' FROM api_keys WHERE owner_id = $1 LIMIT $2
       ON CONFLICT DO NOTHING`,
      `INSERT INTO request_keys (id, owner_id, name, public_key)
       SELECT gen_random_uuid(), $1, '', decode(repeat('00', 32), 'hex') FROM generate_series(1, $2::int)`,
      `INSERT INTO sessions (owner_id, id, nonce, expires_at)
       SELECT $1, gen_random_uuid(), '', now() + interval '1 day' FROM generate_series(1, $2::int)`,
    ]) {
      await source.query(statement, [ID, MANY]);
    }
    const read: [string, number][] = [];
    for (const [name, table, once] of cases) {
      const before = await rowsRead(table);
      await once();
      read.push([name, (await rowsRead(table)) - before]);
    }
    const most = (name: string): number => (name.startsWith('list') ? page.limit : 20);
    expect(read.filter(([name, count]) => count > most(name) && !known.includes(name))).toEqual([]);
    const [{ lists }] = await source.query(
      `SELECT count(*)::int AS lists FROM pg_prepared_statements WHERE statement LIKE '/* prepared */%'`,
    );
    expect(lists).toBe(6);
  });
});

describe('statements of TypeORM outside a transaction', () => {
  /** Raises an error with the SQLSTATE at the first calls after a restart of the sequence, which is not rolled back. */
  const FAIL = `
    CREATE SEQUENCE calls;
    CREATE FUNCTION fail(state text, times bigint) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE n bigint := nextval('calls');
    BEGIN
      IF n <= times THEN RAISE EXCEPTION 'at first' USING ERRCODE = state; END IF;
      RETURN n;
    END $$`;

  beforeAll(() => dataSource.query(FAIL));

  const fail = async (state: string, times: number): Promise<{ n: number; pid: number }[]> => {
    await dataSource.query('ALTER SEQUENCE calls RESTART');
    return dataSource.query('SELECT fail($1, $2) AS n, pg_backend_pid() AS pid', [state, times]);
  };

  const failOnce = (state: string) => fail(state, 1);

  test('deadlocks: at most five attempts', async () => {
    expect(await fail('40P01', 4)).toMatchObject([{ n: 5 }]);
    await expect(fail('40P01', 5)).rejects.toMatchObject({ driverError: { code: '40P01' } });
    expect(await dataSource.query('SELECT last_value AS n FROM calls')).toMatchObject([{ n: 5 }]);
  });

  test.each(['40P01', '40001'])('SQLSTATE %s: run again', async (state) => {
    expect(await failOnce(state)).toMatchObject([{ n: 2 }]);
  });

  test('SQLSTATE 23505: not run again', async () => {
    await expect(failOnce('23505')).rejects.toMatchObject({ driverError: { code: '23505' } });
  });

  test('SQLSTATE 25006: the connection does not return to the pool', async () => {
    const pid = async (): Promise<unknown> => (await dataSource.query('SELECT pg_backend_pid() AS pid'))[0].pid;
    const before = await pid();
    await expect(failOnce('25006')).rejects.toMatchObject({ driverError: { code: '25006' } });
    expect(await pid()).not.toBe(before);
  });
});

test('Database.query with a manager whose transaction is not open: rejected', async () => {
  await expect(db.query({ text: 'SELECT 1' }, [], dataSource.manager)).rejects.toThrow('No transaction is open');
});
