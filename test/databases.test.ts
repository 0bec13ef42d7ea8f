import pg from 'pg';
import { Env } from '../src/config/env.js';
import { connect } from '../src/database/connect.js';
import { dataSourceOptions } from '../src/database/options.js';
import { Api, expectProblem } from './support/api.js';
import { Pooler } from './support/pooler.js';
import { TestServer, createDatabase, postgresUrl, query } from './support/server.js';

type Database = Awaited<ReturnType<typeof createDatabase>>;

/** Database settings that change how PostgreSQL writes, reads or compares values. */
const HOSTILE = {
  ...{ DateStyle: 'German', IntervalStyle: 'sql_standard', TimeZone: 'Asia/Kathmandu', bytea_output: 'escape' },
  ...{ extra_float_digits: '-15', array_nulls: 'off', transform_null_equals: 'on', standard_conforming_strings: 'off' },
  ...{ search_path: 'nowhere', default_transaction_isolation: 'serializable', default_transaction_read_only: 'on' },
  ...{ row_security: 'off', exit_on_error: 'on', statement_timeout: '2s', lock_timeout: '1' },
  ...{ idle_in_transaction_session_timeout: '1', idle_session_timeout: '5s', default_transaction_deferrable: 'on' },
  ...{ synchronous_commit: 'off', check_function_bodies: 'off' },
  ...{ lc_messages: 'C', lc_numeric: 'C', xmlbinary: 'hex', work_mem: '64kB', plan_cache_mode: 'force_generic_plan' },
  ...{ enable_indexscan: 'off', jit: 'on', geqo_threshold: '2', from_collapse_limit: '1', quote_all_identifiers: 'on' },
};

/** Environment variables that a shell can set. */
const SHELL = {
  ...{ PGOPTIONS: '-c search_path=nowhere -c default_transaction_read_only=on', PGCLIENTENCODING: 'LATIN1' },
  ...{ PGCLIENT_ENCODING: 'latin1', PGDATESTYLE: 'German', PGTZ: 'Asia/Kathmandu', TZ: 'Asia/Kathmandu' },
  ...{
    PGHOST: '192.0.2.1',
    PGPORT: '1',
    PGUSER: 'nobody',
    PGPASSWORD: 'x',
    PGDATABASE: 'nowhere',
    PGSSLMODE: 'require',
  },
  ...{
    PGREPLICATION: 'database',
    PGSSLNEGOTIATION: 'direct',
    PGCONNECT_TIMEOUT: '1',
    LANG: 'tr_TR.UTF-8',
    LC_ALL: 'tr_TR.UTF-8',
  },
};

/** Responses of every kind, without values that differ from run to run. */
async function answersOf(api: Api): Promise<unknown[]> {
  const admin = await api.admin();
  const user = await api.createUser();
  const me = api.as(user);
  const plan = await api.createPlan([{ meter: 'api:*', window: 'month', limit: 1_000 }]);
  await admin.patch(`/v1/users/${user.id}`, { plan, credits: 1 });
  await admin.put(`/v1/users/${user.id}/quotas/api:api1`, { limit: 1, window: 'day' });
  await admin.put(`/v1/users/${user.id}/quotas/resources`, { limit: 1 });
  const key = await me.createKey();
  const answers = [
    await me.get('/v1/users/me'),
    await me.post('/v1/resources', { value: 'back\\slash and ’quote’' }),
    await me.post('/v1/resources', { value: 'one too many' }),
    await me.get('/v1/resources'),
    await me.post('/v1/tasks', { title: 'a task' }),
    await me.post('/v1/tasks'),
    await admin.post(`/v1/users/${user.id}/credits`, { amount: 1, expiresAt: '2099-01-02T03:04:05Z' }),
    await me.post('/v1/store/write', {
      entries: [
        { key: 'a\\b', value: { n: 0.1, t: '\\' } },
        { key: 'c', value: null },
      ],
    }),
    await me.get('/v1/store/c'),
    await me.get('/v1/store?prefix=a&values=true'),
    await me.post('/v1/users', { username: user.username, password: 'Unguessable-7' }),
    await api.call('api1', key),
    await api.call('api1', key),
    await me.get('/v1/users/me/quotas'),
    await me.get('/v1/metrics/users/me'),
    await me.get(`/v1/metrics/series?meter=api:api1&step=hour&user=${user.id}`),
    await admin.get('/v1/metrics/usage?format=csv'),
    await admin.get('/v1/audit/verify'),
    await admin.get('/readyz'),
  ];
  const mask =
    /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d{2}-\d{2}T[\d:.]+Z|\bu[0-9a-f]{8,}\b|"(requestId|head|un?sealed|sealed)":[^,}]*/g;
  return answers.map(({ status, text }) => [status, text.replaceAll(mask, '…')]);
}

