import type { Statement } from '../database/database.js';

// These read tables of the modules users, quota and tasks.

/** Starts to maintain the sum of all credits, unless it is maintained already. */
export const START_CREDITS: Statement = {
  text: `
    UPDATE platform_settings SET credits_at = now(), credits = all_credits(now()) WHERE credits IS NULL`,
};

/** Subtracts the grants that have expired. */
export const ADVANCE_CREDITS: Statement = { text: 'SELECT advance_credits()::text AS moment' };

/** Sums the credits of some users, those with finite credits, at the moment $2: see all_credits. */
const creditsOf = (isOne: string): Statement => ({
  text: `
    SELECT coalesce(sum(coalesce(t.amount, p.limits[1]) + coalesce(g.amount, 0)), 0)::text AS credits
    FROM users u
    LEFT JOIN gauges t ON t.owner_id = u.id AND t.meter = 'tasks'
    LEFT JOIN plan_limits p ON p.plan = u.plan AND p.meter = 'tasks'
    LEFT JOIN (
      SELECT owner_id, sum(amount) AS amount FROM credit_grants
      WHERE expires_at IS NULL OR expires_at > $2
      GROUP BY owner_id
    ) g ON g.owner_id = u.id
    WHERE coalesce(t.amount, p.limits[1]) >= 0 AND ${isOne}`,
});

export const CREDITS_OF_USERS = creditsOf('u.id = ANY($1::uuid[])');
export const CREDITS_OF_PLAN = creditsOf('u.plan = $1');

export const ADD_CREDITS: Statement = {
  text: 'UPDATE platform_settings SET credits = credits + $1 RETURNING credits::text AS credits',
};

// The tables below belong to the quota module, which depends on this one. Charges lock the same rows.

export const UNSET_TOTAL_OBJECTS: Statement = { text: 'DELETE FROM platform_quotas WHERE meter = $1' };

/** Locks nothing: LOCK_GAUGES comes first, and on Citus an UPDATE locks this table even if it finds no row. */
export const FIND_TOTAL_OBJECTS: Statement = { text: 'SELECT FROM platform_quotas WHERE meter = $1' };

export const SET_TOTAL_OBJECTS: Statement = {
  text: 'UPDATE platform_quotas SET limits = with_limit(NULL, 1, $2) WHERE meter = $1',
};

/** Waits for running charges and blocks new ones. */
export const LOCK_GAUGES: Statement = { text: 'LOCK TABLE gauges IN EXCLUSIVE MODE' };

/** Counts the existing objects and sets the first bound, in one statement under LOCK_GAUGES. */
export const FIRST_TOTAL_OBJECTS: Statement = {
  text: `
    INSERT INTO platform_quotas (meter, limits, counts)
    VALUES ($1, with_limit(NULL, 1, $2), ARRAY[count_objects(), 0, 0, 0, 0])`,
};
