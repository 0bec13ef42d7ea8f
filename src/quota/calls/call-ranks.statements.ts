import type { Statement } from '../../database/database.js';
import { ALL_CALLS } from '../meters.js';
import { NO_KEY } from '../quota.entity.js';

/** A function that locks the owners in the order of their spends. */
export const RANK: Statement = { name: 'calls-rank', text: 'SELECT rank_calls($1::uuid[])' };

/** Reads a page of owners with calls, and whether the rank of each differs from its granted calls. */
export const UNRANKED: Statement = {
  name: 'calls-unranked',
  text: `
    WITH page AS MATERIALIZED (
      SELECT q.owner_id, q.rank FROM quotas q
      WHERE q.owner_id > $1 AND q.key_id = '${NO_KEY}' AND q.meter = '${ALL_CALLS}' ORDER BY q.owner_id LIMIT $2
    )
    SELECT p.owner_id AS "ownerId", p.rank <> (
      SELECT coalesce(sum(k.counts[1]), 0) FROM quotas k
      WHERE k.owner_id = p.owner_id AND k.key_id <> '${NO_KEY}' AND k.meter LIKE 'api:%' AND k.meter <> '${ALL_CALLS}'
    ) AS "isOff"
    FROM page p ORDER BY p.owner_id`,
};
