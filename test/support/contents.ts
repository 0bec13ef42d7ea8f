import type pg from 'pg';

/**
 * Tables that change without a request: the audit log is sealed, sign-in attempts are counted and deleted, recovery
 * requests are processed, e-mails are sent, nonces expire, and refusals are written up to a second after the call.
 */
const MOVING = /^(audit_|sign_in_|recovery_requests$|mail_outbox$|request_nonces$|refusals$)/;

/** Returns a checksum of each table, except those that change without a request. */
export async function contentsOf(connection: pg.Client): Promise<Record<string, string>> {
  const { rows: tables } = await connection.query<{ name: string }>(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`,
  );
  const names = tables.map(({ name }) => name).filter((name) => !MOVING.test(name));
  const sums = names.map(
    (name) => `SELECT '${name}' AS name, md5(coalesce(string_agg(row::text, ' ' ORDER BY row::text), '')) AS sum
      FROM (SELECT to_jsonb(t) AS row FROM "${name}" t) rows`,
  );
  const { rows } = await connection.query<{ name: string; sum: string }>(sums.join(' UNION ALL '));
  return Object.fromEntries(rows.map(({ name, sum }) => [name, sum]));
}
