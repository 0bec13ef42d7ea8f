import type { User } from '../../../api/session';

/** Returns what a user is called: the username, else the e-mail address, else the id. */
export function nameOf({ username, email, id }: Pick<User, 'id' | 'username' | 'email'>): string {
  return username ?? email ?? id;
}
