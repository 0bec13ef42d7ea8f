import { session, type User } from './session';
import { useStore } from './store';

/** Returns the signed-in user. Only for pages within the shell. */
export function useUser(): User {
  const now = useStore(session);
  if (!('user' in now)) throw new Error('Nobody is signed in.');
  return now.user;
}
