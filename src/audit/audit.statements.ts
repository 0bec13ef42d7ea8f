import type { Statement } from '../database/database.js';

// The seal covers texts, as PostgreSQL writes them. Includes the era: otherwise a time BC would have the same text as the time AD.
const SEALABLE = `e.id::text,
  to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') || CASE WHEN e.at < '0001-01-01 00:00Z' THEN ' BC' ELSE '' END AS at,
  e.actor_id::text AS "actorId",
  e.action, e.target, e.changes::text AS changes, e.request_id AS "requestId", e.ip, e.mac, e.position::text`;

/** One snapshot. Ids are in order of creation. */
export const GLANCE: Statement = {
  text: `
    SELECT (SELECT extract(epoch FROM clock_timestamp() - e.at)::float8 FROM audit_entries e
        WHERE e.position IS NULL ORDER BY e.id LIMIT 1) AS waiting,
      (SELECT max(s.position)::text FROM audit_seals s) AS position,
      (SELECT s.hash FROM audit_seals s WHERE s.position = $1) AS asked`,
};

const LINK = `s.position::text AS place, s.entry_id AS "entryId", s.hash, to_jsonb(e) IS NOT NULL AS "isThere", ${SEALABLE}`;

/** Sorts by the column, not by its text in the result: as text, '9' comes after '10'. */
export const LAST_LINK: Statement = {
  text: `
    SELECT ${LINK}, (SELECT p.hash FROM audit_seals p WHERE p.position = s.position - 1) AS previous
    FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.position DESC LIMIT 1`,
};

/** The table belongs to a module that depends on this one. */
export const USER_BY_LOGIN: Statement = {
  text: 'SELECT id FROM users WHERE username_key = $1 OR email_key = $1',
};

/** Entries that no link seals at the position they claim. */
export const LOOSE = `
  SELECT ${SEALABLE} FROM audit_entries e
  WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.position = e.position AND s.entry_id = e.id)
  ORDER BY e.position, e.id`;

/** Streams the whole chain from its beginning. */
export const CHAIN = `SELECT ${LINK} FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.position`;

export const FIND_UNSEALED: Statement = {
  text: `SELECT ${SEALABLE} FROM audit_entries e WHERE position IS NULL ORDER BY id LIMIT $1`,
};

/** A batch in one statement. */
export const INSERT_SEALS: Statement = {
  text: 'INSERT INTO audit_seals (position, entry_id, hash) SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bytea[])',
};

export const MARK_SEALED: Statement = {
  text: `
    UPDATE audit_entries e SET position = s.position FROM unnest($1::bigint[], $2::uuid[]) AS s (position, id)
    WHERE e.id = s.id`,
};
