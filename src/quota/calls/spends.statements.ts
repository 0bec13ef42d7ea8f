import type { Statement } from '../../database/database.js';

const COLUMNS = 'place, verdict, key_id AS "keyId", granted, limits, answer, upstream, moment';

/** Judges and charges the calls of one owner. */
export const SPEND: Statement = {
  name: 'calls-spend',
  text: `
    SELECT ${COLUMNS}
    FROM spend_calls($1::uuid, $2::bytea[], $3::text[], $4::bigint[], $5::integer[], $6::boolean[])`,
};

/** Judges and charges the calls of several owners. */
export const SPEND_BATCH: Statement = {
  name: 'calls-spend-batch',
  text: `
    SELECT ${COLUMNS}
    FROM spend_batch(
      $1::uuid[], $2::integer[],
      $3::bytea[], $4::text[], $5::bigint[], $6::integer[], $7::boolean[]
    )`,
};

/** Coalesced. */
export const FIND_OWNERS: Statement = {
  name: 'calls-find-owners',
  text: `
    SELECT h.place::integer AS place, s.owner_id AS "ownerId"
    FROM unnest($1::bytea[]) WITH ORDINALITY AS h (hash, place) JOIN api_key_secrets s ON s.hash = h.hash`,
};
