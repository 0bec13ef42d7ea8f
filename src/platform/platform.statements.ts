import type { Statement } from '../database/database.js';

/** A function that reads maintained sums. */
export const CREDITS_GRANTED: Statement = { text: 'SELECT credits_granted(now()) AS granted' };

// The tables below belong to the quota module, which depends on this one. Charges lock the same rows.

export const UNSET_TOTAL_OBJECTS: Statement = { text: 'DELETE FROM platform_quotas WHERE meter = $1' };

export const SET_TOTAL_OBJECTS: Statement = {
  text: 'UPDATE platform_quotas SET limits = with_limit(NULL, 1, $2) WHERE meter = $1 RETURNING meter',
};

/** Waits for running charges and blocks new ones. */
export const LOCK_ALL_QUOTAS: Statement = { text: 'LOCK TABLE quotas IN EXCLUSIVE MODE' };

/** Counts the existing objects and sets the first bound, in one statement under LOCK_ALL_QUOTAS. */
export const FIRST_TOTAL_OBJECTS: Statement = {
  text: `
    INSERT INTO platform_quotas (meter, limits, counts)
    SELECT $1, with_limit(NULL, 1, $2), ARRAY[coalesce(sum(users + tasks + resources + store_entries), 0)::bigint, 0, 0, 0, 0]
    FROM platform_totals`,
};
