import type { Statement } from '../../database/database.js';

/** Coalesced: judges and charges a batch. */
export const SPEND: Statement = {
  name: 'calls-spend',
  text: `
    SELECT place, verdict, owner_id AS "ownerId", key_id AS "keyId", granted, limits, answer, upstream, moment
    FROM spend_calls($1::text::bytea[], $2::text::text[], $3::text::bigint[], $4::text::integer[], $5::text::boolean[])`,
};
