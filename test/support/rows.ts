import { query } from './server.js';

/** Tables that change with every request, or some time after it. */
const NOTES = ['request_counts', 'request_nonces', 'recovery_requests', 'mail_outbox', 'refusals'];

/** Builds the statement that reads all rows of an owner. It covers every table with `owner_id`, including new ones. */
async function statementFor(url: string): Promise<string> {
  const tables = await query(
    url,
    `SELECT table_name AS name FROM information_schema.columns
     WHERE table_schema = 'public' AND column_name = 'owner_id' AND table_name <> ALL ($1) ORDER BY 1`,
    [NOTES],
  );
  const owned = tables.map(
    ({ name }) => `SELECT '${name}' AS of, to_jsonb(t) AS row FROM ${name} t WHERE owner_id = $1`,
  );
  const all = [
    `SELECT 'users' AS of, to_jsonb(t) AS row FROM users t
     WHERE id = $1 OR username_key = ANY ($2) OR email_key LIKE ANY ($2)`,
    `SELECT 'plans', to_jsonb(t) FROM plans t WHERE slug = ANY ($2)`,
    `SELECT 'plan_limits', to_jsonb(t) FROM plan_limits t WHERE plan = ANY ($2)`,
    `SELECT 'apis', to_jsonb(t) FROM apis t WHERE slug = ANY ($2)`,
    `SELECT 'platform_settings', to_jsonb(t) FROM platform_settings t`,
    `SELECT 'platform_quotas', jsonb_build_object('meter', meter, 'limits', limits) FROM platform_quotas
     WHERE meter IN ('resources', 'tasks', 'api:*', 'api:api1')`,
    ...owned,
  ];
  return `${all.join(' UNION ALL ')} ORDER BY 1, 2`;
}

let statement: Promise<string> | undefined;

/**
 * Returns the rows of the shared database that concern an account: all rows that it owns, the named plans, APIs and
 * users, and the platform settings. Two results are equal if nothing changed in between.
 * @param names of plans, APIs and users; for users also a LIKE pattern of their e-mails
 */
export async function rowsOf(owner: string, names: string[] = []): Promise<{ of: string; row: any }[]> {
  const url = process.env.TEST_SERVER_DATABASE ?? '';
  statement ??= statementFor(url);
  return query(url, { name: 'rows of an owner', text: await statement }, [owner, names]);
}
