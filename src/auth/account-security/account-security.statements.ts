import type { Statement } from '../../database/database.js';

/** Counts in one snapshot. */
export const FIND_SECURITY: Statement = {
  text: `
    SELECT u.email_confirmed_at AS "emailConfirmedAt", t.enabled_at AS "totpEnabledAt",
      (SELECT count(*) FROM totp_recovery_codes c WHERE c.owner_id = u.id)::integer AS "recoveryCodesLeft",
      (SELECT count(*) FROM sessions s WHERE s.owner_id = u.id AND s.expires_at > now())::integer AS sessions,
      (SELECT count(*) FROM request_keys k WHERE k.owner_id = u.id)::integer AS "signingKeys"
    FROM users u LEFT JOIN totp_secrets t ON t.owner_id = u.id WHERE u.id = $1`,
};
