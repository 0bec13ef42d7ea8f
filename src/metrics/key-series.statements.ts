import type { Statement } from '../database/database.js';
import { ALL_CALLS } from '../quota/meters.js';

/** Sums the ledger of one key by hour or day in UTC. */
export const KEY_SERIES: Statement = {
  text: `
    SELECT date_trunc($1, hour, 'UTC') AS at, sum(granted)::bigint AS granted, sum(denied)::bigint AS denied
    FROM usage
    WHERE owner_id = $5 AND key_id = $6 AND ($4::text = '${ALL_CALLS}' OR meter = $4) AND hour >= $2 AND hour < $3
    GROUP BY 1`,
};
