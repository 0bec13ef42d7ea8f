import type { Caller, Role } from '../common/caller.js';
import type { Env } from '../config/env.js';

/** SQL: whether an account `u` is an administrator that must set up two-factor sign-in first (REQUIRE_ADMIN_TOTP). */
export function needsTotp({ requireAdminTotp }: Env): string {
  if (!requireAdminTotp) return 'false';
  return `(u.role = 'admin' AND NOT EXISTS (
    SELECT FROM totp_secrets f WHERE f.owner_id = u.id AND f.enabled_at IS NOT NULL))`;
}

/** The rights of an account: until then no more than a user's. */
export function rightsOf({ role, needsTotp }: { role: Role; needsTotp: boolean }): Pick<Caller, 'role' | 'needsTotp'> {
  return { role: needsTotp ? 'user' : role, needsTotp };
}
