import createClient from 'openapi-fetch';
import { answer } from './answer';
import { ApiProblem } from './problem';
import type { components, paths } from '../../../sdk/src/schema';
import { Store } from './store';
import { sendOrThrow } from './transport';
import { CONSOLE_PATH, SERVER_URL } from '../base-path';

export type User = components['schemas']['UserResponse'];
type Tokens = components['schemas']['TokensResponse'];

/**
 * `ended`: the user was signed in, and the session has ended by itself. The page stays, so that nothing typed is lost,
 * and the password is asked for over it.
 */
export type Session =
  { state: 'starting' | 'signed-out' } | { state: 'signed-in' | 'ended'; user: User; accessToken: string };

export const session = new Store<Session>({ state: 'starting' });

/** Requests without an access token. */
export const publicApi = createClient<paths>({ baseUrl: SERVER_URL, fetch: sendOrThrow });

/** Tells the other tabs, which share the cookie. */
const tabs = new BroadcastChannel('quartermaster-session');

tabs.onmessage = ({ data }: MessageEvent<{ signedOut: string }>) => {
  const now = session.get();
  if ('user' in now && now.user.id === data.signedOut) session.set({ ...now, state: 'ended' });
};

/**
 * Set while the browser may have a session. Without it there is nothing to resume, and no request is made that could only
 * fail. The cookie itself is hidden from scripts.
 */
const HINT = 'quartermaster-session';

function accept({ accessToken, user }: Tokens): void {
  const before = session.get();
  if ('user' in before && before.user.id !== user.id) {
    // Another tab signed in as somebody else: nothing on this page may stay.
    window.location.assign(`${CONSOLE_PATH}/`);
    return;
  }
  localStorage.setItem(HINT, 'yes');
  session.set({ state: 'signed-in', user, accessToken });
}

/** Continues the session of the cookie, if there may be one. @returns whether somebody is signed in */
export async function resume(): Promise<boolean> {
  if (localStorage.getItem(HINT) !== null) return refresh();
  session.set({ state: 'signed-out' });
  return false;
}

export async function signIn(login: string, password: string, code?: string): Promise<void> {
  const body = { login, password, session: 'cookie' as const, ...(code === undefined ? {} : { code }) };
  accept(await answer(publicApi.POST('/v1/auth/login', { body })));
}

/** Ends the session. The page is loaded anew, so that no data of the user stays in memory. */
export async function signOut(): Promise<void> {
  const now = session.get();
  if ('user' in now) {
    const headers = { authorization: `Bearer ${now.accessToken}` };
    await publicApi.POST('/v1/auth/logout', { headers }).catch((error: unknown) => {
      // A session that has already ended needs no sign-out.
      if (!(error instanceof ApiProblem && error.status === 401)) throw error;
    });
    localStorage.removeItem(HINT);
    tabs.postMessage({ signedOut: now.user.id });
  }
  window.location.assign(`${CONSOLE_PATH}/sign-in`);
}

let refreshing: Promise<boolean> | undefined;

/**
 * Exchanges the cookie for a new access token, once for all requests that wait for it.
 * @returns false if there is no session
 */
export function refresh(): Promise<boolean> {
  refreshing ??= exchange().finally(() => (refreshing = undefined));
  return refreshing;
}

async function exchange(): Promise<boolean> {
  try {
    accept(await answer(publicApi.POST('/v1/auth/refresh')));
    return true;
  } catch (error) {
    if (!(error instanceof ApiProblem && [401, 403].includes(error.status))) throw error;
    localStorage.removeItem(HINT);
    const now = session.get();
    session.set('user' in now ? { ...now, state: 'ended' } : { state: 'signed-out' });
    return false;
  }
}

/** Updates what the shell shows of the signed-in user after a change to the account. */
export function updateUser(user: User): void {
  const now = session.get();
  if ('user' in now && now.user.id === user.id) session.set({ ...now, user });
}

/** Resolves once the user is signed in again. Rejects if the signal aborts. */
export function signedInAgain(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = session.subscribe(() => {
      if (session.get().state !== 'signed-in') return;
      stop();
      resolve();
    });
    signal.addEventListener('abort', () => {
      stop();
      reject(signal.reason as Error);
    });
  });
}
