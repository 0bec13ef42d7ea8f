import type { Repository } from 'typeorm';
import { columnsOf } from '../database/columns.js';
import type { Statement } from '../database/database.js';
import type { User } from './user.entity.js';

/** Coalesced: reads of accounts by id. */
export const findByIds = (users: Repository<User>): Statement => ({
  name: 'users-by-ids',
  text: `SELECT ${columnsOf(users, 'u')} FROM users u WHERE u.id = ANY($1::uuid[])`,
});

/** Streamed in one snapshot. */
export const readAll = (users: Repository<User>): string => `SELECT ${columnsOf(users, 'u')} FROM users u`;

// The tables below belong to modules that depend on this one.

/** An atomic change of one element of an array, in the transaction that changes the accounts. */
export const SET_CREDITS: Statement = {
  text: `
    INSERT INTO quotas AS q (owner_id, meter, limits)
    SELECT id, 'tasks', with_limit(NULL, 1, credits) FROM unnest($1::uuid[], $2::bigint[]) AS s (id, credits)
    ON CONFLICT ON CONSTRAINT quotas_pkey DO UPDATE SET limits = with_limit(q.limits, 1, excluded.limits[1])`,
};

/** The table belongs to the platform module. */
export const LIST_PLANS: Statement = { text: 'SELECT slug FROM plans' };

export const END_SESSIONS: Statement = {
  text: 'DELETE FROM sessions WHERE owner_id = $1 AND id IS DISTINCT FROM $2 RETURNING id',
};

/** Quota rows that a charge locks: those of gauges and, for every API call, that of all APIs. */
const IS_LOCK = `(key_id = '00000000-0000-0000-0000-000000000000' AND (meter = 'api:*' OR meter NOT LIKE 'api:%'))`;

/** Locks in the order of a change of a key and of a charge. The cascade would lock in physical order. */
export const LOCK_KEYS: Statement = {
  text: 'SELECT FROM api_keys WHERE owner_id = $1 ORDER BY id FOR NO KEY UPDATE',
};
export const LOCK_QUOTAS: Statement = {
  text: `SELECT ${IS_LOCK} AS "isLock" FROM quotas WHERE owner_id = $1 ORDER BY key_id, meter FOR UPDATE`,
};
export const LOCK_PLATFORM_QUOTAS: Statement = {
  text: `SELECT FROM platform_quotas WHERE meter NOT LIKE 'api:%' ORDER BY meter FOR UPDATE`,
};
export const FIND_LOCKING_QUOTAS: Statement = { text: `SELECT FROM quotas WHERE owner_id = $1 AND ${IS_LOCK}` };

/** Recorded answers have no foreign key to their owner. */
export const DELETE_IDEMPOTENCY_KEYS: Statement = { text: 'DELETE FROM idempotency_keys WHERE owner_id = $1' };

/** Counts what the deletion of an account ends. */
export const COUNT_ENDED: Statement = {
  text: `
    SELECT (SELECT count(*)::integer FROM sessions WHERE owner_id = $1) AS sessions,
      (SELECT count(*)::integer FROM api_keys WHERE owner_id = $1) AS keys,
      (SELECT count(*)::integer FROM request_keys WHERE owner_id = $1) AS "signingKeys"`,
};
