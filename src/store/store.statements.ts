import type { Statement } from '../database/database.js';
import { MAX_VALUE_BYTES } from './store-body.js';

/** Number of values in one response if every value has the maximum size. */
export const FULL_VALUES = 128;

/** Maximum total size of the values in one response, in bytes. */
export const MAX_ANSWER_BYTES = FULL_VALUES * MAX_VALUE_BYTES;

/** A statement for the requests of one owner, and one for those of several owners. */
export interface PerOwner {
  one: Statement;
  several: Statement;
}

const LIVE = '(s.expires_at IS NULL OR s.expires_at > now())';

const find = (requests: string, owner: string): string => `
  SELECT q.place::integer AS place, e.value, e.version
  FROM ${requests}
  CROSS JOIN LATERAL (
    SELECT s.value, s.version FROM store_entries s WHERE s.owner_id = ${owner} AND s.key = q.key AND ${LIVE} OFFSET 0
  ) e`;

/** Coalesced: single reads. Planned once, by the same means as `sessions-live` (see sessions.statements.ts). */
export const FIND: PerOwner = {
  one: {
    name: 'store-find-of-one',
    text: find('unnest((SELECT $2::text[])) WITH ORDINALITY AS q (key, place)', '$1::uuid'),
  },
  several: {
    name: 'store-find',
    text: find(
      'unnest((SELECT $1::uuid[]), (SELECT $2::text[])) WITH ORDINALITY AS q (owner_id, key, place)',
      'q.owner_id',
    ),
  },
};

/**
 * Coalesced: returns one row per request with all its entries in one text. An entry has four fields: key, value, version, and
 * expiry (ms since 1970). Each field is one line: values contain no line breaks because whitespace was removed, and
 * keys are escaped (see toLine). One row per entry would take twice as long to read. One index scan reads many keys.
 */
const findAll = (requests: string, owner: string, isBounded: boolean): string => `
  SELECT q.place::integer AS place, e.fields, e.bytes
  FROM ${requests}
  CROSS JOIN LATERAL (
    SELECT string_agg(concat_ws(E'\\n',
        replace(replace(s.key, '\\', '\\\\'), E'\\n', '\\n'),
        s.value, s.version, coalesce((extract(epoch FROM s.expires_at) * 1000)::bigint::text, '')
      ), E'\\n')${isBounded ? ` FILTER (WHERE s.total <= ${MAX_ANSWER_BYTES})` : ''} AS fields,
      ${isBounded ? 'max(s.total)' : '0'} AS bytes
    FROM (
      SELECT s.*${isBounded ? ', sum(octet_length(s.value)) OVER () AS total' : ''} FROM store_entries s
      WHERE s.owner_id = ${owner} AND s.key = ANY(($2::text[])[q.first:q.last]) AND ${LIVE}
    ) s
  ) e`;

const perOwner = (isBounded: boolean): PerOwner => {
  const suffix = isBounded ? '-bounded' : '';
  const requests = 'WITH ORDINALITY AS q';
  return {
    one: {
      name: `store-find-all-of-one${suffix}`,
      text: findAll(`unnest($3::integer[], $4::integer[]) ${requests} (first, last, place)`, '$1::uuid', isBounded),
    },
    several: {
      name: `store-find-all${suffix}`,
      text: findAll(
        `unnest($1::uuid[], $3::integer[], $4::integer[]) ${requests} (owner_id, first, last, place)`,
        'q.owner_id',
        isBounded,
      ),
    },
  };
};

export const FIND_ALL = { bounded: perOwner(true), unbounded: perOwner(false) };

const WRITTEN = `
  w.wave, w.verdicts, w.versions, w.denials, w.entry_limits AS "entryLimits", w.byte_limits AS "byteLimits",
  w.entry_costs AS "entryCosts", w.byte_costs AS "byteCosts"`;

/**
 * Cuts the arrays of a batch for each owner: $2 has the number of requests up to the last one of the owner, $3 that of
 * entries.
 */
const CUT = `
  lock_gauges($1::uuid[], '{store.bytes,store.entries}') AS o
  CROSS JOIN LATERAL (
    SELECT coalesce(($2::integer[])[o.place - 1], 0) + 1, ($2::integer[])[o.place],
      coalesce(($3::integer[])[o.place - 1], 0) + 1, ($3::integer[])[o.place]
  ) AS p (first, last, first_entry, last_entry)`;

/** Writes and charges entries of one owner, or of several. */
export const WRITE: PerOwner = {
  one: {
    name: 'store-write',
    text: `
      SELECT 1 AS "owner", ${WRITTEN}
      FROM write_entries(
        $1::uuid, $2::integer[], $3::boolean[], $4::integer[], $5::integer[], $6::text[], $7::integer[], $8::integer[],
        $9::bigint[], $10::bigint[], $11::bytea
      ) AS w`,
  },
  several: {
    name: 'store-write-batch',
    text: `
      SELECT o.place::integer AS "owner", ${WRITTEN}
      FROM ${CUT}
      CROSS JOIN LATERAL write_entries(
        o.owner_id, ($4::integer[])[p.first:p.last], ($5::boolean[])[p.first:p.last], ($6::integer[])[p.first:p.last],
        ($7::integer[])[p.first_entry:p.last_entry], ($8::text[])[p.first_entry:p.last_entry],
        ($9::integer[])[p.first_entry:p.last_entry], ($10::integer[])[p.first_entry:p.last_entry],
        ($11::bigint[])[p.first_entry:p.last_entry], ($12::bigint[])[p.first_entry:p.last_entry], $13::bytea
      ) AS w`,
  },
};

/** Deletes entries of one owner, or of several, and gives their units back. */
export const DELETE: PerOwner = {
  one: {
    name: 'store-delete',
    text: `SELECT 1 AS "owner", d.place, d.verdicts FROM delete_entries($1::uuid, $2::integer[], $3::text[], $4::bigint[]) AS d`,
  },
  several: {
    name: 'store-delete-batch',
    text: `
      SELECT o.place::integer AS "owner", d.place, d.verdicts
      FROM ${CUT}
      CROSS JOIN LATERAL delete_entries(
        o.owner_id, ($4::integer[])[p.first_entry:p.last_entry], ($5::text[])[p.first_entry:p.last_entry],
        ($6::bigint[])[p.first_entry:p.last_entry]
      ) AS d`,
  },
};

/** Finds expired entries, by owner in the order of their locks. */
export const FIND_EXPIRED = {
  text: `
    SELECT e.owner_id AS "ownerId", array_agg(e.key) AS keys
    FROM (SELECT s.owner_id, s.key FROM store_entries s WHERE s.expires_at <= now() ORDER BY s.expires_at LIMIT $1) AS e
    GROUP BY e.owner_id ORDER BY e.owner_id`,
};

export const LOCK_STORES = { text: `SELECT FROM lock_gauges($1::uuid[], '{store.bytes,store.entries}')` };

export const SWEEP = { text: 'SELECT sweep_entries($1::uuid, $2::text[]) AS count' };

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
    SELECT ${LISTED} FROM gauges g
    CROSS JOIN LATERAL (
      SELECT s.* FROM store_entries s
      WHERE s.owner_id = g.owner_id AND s.key >= CASE WHEN g.owner_id = $1 THEN $2 ELSE $6 END AND s.key < $3 AND ${LIVE}
      ORDER BY s.key LIMIT $4
    ) s
    WHERE g.meter = 'store.entries' AND g.used > 0 AND g.owner_id >= $1
    ORDER BY g.owner_id, s.key LIMIT $4`,
};
