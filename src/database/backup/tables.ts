import type { ClientBase } from 'pg';
import { to } from 'pg-copy-streams';
import { RowDigest, type Sum } from './digest.js';
import type { TableHeader } from './format.js';
import { linesOf } from './lines.js';

const TABLES = `
  SELECT c.relname AS "table",
    (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
    (SELECT coalesce(array_agg(DISTINCT r.relname::text), '{}') FROM pg_constraint f JOIN pg_class r ON r.oid = f.confrelid
     WHERE f.conrelid = c.oid AND f.contype = 'f' AND r.oid <> c.oid) AS "references"
  FROM pg_class c
  WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'migrations'
  ORDER BY c.relname`;

/** Lists the tables, each after those that its foreign keys reference. */
export async function listTables(client: ClientBase): Promise<TableHeader[]> {
  const { rows } = await client.query<TableHeader & { references: string[] }>(TABLES);
  const ordered: TableHeader[] = [];
  const isDone = (name: string): boolean => ordered.some(({ table }) => table === name);
  while (ordered.length < rows.length) {
    const next = rows.filter(({ table, references }) => !isDone(table) && references.every(isDone));
    if (next.length === 0) throw new Error('The foreign keys of the tables form a circle');
    ordered.push(...next.map(({ table, columns }) => ({ table, columns })));
  }
  return ordered;
}

/** Returns the text of a table and its columns in SQL. */
export function targetOf({ table, columns }: TableHeader): string {
  return `${quoted(table)} (${columns.map(quoted).join(', ')})`;
}

/** Reads the rows of a table in the text format of COPY. @param digest receives each row */
export async function* readRows(client: ClientBase, header: TableHeader, digest: RowDigest): AsyncGenerator<Buffer> {
  const copy = client.query(to(`COPY ${targetOf(header)} TO STDOUT`));
  for await (const line of linesOf(copy as AsyncIterable<Buffer>)) {
    digest.add(line);
    yield line;
  }
}

export async function sumOf(client: ClientBase, header: TableHeader): Promise<Sum> {
  const digest = new RowDigest();
  const rows = readRows(client, header, digest);
  while ((await rows.next()).done !== true);
  return digest.result;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