describe('Hostile settings of database and shell', () => {
  let plain: Database;
  let hostile: Database;

  beforeAll(async () => {
    [plain, hostile] = await Promise.all([createDatabase(), createDatabase({ isEmpty: true })]);
    for (const [name, value] of Object.entries(HOSTILE)) {
      await query(postgresUrl(), `ALTER DATABASE ${hostile.name} SET ${name} = '${value}'`);
    }
  });

  afterAll(async () => {
    await plain.drop();
    await hostile.drop();
  });

  test('direct connection: the same responses as with defaults', async () => {
    const servers = await Promise.all([
      TestServer.start({ DATABASE_URL: plain.url }),
      TestServer.spawn({ DATABASE_URL: hostile.url, ...SHELL }),
    ]);
    const [expected, got] = await Promise.all(servers.map(({ url }) => answersOf(new Api(url))));
    await Promise.all(servers.map((server) => server.stop()));
    expect(got).toEqual(expected);
  });

  test('pooler in transaction mode: the same responses as with defaults, and no settings are left behind', async () => {
    const settings = `SELECT name, setting FROM pg_settings WHERE name = ANY('{DateStyle,search_path,statement_timeout,enable_seqscan}') ORDER BY 1`;
    // Long enough for the sessions of the pooler.
    for (const name of ['statement_timeout', 'idle_session_timeout']) {
      await query(postgresUrl(), `ALTER DATABASE ${hostile.name} SET ${name} = '100s'`);
    }
    const before = await query(hostile.url, settings);
    const pooler = await Pooler.start(hostile.url, 3);
    const env = { DATABASE_URL: pooler.url, PREPARED_STATEMENTS: 'off', DATABASE_STATEMENT_TIMEOUT: '5000', ...SHELL };
    const servers = await Promise.all([TestServer.start({ DATABASE_URL: plain.url }), TestServer.spawn(env)]);
    const [expected, got] = await Promise.all(servers.map(({ url }) => answersOf(new Api(url))));
    expect(got).toEqual(expected);

    const [, server] = servers;
    const api = new Api(server.url);
    const admin = await api.admin();
    const lock = new pg.Client({ connectionString: hostile.url });
    await lock.connect();
    await lock.query(
      'SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET search_path = public',
    );
    await lock.query('BEGIN READ WRITE; LOCK TABLE public.resources');
    expectProblem(await admin.get('/v1/resources'), 503, 'overloaded');
    await lock.end();
    expect((await admin.get('/v1/resources')).status).toBe(200);
    await Promise.all(servers.map((each) => each.stop()));

    const others = new pg.Client({ connectionString: pooler.url });
    await others.connect();
    expect((await others.query(settings)).rows).toEqual(before);
    await others.end();
    await pooler.stop();
  });
});

test('synchronous_commit of the database: `off` becomes `on`, other values are kept, also behind a pooler', async () => {
  const database = await createDatabase({ isEmpty: true });
  const found: unknown[] = [];
  const values = ['off', 'on', 'local', 'remote_write', 'remote_apply'];
  for (const value of values) {
    await query(postgresUrl(), `ALTER DATABASE ${database.name} SET synchronous_commit = ${value}`);
    const pooler = await Pooler.start(database.url, 1);
    for (const url of [database.url, pooler.url]) {
      const dataSource = await connect(dataSourceOptions(new Env({ DATABASE_URL: url }), url));
      found.push(...(await dataSource.query<object[]>('SHOW synchronous_commit')));
      await dataSource.destroy();
    }
    await pooler.stop();
  }
  const expected = ['on', ...values.slice(1)].map((value) => ({ synchronous_commit: value }));
  expect(found).toEqual(expected.flatMap((each) => [each, each]));
  await database.drop();
});

test('requests while the database rejects the role or is renamed: 503, then 200', async () => {
  const database = await createDatabase({ isEmpty: true });
  const role = `${database.name}_role`;
  await query(
    postgresUrl(),
    `CREATE ROLE ${role} LOGIN PASSWORD 'x'; ALTER DATABASE ${database.name} OWNER TO ${role}`,
  );
  const url = Object.assign(new URL(database.url), { username: role, password: 'x' });
  const server = await TestServer.start({ DATABASE_URL: url.href });
  const admin = await new Api(server.url).admin();
  const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}'`;
  for (const [fault, remedy] of [
    [`ALTER ROLE ${role} NOLOGIN`, `ALTER ROLE ${role} LOGIN`],
    [`ALTER ROLE ${role} PASSWORD 'y'`, `ALTER ROLE ${role} PASSWORD 'x'`],
    [`${end}; ALTER DATABASE ${database.name} RENAME TO ${role}`, `ALTER DATABASE ${role} RENAME TO ${database.name}`],
  ] as const) {
    for (const statement of [...fault.split('; '), end]) await query(postgresUrl(), statement);
    for (const path of ['/readyz', '/v1/users/me', '/v1/store?limit=1']) {
      expectProblem(await admin.get(path), 503, 'database_unavailable');
    }
    await query(postgresUrl(), remedy);
    for (const path of ['/readyz', '/v1/users/me']) expect((await admin.get(path)).status).toBe(200);
  }
  await query(database.url, `REVOKE SELECT ON resources FROM ${role}; ALTER TABLE resources OWNER TO CURRENT_USER`);
  expectProblem(await admin.get('/v1/resources'), 503, 'database_unavailable');
  await server.stop();
  await database.drop();
  await query(postgresUrl(), `DROP ROLE ${role}`);
});

test('start with a pooler without prepared statements: refused with the setting to change', async () => {
  const database = await createDatabase({ isEmpty: true });
  const pooler = await Pooler.start(database.url, 2);
  expect(await TestServer.refusal({ DATABASE_URL: pooler.url })).toBe(
    'The database of DATABASE_URL cannot be used: its pooler does not keep prepared statements: set max_prepared_statements = 200 (PgBouncer 1.21 or newer), or PREPARED_STATEMENTS=off.',
  );
  expect(await query(database.url, `SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace`)).toEqual([]);
  await pooler.stop();
  await database.drop();
});
