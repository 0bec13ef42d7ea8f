import type pg from 'pg';

/**
 * What moves by itself: the audit log is sealed, attempts to sign in are counted and forgotten, requests for recovery are
 * looked at, e-mails go out, and nonces expire.
 */
const MOVING = /^(audit_|sign_in_|recovery_requests$|mail_outbox$|request_nonces$)/;

/** All that a database holds, but what moves by itself: a checksum by table. */
export async function contentsOf(connection: pg.Client): Promise<Record<string, string>> {
  const { rows: tables } = await connection.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`,
  );
  const names = tables.map(({ name }) => name).filter((name) => !MOVING.test(name));
  // Ranks follow what was called up to a second later.
  const sums = names.map(
    (name) => `SELECT '${name}' AS name, md5(coalesce(string_agg(row::text, ' ' ORDER BY row::text), '')) AS sum
      FROM (SELECT to_jsonb(t) - 'rank' AS row FROM "${name}" t) rows`,
  );
  const { rows } = await connection.query<{ name: string; sum: string }>(sums.join(' UNION ALL '));
  return Object.fromEntries(rows.map(({ name, sum }) => [name, sum]));
}
