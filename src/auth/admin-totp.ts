import type { Caller, Role } from '../common/caller.js';
import type { Env } from '../config/env.js';

/** Returns SQL that is true for an administrator `u` who must first enable two-factor sign-in (REQUIRE_ADMIN_TOTP). */
export function needsTotp({ requireAdminTotp }: Env): string {
  if (!requireAdminTotp) return 'false';
  return `(u.role = 'admin' AND NOT EXISTS (
    SELECT FROM totp_secrets f WHERE f.owner_id = u.id AND f.enabled_at IS NOT NULL))`;
}

/**
 * Returns the rights of an account. An administrator who must enable two-factor sign-in has only the rights of a user.
 */
export function rightsOf({ role, needsTotp }: { role: Role; needsTotp: boolean }): Pick<Caller, 'role' | 'needsTotp'> {
  return { role: needsTotp ? 'user' : role, needsTotp };
}
