import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import type { DataSource, QueryRunner } from 'typeorm';
import { VERSION } from '../config/version.js';
import { functionsLeft, isDistributed } from './citus.js';

/** A file in the folder `functions`: a function or a view. */
interface Definition {
  kind: 'FUNCTION' | 'VIEW';
  name: string;
  sql: string;
  checksum: string;
}

/** The comment of an installed definition: the version that installed it, and the checksum of its file. */
const COMMENT = /^(\d+)\.(\d+)\.(\d+)\S* ([0-9a-f]{64})$/;

/** Key of the advisory lock. An arbitrary number, the same in every process. */
const LOCK = 0x716d_666e;

const INSTALLED = `
  SELECT proname AS name, obj_description(oid, 'pg_proc') AS comment
  FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
  UNION ALL
  SELECT relname, obj_description(oid, 'pg_class')
  FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v'`;

/** Reads all definitions, functions first: views call them. */
export function readDefinitions(): Definition[] {
  const folder = new URL('functions/', import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith('.sql'));
  const definitions = files.sort().map((file): Definition => {
    const sql = readFileSync(new URL(file, folder), 'utf8');
    const name = file.replace('.sql', '');
    const kind = sql.includes(`CREATE OR REPLACE VIEW ${name} `) ? 'VIEW' : 'FUNCTION';
    return { kind, name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
  });
  return definitions.sort((a, b) => a.kind.localeCompare(b.kind));
}

/**
 * Creates or replaces the functions and views whose file has changed since they were installed. Installs nothing if a
 * newer version has installed some: while servers are upgraded one by one, old and new ones use the same functions. So
 * a change of parameters, of result columns, or of what functions expect of each other needs a new name. In a database
 * that Citus distributes, all nodes get them.
 * @param isForced replaces those whose file is the same, too
 */
export async function installFunctions(dataSource: DataSource, { isForced = false } = {}): Promise<void> {
  await dataSource.transaction(async ({ queryRunner }) => {
    if (!queryRunner) throw new Error('A transaction has a query runner');
    await queryRunner.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    const rows = (await queryRunner.query(INSTALLED)) as { name: string; comment: string | null }[];
    const installed = new Map(rows.map(({ name, comment }) => [name, COMMENT.exec(comment ?? '')]));
    const isNewer = [...installed.values()].some((parts) => parts && compare(parts.slice(1, 4), VERSION) > 0);
    if (isNewer) return;
    // A function may call one that is created after it.
    await queryRunner.query('SET LOCAL check_function_bodies = off');
    for (const { kind, name, sql, checksum } of readDefinitions()) {
      if (!isForced && installed.get(name)?.[4] === checksum) continue;
      await queryRunner.query(sql);
      await queryRunner.query(`COMMENT ON ${kind} ${name} IS '${VERSION} ${checksum}'`);
    }
    if (!(await isDistributed(queryRunner))) return;
    for (const { statements } of await functionsLeft(queryRunner)) {
      for (const statement of statements) await queryRunner.query(statement);
    }
  });
}

/** Returns the functions and views that are missing or differ from their files. */
export async function listOutdated(dataSource: DataSource): Promise<string[]> {
  const rows = await dataSource.query<{ name: string; comment: string | null }[]>(INSTALLED);
  const checksums = new Map(rows.map(({ name, comment }) => [name, COMMENT.exec(comment ?? '')?.[4]]));
  return readDefinitions().flatMap(({ name, checksum }) => (checksums.get(name) === checksum ? [] : [name]));
}

/** Compares the numbers of two versions. Ignores pre-release tags. */
function compare(parts: string[], version: string): number {
  const numbers = version.split('.').map((part) => Number.parseInt(part, 10));
  return parts.map((part, i) => Number(part) - (numbers[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
}

/** Drops all functions. Their views must be gone. */
export async function dropFunctions(runner: QueryRunner): Promise<void> {
  const names = readDefinitions()
    .filter(({ kind }) => kind === 'FUNCTION')
    .map(({ name }) => name);
  await runner.query(`DROP FUNCTION IF EXISTS ${names.join(', ')}`);
}
