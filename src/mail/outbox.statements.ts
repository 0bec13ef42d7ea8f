import type { Statement } from '../database/database.js';

/**
 * Claims some due e-mails for a number of seconds. Other processes do not try them in that time; if this process
 * crashes, they do so afterwards. Citus allows no now() in RETURNING. No transaction stays open during the dialog with the mail server.
 */
export const CLAIM: Statement = {
  text: `
    UPDATE mail_outbox m SET attempts = m.attempts + 1, next_at = now() + make_interval(secs => $2)
    FROM (SELECT owner_id, id FROM mail_outbox WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
    WHERE m.owner_id = due.owner_id AND m.id = due.id
    RETURNING m.owner_id AS "ownerId", m.id, m.kind, m.payload, m.attempts, m.expires_at - m.next_at <= make_interval(secs => -$2::float8) AS "isExpired"`,
};
