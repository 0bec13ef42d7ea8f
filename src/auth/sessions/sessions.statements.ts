import type { Env } from '../../config/env.js';
import type { Statement } from '../../database/database.js';
import { needsTotp } from '../totp/admin-totp.statements.js';

/**
 * Coalesced: reads the session and its account for each request. The sub-selects hide the lengths of the arrays from the planner. Otherwise it plans each execution anew: 0.27 ms
 * instead of 0.06, measured. OFFSET 0 keeps it from joining in another order, which would read all users: such a plan would stay if it was made while there were few.
 */
export const findLive = (env: Env): Statement => ({
  name: 'sessions-live',
  text: `
    SELECT q.place::integer AS place, a.*
    FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[])) WITH ORDINALITY AS q (owner_id, id, place)
    CROSS JOIN LATERAL (
      SELECT u.role, u.status, u.username_key AS "usernameKey", u.email_key AS "emailKey",
        ${needsTotp(env)} AS "needsTotp"
      FROM sessions s JOIN users u ON u.id = s.owner_id
      WHERE s.owner_id = q.owner_id AND s.id = q.id AND s.expires_at > now() OFFSET 0
    ) a`,
});

/**
 * One statement: requires that the password is still the one that was checked. A changed password ends all sessions, so
 * also this one.
 */
export const START: Statement = {
  text: `
    WITH account AS (
      UPDATE users SET last_login_at = now(), password_hash = $8
      WHERE id = $1 AND password_hash = $7 AND status = 'active' RETURNING id
    )
    INSERT INTO sessions (owner_id, id, nonce, ip, user_agent, expires_at)
    SELECT id, $2, $3, $4, $5, now() + make_interval(days => $6) FROM account RETURNING id`,
};

/** Computes the age by the clock that set the time of the last exchange. */
export const LOCK: Statement = {
  text: `
    SELECT s.nonce, s.generation, u.status, (extract(epoch FROM now() - s.rotated_at) * 1000)::float8 AS "ageMs"
    FROM sessions s JOIN users u ON u.id = s.owner_id
    WHERE s.owner_id = $1 AND s.id = $2 AND s.expires_at > now() FOR UPDATE OF s`,
};

/** Claims a small batch: skips rows that another node has locked. */
export const DELETE_EXPIRED: Statement = {
  text: `
    DELETE FROM sessions WHERE (owner_id, id) IN (
      SELECT owner_id, id FROM sessions WHERE owner_id = $1 AND expires_at <= now() LIMIT 100 FOR UPDATE SKIP LOCKED)`,
};
