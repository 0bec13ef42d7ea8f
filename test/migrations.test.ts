import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DataSource, type QueryRunner } from 'typeorm';
import { migrations } from '../dist/src/database/migrations/index.js';
import { VERSION } from '../dist/src/config/version.js';
import { installFunctions, readDefinitions } from '../dist/src/database/functions.js';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { Api } from './support/api.js';
import { isAlive } from './support/processes.js';
import { platformMetrics } from './support/metrics.js';
import { TestServer, createDatabase, inherited, query } from './support/server.js';
import { until } from './support/until.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FOLDER = join(ROOT, 'src', 'database', 'migrations');

/** Excludes the table in which TypeORM records migrations. */
const NOT_OURS = `relname <> 'migrations' AND relnamespace = 'public'::regnamespace`;

/** Reference tables: rows have an owner, but all shards need them. */
const REFERENCE = `('api_keys', 'api_key_secrets', 'request_keys')`;

/** Starts the TypeORM CLI on the compiled configuration, as `npm run migration:…` does. */
function startTypeorm(env: Record<string, string>, ...command: string[]): ChildProcessWithoutNullStreams {
  const cli = join(ROOT, 'node_modules', 'typeorm', 'cli.js');
  const args = [cli, '-d', 'dist/ormconfig.js', ...command];
  return spawn(process.execPath, args, { cwd: ROOT, env: { ...inherited(), ...env } });
}

/** Runs the CLI until it exits. @returns its output */
async function typeormOn(env: Record<string, string>, ...command: string[]): Promise<string> {
  const child = startTypeorm(env, ...command);
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`typeorm ${command.join(' ')} ended with ${code}:\n${output}${errors}`);
  return output;
}

const typeorm = (url: string, command: string): Promise<string> => typeormOn({ DATABASE_URL: url }, command);

/** Every table, column, view, function, trigger, constraint and index, as PostgreSQL describes them. */
function schemaOf(url: string): Promise<unknown[]> {
  return query(
    url,
    `SELECT c.relname || '.' || a.attname AS name,
            format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS definition
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE ${NOT_OURS} AND relkind = 'r'
     UNION ALL SELECT relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE ${NOT_OURS} AND relkind = 'v'
     UNION ALL SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
     UNION ALL SELECT tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE ${NOT_OURS} AND NOT tgisinternal
     UNION ALL SELECT conname, pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN pg_class c ON c.oid = conrelid WHERE ${NOT_OURS}
     UNION ALL SELECT relname, pg_get_indexdef(c.oid) FROM pg_class c WHERE ${NOT_OURS} AND relkind = 'i' AND relname NOT LIKE 'PK_%'
     ORDER BY 1, 2`,
  );
}

async function migrationFiles(): Promise<string[]> {
  return (await readdir(FOLDER)).filter((name) => name.endsWith('.ts') && name !== 'index.ts').sort();
}

