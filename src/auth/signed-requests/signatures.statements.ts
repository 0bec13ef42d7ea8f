import type { Env } from '../../config/env.js';
import type { Statement } from '../../database/database.js';
import { needsTotp } from '../totp/admin-totp.statements.js';

/** Maximum difference between `created` of a signature and the current time, in seconds, in either direction. */
export const MAX_AGE_SECONDS = 300;

/** SQL: joins the key of each request `q` and its account. OFFSET 0: see `findLive` of sessions. */
const joinAccount = (env: Env): string => `
    CROSS JOIN LATERAL (
      SELECT k.owner_id AS "ownerId", k.public_key AS "publicKey", u.role, u.status, u.username_key AS "usernameKey",
        u.email_key AS "emailKey", ${needsTotp(env)} AS "needsTotp"
      FROM request_keys k CROSS JOIN LATERAL (SELECT * FROM users u WHERE u.id = k.owner_id OFFSET 0) AS u
      WHERE k.id = q.key_id OFFSET 0
    ) a`;

/** Coalesced: reads of keys. */
export const findLive = (env: Env): Statement => ({
  name: 'signatures-live',
  text: `
    SELECT q.place::integer AS place, a.*
    FROM unnest($1::uuid[]) WITH ORDINALITY AS q (key_id, place)${joinAccount(env)}`,
});

/**
 * Coalesced: one statement reads key and account, checks the time, and takes the nonce. It inserts nonces in a fixed order, so
 * that concurrent statements wait for each other but never deadlock. Of equal nonces in one batch, the first wins.
 */
export const use = (env: Env): Statement => ({
  name: 'signatures-use',
  text: `
    WITH asked AS (
      SELECT q.*, row_number() OVER (PARTITION BY q.key_id, q.nonce_hash ORDER BY q.place) = 1 AS is_first
      FROM unnest($1::uuid[], $2::bytea[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS q (key_id, nonce_hash, created, expires, place)
    ), live AS (
      SELECT q.*, a.*, abs(clock.seconds - q.created) <= ${String(MAX_AGE_SECONDS)} AS "isTimely",
        coalesce(q.expires <= clock.seconds, false) AS "isExpired"
      FROM asked q${joinAccount(env)}
      CROSS JOIN (SELECT floor(extract(epoch FROM now()))::bigint AS seconds) clock
    ), taken AS (
      INSERT INTO request_nonces (owner_id, key_id, nonce_hash, signed_at)
      SELECT l."ownerId", l.key_id, l.nonce_hash, to_timestamp(l.created) FROM live l
      WHERE l.is_first AND l."isTimely" AND NOT l."isExpired" AND l.status = 'active'
      ORDER BY 1, 2, 3
      ON CONFLICT ON CONSTRAINT request_nonces_pkey DO NOTHING
      RETURNING key_id, nonce_hash
    )
    SELECT l.place::integer AS place, l."ownerId", l."publicKey", l.role, l.status, l."usernameKey", l."emailKey", l."needsTotp",
      l."isTimely", l."isExpired", l.is_first AND t.key_id IS NOT NULL AS "isTaken"
    FROM live l LEFT JOIN taken t ON t.key_id = l.key_id AND t.nonce_hash = l.nonce_hash`,
});

/** Maximum number of rows that one sweep deletes. */
export const SWEPT = 1_000;

/**
 * Claims a batch (SKIP LOCKED). Keeps nonces twice as long as a signature can be valid: the database's clock may be changed, or differ after a
 * failover.
 */
export const DELETE_OLD: Statement = {
  text: `
    DELETE FROM request_nonces WHERE (owner_id, key_id, nonce_hash) IN (
      SELECT owner_id, key_id, nonce_hash FROM request_nonces
      WHERE signed_at < now() - make_interval(secs => ${String(2 * MAX_AGE_SECONDS)})
      ORDER BY signed_at LIMIT ${String(SWEPT)} FOR UPDATE SKIP LOCKED)
    RETURNING key_id`,
};
