import type { Statement } from '../../database/database.js';

/** An upsert with a condition, so that a concurrent `enable` wins. */
export const PREPARE: Statement = {
  text: `
    INSERT INTO totp_secrets AS t (owner_id, secret_sealed) VALUES ($1, $2)
    ON CONFLICT ON CONSTRAINT totp_secrets_pkey
    DO UPDATE SET secret_sealed = excluded.secret_sealed, last_step = 0, created_at = excluded.created_at WHERE t.enabled_at IS NULL
    RETURNING owner_id`,
};
