import type { Statement } from '../database/database.js';

/** How long a response is stored. RFC draft "Idempotency-Key", section 2.3, leaves this to the server. */
export const HOURS = 24;

/** Deletes a batch. Run it under a lock: Citus cannot skip the rows that another process deletes. */
export const DELETE_EXPIRED: Statement = {
  text: `
    DELETE FROM idempotency_keys WHERE (owner_id, key_hash) IN (
      SELECT owner_id, key_hash FROM idempotency_keys WHERE created_at < now() - make_interval(hours => ${HOURS})
      ORDER BY created_at LIMIT 1000)
    RETURNING owner_id`,
};
