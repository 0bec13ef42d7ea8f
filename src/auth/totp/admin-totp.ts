import type { Caller, Role } from '../../http/caller/caller.js';

/**
 * Returns the rights of an account. An administrator who must enable two-factor sign-in has only the rights of a user.
 */
export function rightsOf({ role, needsTotp }: { role: Role; needsTotp: boolean }): Pick<Caller, 'role' | 'needsTotp'> {
  return { role: needsTotp ? 'user' : role, needsTotp };
}
