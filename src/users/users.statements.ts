import type { Repository } from 'typeorm';
import { columnsOf } from '../database/columns.js';
import type { Statement } from '../database/database.js';
import type { User } from './user.entity.js';

/** Coalesced: reads of accounts by id. */
export const findByIds = (users: Repository<User>): Statement => ({
  name: 'users-by-ids',
  text: `SELECT ${columnsOf(users, 'u')} FROM users u WHERE u.id = ANY($1::uuid[])`,
});

// The tables below belong to modules that depend on this one.

export const SET_CREDITS: Statement = {
  text: `
    INSERT INTO gauges (owner_id, meter, amount) VALUES ($1, 'tasks', $2)
    ON CONFLICT ON CONSTRAINT gauges_pkey DO UPDATE SET amount = excluded.amount`,
};

/** Counts users against the platform's limit on objects. Raises platform_objects if there is no room. */
export const CHARGE_USERS: Statement = { text: 'SELECT charge_users($1)' };

export const END_SESSIONS: Statement = {
  text: 'DELETE FROM sessions WHERE owner_id = $1 AND id IS DISTINCT FROM $2 RETURNING id',
};

/** The flow that every call of an owner locks. */
const IS_LOCK = `key_id = '00000000-0000-0000-0000-000000000000' AND meter = 'api:*'`;

/** Locks in the order of a change of a key and of a charge. The cascade would lock in physical order. */
export const LOCK_KEYS: Statement = {
  text: 'SELECT FROM api_keys WHERE owner_id = $1 ORDER BY id FOR NO KEY UPDATE',
};
export const LOCK_GAUGES: Statement = { text: 'SELECT FROM gauges WHERE owner_id = $1 ORDER BY meter FOR UPDATE' };
export const LOCK_FLOWS: Statement = {
  text: `SELECT ${IS_LOCK} AS "isLock" FROM flows WHERE owner_id = $1 ORDER BY key_id, meter FOR UPDATE`,
};
/** Finds the rows that charges of the owner lock. */
export const FIND_LOCKING: Statement = {
  text: `SELECT FROM gauges WHERE owner_id = $1 UNION ALL SELECT FROM flows WHERE owner_id = $1 AND ${IS_LOCK}`,
};
export const LOCK_PLATFORM_QUOTAS: Statement = {
  text: `SELECT FROM platform_quotas WHERE meter NOT LIKE 'api:%' ORDER BY meter FOR UPDATE`,
};

/** Gives back the user's part of the platform's quotas, and keeps its usage. */
export const RELEASE_USER: Statement = { text: 'SELECT release_user($1)' };

/** Recorded answers have no foreign key to their owner. */
export const DELETE_IDEMPOTENCY_KEYS: Statement = { text: 'DELETE FROM idempotency_keys WHERE owner_id = $1' };

/** Counts what the deletion of an account ends. */
export const COUNT_ENDED: Statement = {
  text: `
    SELECT (SELECT count(*)::integer FROM sessions WHERE owner_id = $1) AS sessions,
      (SELECT count(*)::integer FROM api_keys WHERE owner_id = $1) AS keys,
      (SELECT count(*)::integer FROM request_keys WHERE owner_id = $1) AS "signingKeys"`,
};
