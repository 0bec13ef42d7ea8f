import type { Statement } from '../../database/database.js';

/** Claims a request: skips those that other nodes have locked. */
export const TAKE: Statement = {
  text: `
    DELETE FROM recovery_requests WHERE login_hash = (SELECT login_hash FROM recovery_requests LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING login`,
};
