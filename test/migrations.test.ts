import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { migrations } from '../src/database/migrations/index.js';
import { TestServer, createDatabase, query } from './support/server.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FOLDER = join(ROOT, 'src', 'database', 'migrations');

/** Where TypeORM itself notes what has run. */
const NOT_OURS = `relname <> 'migrations' AND relnamespace = 'public'::regnamespace`;

/** The TypeORM CLI on the compiled configuration, as `npm run migration:…` runs it. */
async function typeorm(url: string, command: string): Promise<string> {
  const cli = join(ROOT, 'node_modules', 'typeorm', 'cli.js');
  const args = [cli, '-d', 'dist/ormconfig.js', command];
  const env = { PATH: process.env.PATH, DATABASE_URL: url };
  return (await promisify(execFile)(process.execPath, args, { cwd: ROOT, env })).stdout;
}

/** Every table, column, constraint and index, as PostgreSQL describes them. */
function schemaOf(url: string): Promise<unknown[]> {
  return query(
    url,
    `SELECT c.relname || '.' || a.attname AS name,
            format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS definition
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE ${NOT_OURS} AND relkind = 'r'
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

  test('name every constraint and index themselves', async () => {
    const made = await query(
      database.url,
      // NOT NULL is no constraint of ours, though PostgreSQL 18 lists it as one.
      `SELECT conname AS name FROM pg_constraint o JOIN pg_class ON pg_class.oid = conrelid WHERE ${NOT_OURS} AND contype <> 'n'
       UNION SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = indexrelid JOIN pg_class ON pg_class.oid = indrelid
       WHERE pg_class.relname <> 'migrations' AND i.relnamespace = 'public'::regnamespace`,
    );
    const files = await migrationFiles();
    const source = (await Promise.all(files.map((file) => readFile(join(FOLDER, file), 'utf8')))).join('\n');
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
         AND i.relnamespace = 'public'::regnamespace
       ORDER BY 1`,
    );
    expect(keys.map(({ key }) => key)).toEqual(
      expect.arrayContaining(['counters_pkey', 'limits_pkey', 'resources_pkey', 'sessions_pkey']),
    );
    expect(keys.filter(({ first }) => first !== 'owner_id')).toEqual([]);
  });

  test('of a tenant refer only to what all shards have, or stay within one owner', async () => {
    const tenant = `EXISTS (SELECT FROM pg_attribute WHERE attname = 'owner_id' AND attrelid =`;
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
