import type { Env } from '../../config/env.js';

/** Part of the coalesced reads of callers: SQL that is true for an administrator `u` who must first enable two-factor sign-in (REQUIRE_ADMIN_TOTP). */
export function needsTotp({ requireAdminTotp }: Env): string {
  if (!requireAdminTotp) return 'false';
  return `(u.role = 'admin' AND NOT EXISTS (
    SELECT FROM totp_secrets f WHERE f.owner_id = u.id AND f.enabled_at IS NOT NULL))`;
}
