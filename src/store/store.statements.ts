import type { Statement } from '../database/database.js';
import { MAX_VALUE_BYTES } from './store-body.js';

/** Number of values in one response if every value has the maximum size. */
export const FULL_VALUES = 128;

/** Maximum total size of the values in one response, in bytes. */
export const MAX_ANSWER_BYTES = FULL_VALUES * MAX_VALUE_BYTES;

const LIVE = '(s.expires_at IS NULL OR s.expires_at > now())';

/** Coalesced: single reads. Planned once, by the same means as `sessions-live` (see sessions.statements.ts). */
export const FIND = {
  name: 'store-find',
  text: `
    SELECT q.place::integer AS place, e.value, e.version
    FROM unnest((SELECT $1::uuid[]), (SELECT $2::text[])) WITH ORDINALITY AS q (owner_id, key, place)
    CROSS JOIN LATERAL (
      SELECT s.value, s.version FROM store_entries s
      WHERE s.owner_id = q.owner_id AND s.key = q.key AND ${LIVE} OFFSET 0
    ) e`,
};

/**
 * Coalesced: returns one row per request with all its entries in one text. An entry has four fields: key, value, version, and
 * expiry (ms since 1970). Each field is one line: values contain no line breaks because whitespace was removed, and
 * keys are escaped (see toLine). One row per entry would take twice as long to read. One index scan reads many keys.
 */
const findAll = (isBounded: boolean): Statement => ({
  name: isBounded ? 'store-find-all-bounded' : 'store-find-all',
  text: `
    SELECT q.place::integer AS place, e.fields, e.bytes
    FROM unnest($1::uuid[], $2::integer[], $3::integer[]) WITH ORDINALITY AS q (owner_id, first, last, place)
    CROSS JOIN LATERAL (
      SELECT string_agg(concat_ws(E'\\n',
          replace(replace(s.key, '\\', '\\\\'), E'\\n', '\\n'),
          s.value, s.version, coalesce((extract(epoch FROM s.expires_at) * 1000)::bigint::text, '')
        ), E'\\n')${isBounded ? ` FILTER (WHERE s.total <= ${MAX_ANSWER_BYTES})` : ''} AS fields,
        ${isBounded ? 'max(s.total)' : '0'} AS bytes
      FROM (
        SELECT s.*${isBounded ? ', sum(octet_length(s.value)) OVER () AS total' : ''} FROM store_entries s
        WHERE s.owner_id = q.owner_id AND s.key = ANY(($4::text[])[q.first:q.last]) AND ${LIVE}
      ) s
    ) e`,
});

export const FIND_ALL = { bounded: findAll(true), unbounded: findAll(false) };

/** Coalesced, and charges. */
export const WRITE = {
  name: 'store-write',
  text: `
    SELECT wave, verdicts, versions, denials, entry_limits AS "entryLimits", byte_limits AS "byteLimits",
      entry_costs AS "entryCosts", byte_costs AS "byteCosts"
    FROM write_entries($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
};

/** Coalesced, and gives back units. */
export const DELETE = {
  name: 'store-delete',
  text: 'SELECT place, verdicts FROM delete_entries($1, $2, $3, $4)',
};

/** A function that claims expired entries under an advisory lock. */
export const SWEEP = { name: 'store-sweep', text: 'SELECT sweep_entries($1) AS count' };

const LISTED = `s.owner_id AS "ownerId", s.key, s.version, s.expires_at AS "expiresAt", CASE WHEN $5 THEN s.value END AS value`;

/** Frequent: values are read only if they are asked for. */
export const LIST_OWNED = {
  name: 'store-list-owned',
  text: `
    SELECT ${LISTED} FROM store_entries s
    WHERE s.owner_id = $1 AND s.key >= $2 AND s.key < $3 AND ${LIVE} ORDER BY s.key LIMIT $4`,
};

/** Streamed in one snapshot. */
export const EXPORT_OWNED = `
  SELECT s.key, s.value, ceil(extract(epoch FROM s.expires_at - now()))::float8 AS "ttlSeconds" FROM store_entries s
  WHERE s.owner_id = $1 AND ${LIVE} ORDER BY s.key`;

/** Lists owner by owner: $1 is the owner to continue with, $6 the first key of each later owner. */
export const LIST_ALL = {
  text: `
    SELECT ${LISTED} FROM (SELECT id FROM users WHERE id >= $1 ORDER BY id) u
    CROSS JOIN LATERAL (
      SELECT s.* FROM store_entries s
      WHERE s.owner_id = u.id AND s.key >= CASE WHEN u.id = $1 THEN $2 ELSE $6 END AND s.key < $3 AND ${LIVE}
      ORDER BY s.key LIMIT $4
    ) s
    ORDER BY u.id, s.key LIMIT $4`,
};
