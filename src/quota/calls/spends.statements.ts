import type { Statement } from '../../database/database.js';

const COLUMNS = 'place, verdict, key_id AS "keyId", granted, limits, answer, upstream, moment';

/** Judges and charges the calls of one owner. */
export const SPEND: Statement = {
  name: 'calls-spend',
  text: `
    SELECT ${COLUMNS}
    FROM spend_calls($1::uuid, $2::text::bytea[], $3::text::text[], $4::text::bigint[], $5::text::integer[], $6::text::boolean[])`,
};

/** Judges and charges the calls of several owners. */
export const SPEND_BATCH: Statement = {
  name: 'calls-spend-batch',
  text: `
    SELECT ${COLUMNS}
    FROM spend_batch(
      $1::text::uuid[], $2::text::integer[],
      $3::text::bytea[], $4::text::text[], $5::text::bigint[], $6::text::integer[], $7::text::boolean[]
    )`,
};

/** Coalesced. */
export const FIND_OWNERS: Statement = {
  name: 'calls-find-owners',
  text: `
    SELECT h.place::integer AS place, s.owner_id AS "ownerId"
    FROM unnest($1::text::bytea[]) WITH ORDINALITY AS h (hash, place) JOIN api_key_secrets s ON s.hash = h.hash`,
};
