import type { Statement } from '../database/database.js';

// user_credits reads tables of the modules users, quota and tasks.

/** Starts to maintain the sum of all credits, unless it is maintained already. */
export const START_CREDITS: Statement = {
  text: `
    UPDATE platform_settings SET credits_at = now(), credits = (SELECT coalesce(sum(amount), 0) FROM user_credits(now()))
    WHERE credits IS NULL`,
};

/** Subtracts the grants that have expired. */
export const ADVANCE_CREDITS: Statement = { text: 'SELECT advance_credits()::text AS moment' };

export const CREDITS_OF_USER: Statement = {
  text: 'SELECT coalesce(sum(amount), 0)::text AS credits FROM user_credits($2) WHERE owner_id = $1',
};

export const CREDITS_OF_PLAN: Statement = {
  text: 'SELECT coalesce(sum(amount), 0)::text AS credits FROM user_credits($2) WHERE plan = $1',
};

export const ADD_CREDITS: Statement = {
  text: 'UPDATE platform_settings SET credits = credits + $1 RETURNING credits::text AS credits',
};

// The tables below belong to the quota module, which depends on this one. Charges lock the same rows.

export const UNSET_TOTAL_OBJECTS: Statement = { text: 'DELETE FROM platform_quotas WHERE meter = $1' };

export const SET_TOTAL_OBJECTS: Statement = {
  text: 'UPDATE platform_quotas SET limits = with_limit(NULL, 1, $2) WHERE meter = $1 RETURNING meter',
};

/** Waits for running charges and blocks new ones. */
export const LOCK_GAUGES: Statement = { text: 'LOCK TABLE gauges IN EXCLUSIVE MODE' };

/** Counts the existing objects and sets the first bound, in one statement under LOCK_GAUGES. */
export const FIRST_TOTAL_OBJECTS: Statement = {
  text: `
    INSERT INTO platform_quotas (meter, limits, counts)
    VALUES ($1, with_limit(NULL, 1, $2), ARRAY[count_objects(), 0, 0, 0, 0])`,
};
