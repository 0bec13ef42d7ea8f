import type { Statement } from '../../database/database.js';

/** The function locks the account's attempts and judges them in one statement. */
export const JUDGE = {
  name: 'sign-in-judge',
  text: `
    SELECT attempt, retry_after AS "retryAfter", must_wait AS "mustWait", is_known AS "isKnown"
    FROM judge_sign_in($1::bytea, $2::uuid, $3::text, $4::boolean)`,
};

export const SETTLE = {
  name: 'sign-in-settle',
  text: 'SELECT settle_sign_in($1::uuid, $2::bytea, $3::uuid, $4::text, $5::text)',
};

/** Claims and deletes expired rows: attempts after 15 minutes, streaks after one idle day. Places after 90 days: below. */
export const SWEEP = {
  name: 'sign-in-sweep',
  text: `
    WITH a AS (DELETE FROM sign_in_attempts WHERE id IN (
        SELECT id FROM sign_in_attempts WHERE at < now() - interval '15 minutes' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)
      RETURNING 1),
    s AS (DELETE FROM sign_in_streaks WHERE account IN (
        SELECT account FROM sign_in_streaks WHERE at < now() - interval '1 day' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)
      RETURNING 1)
    SELECT greatest((SELECT count(*) FROM a), (SELECT count(*) FROM s))::integer AS count`,
};

/** Not part of SWEEP: to Citus, the table is of another kind than those, because it references users. */
export const SWEEP_PLACES = {
  name: 'sign-in-sweep-places',
  text: `
    WITH p AS (DELETE FROM sign_in_places WHERE (owner_id, place) IN (
        SELECT owner_id, place FROM sign_in_places WHERE at < now() - interval '90 days' ORDER BY at LIMIT 1000
        FOR UPDATE SKIP LOCKED)
      RETURNING 1)
    SELECT count(*)::integer AS count FROM p`,
};

/** Tables of the throttle have no entity: only functions of the database read them. */
export const FORGET_PLACES: Statement = { text: 'DELETE FROM sign_in_places WHERE owner_id = $1' };

export const KNOW_PLACE: Statement = {
  text: 'INSERT INTO sign_in_places (owner_id, place, at) VALUES ($1, $2, now())',
};
