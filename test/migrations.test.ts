import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { DataSource, type QueryRunner } from 'typeorm';
import { migrations } from '../src/database/migrations/index.js';
import { TestServer, createDatabase, query } from './support/server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FOLDER = join(ROOT, 'src', 'database', 'migrations');

/** Where TypeORM itself notes what has run. */
const NOT_OURS = `relname <> 'migrations' AND relnamespace = 'public'::regnamespace`;

/** Of an owner, but needed by all shards: reference tables. */
const REFERENCE = `('api_keys', 'api_key_secrets')`;

/** The TypeORM CLI on the compiled configuration, as `npm run migration:…` runs it. */
async function typeorm(url: string, command: string): Promise<string> {
  const cli = join(ROOT, 'node_modules', 'typeorm', 'cli.js');
  const args = [cli, '-d', 'dist/ormconfig.js', command];
  const env = { PATH: process.env.PATH, DATABASE_URL: url };
  return (await promisify(execFile)(process.execPath, args, { cwd: ROOT, env })).stdout;
}

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

describe('the migrations', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;

  beforeAll(async () => {
    database = await createDatabase();
  });

  afterAll(() => database.drop());

  test('go up, down to nothing, and up to the same, and agree with the entities', async () => {
    const names = migrations.map((migration) => new migration().name);
    await typeorm(database.url, 'migration:run');
    const schema = await schemaOf(database.url);
    expect(schema.length).toBeGreaterThan(50);

    for (let left = names.length; left > 0; left--) await typeorm(database.url, 'migration:revert');
    expect(await schemaOf(database.url)).toEqual([]);
    const shown = await typeorm(database.url, 'migration:show');
    for (const name of names) expect(shown).toMatch(new RegExp(`^\\[ \\].* ${name}$`, 'm'));

    await typeorm(database.url, 'migration:run');
    expect(await schemaOf(database.url)).toEqual(schema);
    const done = await typeorm(database.url, 'migration:show');
    for (const name of names) expect(done).toMatch(new RegExp(`^\\[X\\].* ${name}$`, 'm'));

    expect(await typeorm(database.url, 'schema:log')).toContain('Your schema is up to date');
  });

  test('keep what users own: limits, credits and counts, from the first on and back', async () => {
    const kept = await createDatabase();
    const source = new DataSource({ type: 'postgres', url: kept.url, migrations: migrations.slice(0, 2) });
    /** Runs the migrations as far as the one of that number. */
    const up = async (last: number): Promise<void> => {
      const { migrations: all } = source;
      Object.assign(source, { migrations: all.slice(0, last) });
      await source.runMigrations();
      Object.assign(source, { migrations: all });
    };
    const ids = ['a', 'b', 'c'].map((digit) => `019aa5d2-7c1e-7b1a-9d54-00000000000${digit}`);
    const [a = '', b = '', c = ''] = ids;
    const limits = [
      { owner: a, meter: 'resources', amount: 5 },
      { owner: a, meter: 'tasks', amount: null },
      { owner: b, meter: 'tasks', amount: 0 },
    ];
    const counters = [
      { owner: a, meter: 'resources', used: 2 },
      { owner: c, meter: 'resources', used: 1 },
    ];
    const before = async (): Promise<unknown> => ({
      limits: await query(
        kept.url,
        'SELECT owner_id AS owner, meter, amount::int FROM limits ORDER BY owner_id, meter',
      ),
      counters: await query(
        kept.url,
        `SELECT owner_id AS owner, meter, used::int FROM counters WHERE used > 0 ORDER BY owner_id, meter`,
      ),
    });
    const after = (): Promise<unknown> =>
      query(
        kept.url,
        `SELECT owner_id AS owner, meter, limits[1]::int AS limit, counts::int[] FROM quotas ORDER BY owner_id, meter`,
      );
    const quotas = [
      { owner: a, meter: 'resources', limit: 5, counts: [2, 0, 0, 0, 0] },
      { owner: a, meter: 'tasks', limit: -1, counts: [0, 0, 0, 0, 0] },
      { owner: b, meter: 'tasks', limit: 0, counts: [0, 0, 0, 0, 0] },
      { owner: c, meter: 'resources', limit: null, counts: [1, 0, 0, 0, 0] },
    ];
    await source.initialize();
    await up(1);
    for (const id of ids) {
      await query(kept.url, `INSERT INTO users (id, username, username_key, password_hash) VALUES ($1, $2, $2, 'x')`, [
        id,
        `u${id.at(-1) ?? ''}`,
      ]);
    }
    for (const { owner, meter, amount } of limits) {
      const values = [owner, meter, amount];
      await query(
        kept.url,
        `INSERT INTO limits (owner_id, meter, period, amount) VALUES ($1, $2, 'lifetime', $3)`,
        values,
      );
    }
    for (const { owner, meter, used } of counters) {
      await query(kept.url, 'INSERT INTO counters (owner_id, meter, used) VALUES ($1, $2, $3)', [owner, meter, used]);
    }
    await query(
      kept.url,
      `INSERT INTO resources (owner_id, id, value) SELECT $1, gen_random_uuid(), 'x' FROM generate_series(1, 2)`,
      [a],
    );

    await up(2);
    expect(await after()).toEqual(quotas);
    // What has no place in the older schema does not stand in the way back.
    await query(
      kept.url,
      `INSERT INTO quotas (owner_id, key_id, meter, limits, counts) VALUES
         ($1, DEFAULT, 'api:*', '{5,NULL,NULL,7,NULL}', '{1,1,1,1,1}'), ($1, gen_random_uuid(), 'api:api1', NULL, '{1,1,1,1,1}')`,
      [a],
    );
    await query(
      kept.url,
      `INSERT INTO platform_quotas (meter, limits) VALUES ('resources', '{9,NULL,NULL,NULL,NULL}')`,
    );
    await source.undoLastMigration();
    expect(await before()).toEqual({ limits, counters });
    await up(2);
    expect(await after()).toEqual(quotas);
    expect(await query(kept.url, 'SELECT count(*)::int AS count FROM resources')).toEqual([{ count: 2 }]);
    expect(await query(kept.url, 'SELECT slug, answer FROM apis ORDER BY slug')).toEqual(
      [1, 2, 3].map((n) => ({ slug: `api${String(n)}`, answer: `API${String(n)}` })),
    );
    await source.destroy();
    await kept.drop();
  });

  test('name every constraint and index themselves', async () => {
    const made = await query(
      database.url,
      // NOT NULL is no constraint of ours, though PostgreSQL 18 lists it as one.
      `SELECT conname AS name FROM pg_constraint o JOIN pg_class ON pg_class.oid = conrelid WHERE ${NOT_OURS} AND contype <> 'n'
       UNION SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid JOIN pg_class ON pg_class.oid = indrelid
       WHERE pg_class.relname <> 'migrations' AND i.relnamespace = 'public'::regnamespace`,
    );
    const statements: string[] = [];
    const runner = { query: (text: string) => Promise.resolve(statements.push(text)) } as unknown as QueryRunner;
    for (const migration of migrations) await new migration().up(runner);
    const source = statements.join('\n');
    const named = new Set([...source.matchAll(/\b(?:CONSTRAINT|INDEX) (\w+)/g)].map(([, name]) => name));
    expect(made.length).toBeGreaterThan(20);
    expect(made.map(({ name }) => name).filter((name) => !named.has(name))).toEqual([]);
  });

  test('put owner_id first in every primary key and unique constraint of a table that has it', async () => {
    const keys = await query(
      database.url,
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
        'idempotency_keys_pkey',
        'quotas_pkey',
        'resources_pkey',
        'sessions_pkey',
        'usage_hours_pkey',
      ]),
    );
    expect(keys.filter(({ first }) => first !== 'owner_id')).toEqual([]);
  });

  test('of a tenant refer only to what all shards have, or stay within one owner', async () => {
    const tenant = `EXISTS (SELECT FROM pg_attribute a WHERE attname = 'owner_id' AND a.attrelid::regclass::text NOT IN ${REFERENCE} AND attrelid =`;
    const crossing = await query(
      database.url,
      `SELECT conname FROM pg_constraint c WHERE contype = 'f' AND ${tenant} conrelid) AND ${tenant} confrelid)
         AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attnum = conkey[1] AND attname = 'owner_id')`,
    );
    expect(crossing).toEqual([]);
  });

  test('run once when three servers start at once on an empty database', async () => {
    const empty = await createDatabase();
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

test('every migration is listed, once, oldest first', async () => {
  const files = await migrationFiles();
  const exported = await Promise.all(
    files.map(async (file) =>
      Object.values<unknown>(await import(`../src/database/migrations/${basename(file, '.ts')}.js`)),
    ),
  );
  expect(exported.every((classes) => classes.length === 1)).toBe(true);
  expect(migrations).toEqual(exported.flat());
  const stamps = migrations.map((migration) => /\d{13}$/.exec(new migration().name)?.[0] ?? '');
  expect(stamps).toEqual([...new Set(stamps)].sort());
  expect(stamps).not.toContain('');
});
