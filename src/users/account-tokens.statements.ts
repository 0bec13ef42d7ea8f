import type { Statement } from '../database/database.js';

/**
 * Replaces the last token, which becomes void. If the rule allows no new token, writes nothing, and the last one stays
 * valid. One statement, so that concurrent requests count each other. Citus allows no now() in DO UPDATE; that of the
 * excluded row is the same.
 */
export const RENEW: Statement = {
  text: `
  INSERT INTO account_tokens AS t (owner_id, kind, token_hash, expires_at)
  VALUES ($1, $2, $3, now() + make_interval(secs => $4))
  ON CONFLICT ON CONSTRAINT account_tokens_pkey DO UPDATE SET
    token_hash = excluded.token_hash,
    expires_at = excluded.expires_at,
    made_at = excluded.made_at,
    made = CASE WHEN excluded.hour_at - t.hour_at >= interval '1 hour' THEN 1 ELSE t.made + 1 END,
    hour_at = CASE WHEN excluded.hour_at - t.hour_at >= interval '1 hour' THEN excluded.hour_at ELSE t.hour_at END
  WHERE excluded.made_at - t.made_at >= make_interval(secs => $5)
    AND (t.made < $6 OR excluded.hour_at - t.hour_at >= interval '1 hour')
  RETURNING expires_at AS "expiresAt"`,
};

/** The rule of RENEW, by the same clock. */
export const WAIT: Statement = {
  text: `
  SELECT ceil(extract(epoch FROM
    greatest(made_at + make_interval(secs => $3), CASE WHEN made >= $4 THEN hour_at + interval '1 hour' END) - now()))::int AS seconds
  FROM account_tokens WHERE owner_id = $1 AND kind = $2`,
};
