import type { Statement } from '../../database/database.js';

/** Judges and charges runs of one owner, or of several. */
export const SPEND: Statement = {
  name: 'calls-spend',
  text: `
    SELECT place, verdict, key_id AS "keyId", granted, limits, answer, upstream, moment
    FROM spend_calls(
      $1::uuid, $2::uuid[], $3::bytea[], $4::text[], $5::bigint[], $6::integer[], $7::boolean[]
    )`,
};

/** Coalesced. */
export const FIND_OWNERS: Statement = {
  name: 'calls-find-owners',
  text: `
    SELECT array_position($1::bytea[], s.hash) AS place, s.owner_id AS "ownerId"
    FROM api_key_secrets s WHERE s.hash = ANY($1::bytea[])`,
};
