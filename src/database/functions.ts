import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import type { QueryRunner } from 'typeorm';
import { VERSION } from '../config/version.js';

/** A file in the folder `functions`: a function with its triggers, or a view. */
interface Definition {
  kind: 'FUNCTION' | 'VIEW';
  name: string;
  sql: string;
  checksum: string;
}

/** The comment of an installed definition is the version that installed it, and its checksum. */
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
 * Creates or replaces the functions and views whose file has changed since they were installed. Keeps those of a newer
 * version: while servers are upgraded one by one, old and new ones use the same functions.
 */
export async function installFunctions(runner: QueryRunner): Promise<void> {
  const rows = (await runner.query(INSTALLED)) as { name: string; comment: string | null }[];
  const installed = new Map(rows.map(({ name, comment }) => [name, comment?.split(' ') ?? []]));
  const changed = readDefinitions().filter(({ name, checksum }) => {
    const [version = '', known] = installed.get(name) ?? [];
    return known !== checksum && version.localeCompare(VERSION, 'en', { numeric: true }) <= 0;
  });
  if (changed.length === 0) return;
  await runner.startTransaction();
  try {
    // A function may call one that is created after it.
    await runner.query('SET LOCAL check_function_bodies = off');
    for (const { kind, name, sql, checksum } of changed) {
      await runner.query(sql);
      await runner.query(`COMMENT ON ${kind} ${name} IS '${VERSION} ${checksum}'`);
    }
    await runner.commitTransaction();
  } catch (error) {
    await runner.rollbackTransaction();
    throw error;
  }
}

/** Drops all functions. Their triggers and views must be gone. */
export async function dropFunctions(runner: QueryRunner): Promise<void> {
  const names = readDefinitions()
    .filter(({ kind }) => kind === 'FUNCTION')
    .map(({ name }) => name);
  await runner.query(`DROP FUNCTION IF EXISTS ${names.join(', ')}`);
}