describe('Migrations', () => {
  /** A database with all migrations. */
  let migrated: Awaited<ReturnType<typeof createDatabase>>;

  beforeAll(async () => {
    migrated = await createDatabase();
  });

  afterAll(() => migrated.drop());

  test.concurrent(
    'up, down, up: an empty schema, then the same schema again, without drift against the entities',
    async () => {
      const database = await createDatabase({ isEmpty: true });
      const names = migrations.map((migration) => new migration().name);
      await typeorm(database.url, 'migration:run');
      const schema = await schemaOf(database.url);
      expect(schema.length).toBeGreaterThan(50);

      // Uses the CLI for one revert only, because each takes some seconds. The others run in this process.
      await typeorm(database.url, 'migration:revert');
      const source = await new DataSource({ type: 'postgres', url: database.url, migrations }).initialize();
      for (let left = names.length - 1; left > 0; left--) await source.undoLastMigration();
      await source.destroy();
      expect(await schemaOf(database.url)).toEqual([]);
      const shown = await typeorm(database.url, 'migration:show');
      for (const name of names) expect(shown).toMatch(new RegExp(`^\\[ \\].* ${name}$`, 'm'));

      await typeorm(database.url, 'migration:run');
      expect(await schemaOf(database.url)).toEqual(schema);
      const done = await typeorm(database.url, 'migration:show');
      for (const name of names) expect(done).toMatch(new RegExp(`^\\[X\\].* ${name}$`, 'm'));

      expect(await typeorm(database.url, 'schema:log')).toContain('Your schema is up to date');
      await database.drop();
    },
  );

  test.concurrent('functions and views: those of the files, installed again when their text differs', async () => {
    const database = await createDatabase();
    const bodies = (): Promise<any[]> =>
      query(
        database.url,
        `SELECT proname AS name, prosrc AS body FROM pg_proc WHERE pronamespace = 'public'::regnamespace
         UNION ALL SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'`,
      );
    const definitions = readDefinitions();
    const installed = await bodies();
    expect(installed.map(({ name }) => name).sort()).toEqual(definitions.map(({ name }) => name).sort());
    const functions = definitions.filter(({ kind }) => kind === 'FUNCTION');
    expect(installed).toEqual(
      expect.arrayContaining(functions.map(({ name, sql }) => ({ name, body: sql.split('$$')[1] }))),
    );

    const source = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    const runner = source.createQueryRunner();
    const change = (comment: string): Promise<unknown> =>
      runner.query(`
        CREATE OR REPLACE FUNCTION no_key() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
        COMMENT ON FUNCTION no_key IS '${comment}'`);
    const isChanged = async (): Promise<boolean> => (await runner.query('SELECT no_key() IS NULL AS is'))[0].is;
    const other = 'f'.repeat(64);
    for (const comment of ['', 'A comment', `0.0.9 ${other}`, `${VERSION}-rc.1 ${other}`, `${VERSION} ${other}`]) {
      await change(comment);
      await installFunctions(source);
      expect(await isChanged()).toBe(false);
    }
    expect(await bodies()).toEqual(expect.arrayContaining(installed));
    // A server of an older version starts beside newer ones.
    for (const version of ['0.1.10', '0.10.0-rc.1', '10.0.0']) {
      await change(`${version} ${other}`);
      await installFunctions(source);
      expect(await isChanged()).toBe(true);
    }
    await runner.release();
    await source.destroy();
    await database.drop();
  });

  test.concurrent('database of an older version: one line, and nothing changes', async () => {
    const database = await createDatabase({ isEmpty: true });
    await query(
      database.url,
      `CREATE TABLE migrations (id serial, timestamp bigint, name varchar);
       INSERT INTO migrations (timestamp, name) VALUES (1763700000001, 'AccountsAndResources1763700000001')`,
    );
    expect(await TestServer.refusal({ DATABASE_URL: database.url })).toMatch(
      /schema public was created by an older version or another program \(migration AccountsAndResources1763700000001\); use an empty database/,
    );
    expect(await query(database.url, `SELECT relname FROM pg_class WHERE ${NOT_OURS} AND relkind = 'r'`)).toEqual([]);
    await database.drop();
  });

  test.concurrent('recount_platform: the same sums as those that charges maintain', async () => {
    const grown = await createDatabase();
    const rows = (text: string): Promise<any[]> => query(grown.url, text);
    const sums = (): Promise<any[]> =>
      rows(`SELECT (SELECT credits::text FROM platform_settings) AS credits,
        (SELECT counts[1]::int FROM platform_quotas WHERE meter = 'objects') AS objects`);
    const server = await TestServer.start({ DATABASE_URL: grown.url });
    const api = new Api(server.url);
    const admin = await api.admin();
    expect((await admin.patch('/v1/platform', { totalObjects: 1_000 })).status).toBe(200);
    const plan = await api.createPlan([
      { meter: 'tasks', limit: 7 },
      { meter: 'resources', limit: 3 },
    ]);
    const users = [
      await api.createUser({ plan }),
      await api.createUser({ plan, credits: 5 }),
      await api.createUser({ plan, credits: null }),
      await api.createUser({ credits: 0 }),
      await api.createUser(),
    ];
    for (const [i, user] of users.entries()) {
      const me = api.as(user);
      for (let n = 0; n < i; n++) await me.post('/v1/resources', { value: String(n) });
      const entries = Array.from({ length: 5 - i }, (_, n) => ({ key: `k${n}`, value: n }));
      await me.post('/v1/store/write', { entries });
      const key = await me.createKey();
      for (let n = 0; n <= i; n++) await api.call('api1', key);
    }
    expect((await admin.delete(`/v1/users/${users[4]!.id}`)).status).toBe(204);
    expect((await admin.post(`/v1/users/${users[1]!.id}/credits`, { amount: 2 })).status).toBe(201);
    expect(await platformMetrics(admin)).toMatchObject({
      ...{ users: 5, objects: { total: 5 + 6 + 14, users: 5, tasks: 0, resources: 6, storeEntries: 14 } },
      ...{ credits: { granted: 14, used: 0 }, calls: { granted: 15, denied: 0 } },
    });
    expect(await server.stop()).toBe(0);
    expect(await sums()).toEqual([{ credits: '14', objects: 25 }]);
    await rows('SELECT recount_platform()');
    expect(await sums()).toEqual([{ credits: '14', objects: 25 }]);
    await rows(
      `UPDATE platform_quotas SET counts[1] = 9 WHERE meter = 'objects'; UPDATE platform_settings SET credits = 1`,
    );
    await rows('SELECT recount_platform()');
    expect(await sums()).toEqual([{ credits: '14', objects: 25 }]);
    await grown.drop();
  });

  test('every constraint and index has an explicit name', async () => {
    const made = await query(
      migrated.url,
      // Skips NOT NULL, which PostgreSQL 18 lists as a constraint.
      `SELECT conname AS name FROM pg_constraint o JOIN pg_class ON pg_class.oid = conrelid WHERE ${NOT_OURS} AND contype <> 'n'
       UNION SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid JOIN pg_class ON pg_class.oid = indrelid
       WHERE pg_class.relname <> 'migrations' AND i.relnamespace = 'public'::regnamespace`,
    );
    const statements: string[] = [];
    const runner = { query: (text: string) => Promise.resolve(statements.push(text)) } as unknown as QueryRunner;
    for (const migration of migrations) await new migration().up(runner);
    const source = statements.join('\n');
    const named = new Set([...source.matchAll(/\b(?:CONSTRAINT|INDEX) "?(\w+)/g)].map(([, name]) => name));
    expect(made.length).toBeGreaterThan(20);
    expect(made.map(({ name }) => name).filter((name) => !named.has(name))).toEqual([]);
  });

  test('every primary key and unique constraint of a table with owner_id starts with owner_id', async () => {
    const keys = await query(
      migrated.url,
      `SELECT i.relname AS key, a.attname AS first
       FROM pg_index x JOIN pg_class i ON i.oid = indexrelid
       JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
       WHERE (indisunique OR indisprimary)
         AND EXISTS (SELECT FROM pg_attribute o WHERE o.attrelid = x.indrelid AND o.attname = 'owner_id')
         AND i.relnamespace = 'public'::regnamespace AND x.indrelid::regclass::text NOT IN ${REFERENCE}
       ORDER BY 1`,
    );
    expect(keys.map(({ key }) => key)).toEqual(
      expect.arrayContaining([
        ...['credit_grants_pkey', 'flows_pkey', 'gauges_pkey', 'idempotency_keys_pkey'],
        ...['request_counts_pkey', 'request_hours_pkey', 'request_nonces_pkey', 'resources_pkey', 'sessions_pkey'],
        ...['tasks_pkey', 'usage_hours_pkey'],
      ]),
    );
    expect(keys.filter(({ first }) => first !== 'owner_id')).toEqual([]);
  });

  test('foreign keys between tables with owner_id start with owner_id', async () => {
    const tenant = `EXISTS (SELECT FROM pg_attribute a WHERE attname = 'owner_id' AND a.attrelid::regclass::text NOT IN ${REFERENCE} AND attrelid =`;
    const crossing = await query(
      migrated.url,
      `SELECT conname FROM pg_constraint c WHERE contype = 'f' AND ${tenant} conrelid) AND ${tenant} confrelid)
         AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1] AND attname = 'owner_id')`,
    );
    expect(crossing).toEqual([]);
  });

  test.concurrent('three concurrent server starts on an empty database: each migration runs once', async () => {
    const empty = await createDatabase({ isEmpty: true });
    const servers = await Promise.all([1, 2, 3].map(() => TestServer.start({ DATABASE_URL: empty.url })));
    const [made] = await query(
      empty.url,
      `SELECT (SELECT array_agg(name ORDER BY id) FROM migrations) AS migrations,
              (SELECT count(*)::int FROM users) AS users, (SELECT count(*)::int FROM signing_keys) AS keys`,
    );
    const codes = await Promise.all(servers.map((server) => server.stop()));
    await empty.drop();
    expect(made).toEqual({ migrations: migrations.map((migration) => new migration().name), users: 1, keys: 1 });
    expect(codes).toEqual([0, 0, 0]);
  });
});

describe('TypeORM CLI on the embedded database', () => {
  let folder: string;
  let env: { DATA_DIR: string };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quartermaster-cli-'));
    // When root starts PostgreSQL, it runs as another user, who needs access to this folder.
    await chmod(folder, 0o755);
    env = { DATA_DIR: join(folder, 'data') };
  });

  afterEach(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));

  /** The pid of the running PostgreSQL, or undefined. */
  async function postmaster(): Promise<number | undefined> {
    const text = await readFile(join(env.DATA_DIR, 'postgres', 'postmaster.pid'), 'utf8').catch(() => '');
    const pid = Number.parseInt(text, 10);
    return pid > 0 && isAlive(pid) ? pid : undefined;
  }

  /** Starts a statement that takes longer than any test. Resolves when it runs. */
  async function startSleeping(): Promise<ChildProcessWithoutNullStreams> {
    const child = startTypeorm({ ...env, DATABASE_STATEMENT_TIMEOUT: '3600000' }, 'query', 'SELECT pg_sleep(3600)');
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await until(() => output.includes('Running query'));
    const visitor = await EmbeddedPostgres.attachOrStart({ dataDir: env.DATA_DIR });
    const sleeping = `SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'`;
    await until(async () => (await query(visitor.url, sleeping)).length > 0);
    return child;
  }

  test('each command: exits and stops PostgreSQL; migration:run prints a line for each migration', async () => {
    const names = migrations.map((migration) => new migration().name);
    const run = (await typeormOn(env, 'migration:run')).trim().split('\n');
    expect(run.filter((line) => line.includes('executed successfully'))).toEqual(
      names.map((name) => expect.stringContaining(name)),
    );
    expect(run.length).toBeLessThan(names.length + 5);
    expect(run.join('\n')).not.toMatch(/SELECT|CREATE|INSERT/);
    expect(await postmaster()).toBeUndefined();

    const reverted = (await typeormOn(env, 'migration:revert')).trim().split('\n');
    expect(reverted.at(-1)).toContain(`${names.at(-1)} has been reverted successfully`);
    expect(reverted.length).toBeLessThan(6);
    expect(await postmaster()).toBeUndefined();
    const shown = await typeormOn(env, 'migration:show');
    expect([...shown.matchAll(/^\[X\]/gm)]).toHaveLength(names.length - 1);
    expect(shown).toMatch(new RegExp(`^\\[ \\].*${names.at(-1)}$`, 'm'));
    expect(await postmaster()).toBeUndefined();

    await typeormOn(env, 'migration:run');
    expect(await typeormOn(env, 'schema:log')).toContain('Your schema is up to date');
    expect(await postmaster()).toBeUndefined();
    const counted = await typeormOn(env, 'query', 'SELECT count(*)::int AS count FROM migrations');
    expect(counted).toContain(`count: ${names.length}`);
    expect(await postmaster()).toBeUndefined();
    expect(await typeormOn(env, 'migration:generate', join(folder, 'Nothing'), '--check')).toContain('No changes');
    expect(await postmaster()).toBeUndefined();
    await expect(typeormOn(env, 'query', 'SELECT nothing')).rejects.toThrow('ended with 1');
    await until(async () => (await postmaster()) === undefined);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s during a statement or the start of PostgreSQL: stops PostgreSQL',
    async (signal) => {
      const sleeping = await startSleeping();
      sleeping.kill(signal);
      expect(await once(sleeping, 'close')).toEqual([128 + constants.signals[signal], null]);
      await until(async () => (await postmaster()) === undefined);

      const starting = startTypeorm(env, 'query', 'SELECT pg_sleep(3600)');
      await until(async () => (await postmaster()) !== undefined);
      starting.kill(signal);
      starting.kill(signal);
      expect(await once(starting, 'close')).toEqual([128 + constants.signals[signal], null]);
      await until(async () => (await postmaster()) === undefined);
    },
  );

  test('exit or SIGTERM while a server runs: the PostgreSQL of the server keeps running', async () => {
    const server = await TestServer.spawn(env);
    const pid = await postmaster();
    expect(pid).toBeDefined();
    expect(await typeormOn(env, 'schema:log')).toContain('Your schema is up to date');
    const sleeping = await startSleeping();
    sleeping.kill('SIGTERM');
    expect(await once(sleeping, 'close')).toEqual([128 + constants.signals.SIGTERM, null]);
    expect(await postmaster()).toBe(pid);
    expect((await new Api(server.url).get('/readyz')).status).toBe(200);
    expect(await server.stop()).toBe(0);
    expect(await postmaster()).toBeUndefined();
  });
});

test('the list of migrations: every file once, oldest first', async () => {
  const files = await migrationFiles();
  const exported = await Promise.all(
    files.map(async (file) =>
      Object.values<unknown>(await import(`../dist/src/database/migrations/${basename(file, '.ts')}.js`)),
    ),
  );
  expect(exported.every((classes) => classes.length === 1)).toBe(true);
  expect(migrations).toEqual(exported.flat());
  const stamps = migrations.map((migration) => /\d{13}$/.exec(new migration().name)?.[0] ?? '');
  expect(stamps).toEqual([...new Set(stamps)].sort());
  expect(stamps).not.toContain('');
});
