import type { Statement } from '../database/database.js';

/** How many refusals of an owner are kept at least. */
const KEPT = 1_000;

/**
 * Locks users in the order of all writers, and returns those that exist. FOR KEY SHARE waits for a concurrent deletion.
 */
export const LOCK_OWNERS: Statement = {
  text: 'SELECT id FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE',
};

/**
 * A batch of all owners, once a second, after LOCK_OWNERS. A repetition after a lost reply inserts nothing. Then deletes
 * the oldest refusals of the owners in the second parameter. The rows are one JSON text: `pg` takes five times as long to
 * write nine arrays.
 */
export const INSERT: Statement = {
  name: 'refusals-insert',
  text: `
    WITH added AS (
      INSERT INTO refusals (owner_id, id, at, request_id, key_id, api, code, cost, limits)
      SELECT r.* FROM json_to_recordset($1) AS r (
        "ownerId" uuid, id uuid, at timestamptz, "requestId" text, "keyId" uuid, api text, code text, cost bigint, limits json
      )
      ON CONFLICT ON CONSTRAINT refusals_pkey DO NOTHING
    )
    DELETE FROM refusals r USING unnest($2::uuid[]) AS o (owner_id)
    WHERE r.owner_id = o.owner_id AND r.id <= (
      SELECT k.id FROM refusals k WHERE k.owner_id = o.owner_id ORDER BY k.id DESC OFFSET ${KEPT} LIMIT 1
    )`,
};

/** Rows deleted per statement. */
export const BATCH = 5_000;

/** Claims a batch of old rows: skips rows that another node has locked. */
export const DELETE_OLD: Statement = {
  text: `
    WITH old AS MATERIALIZED (
      SELECT owner_id, id FROM refusals WHERE at < now() - interval '24 hours'
      ORDER BY at LIMIT ${BATCH} FOR UPDATE SKIP LOCKED
    ), gone AS (
      DELETE FROM refusals r USING old WHERE r.owner_id = old.owner_id AND r.id = old.id RETURNING 1
    )
    SELECT count(*) AS count FROM gone`,
};
