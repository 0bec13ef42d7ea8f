import { query } from './server.js';

/** Tables in which the server notes requests: they change whenever somebody asks for something. */
const NOTES = ['request_counts', 'request_nonces', 'recovery_requests', 'mail_outbox'];

/** The statement that reads the rows of an owner: of each table with `owner_id`, so that a new table is not forgotten. */
async function statementFor(url: string): Promise<string> {
  const tables = await query(
    url,
    `SELECT table_name AS name FROM information_schema.columns
     WHERE table_schema = 'public' AND column_name = 'owner_id' AND table_name <> ALL ($1) ORDER BY 1`,
    [NOTES],
  );
  const owned = tables.map(
    // A rank is reserved before the quota is judged, and given back.
    ({ name }) => `SELECT '${name}' AS of, to_jsonb(t) - 'rank' AS row FROM ${name} t WHERE owner_id = $1`,
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
 * What the shared database has of an account: every row that it owns, plans, APIs and users of some names, and the
 * settings of the platform. Two looks are equal if nothing has changed between them.
 * @param names of plans, APIs and users; of users also a pattern of their e-mails
 */
export async function rowsOf(owner: string, names: string[] = []): Promise<{ of: string; row: any }[]> {
  const url = process.env.TEST_SERVER_DATABASE ?? '';
  statement ??= statementFor(url);
  return query(url, { name: 'rows of an owner', text: await statement }, [owner, names]);
}
