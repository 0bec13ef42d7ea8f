import { ApiProblem, ServerUnreachable } from './problem';

/** An error in words: what happened, and what the reader can do. */
export interface Explanation {
  title: string;
  message: string;
  next?: string;
}

/** What to do next, by problem code. The message itself is the server's `detail`. */
const NEXT: Record<string, string> = {
  invalid_credentials: 'Check the login and the password. Passwords are case-sensitive.',
  invalid_totp: 'Wait for the next code of your authenticator, or use a recovery code.',
  unauthenticated: 'Sign in again.',
  invalid_token: 'Sign in again, or ask for a new link.',
  credits_exhausted: 'Delete a task to release its credit, or ask an administrator for more credits.',
  forbidden: 'Ask an administrator if you need this.',
  totp_setup_required: 'Enable two-factor sign-in on the Account page; your rights return with the first code.',
  plan_in_use: 'Assign another plan to its users first.',
  scope_denied: 'Use a key whose scopes cover this API, or add the API to the scopes of this key.',
  account_disabled: 'Ask an administrator to enable the account.',
  not_found: 'It may have been deleted meanwhile. Go back to the list and reload it.',
  keys_not_found: 'Reload the list: some keys were deleted or have expired.',
  username_taken: 'Choose another username.',
  email_taken: 'Use another e-mail address, or sign in to the account that has it.',
  slug_taken: 'Choose another slug.',
  last_admin: 'Make another user an administrator first.',
  credits_overprovisioned:
    'Grant fewer credits, raise the object limit of the platform, or allow overprovisioning in its settings.',
  idempotency_in_progress: 'Wait a moment; the first request is still running.',
  idempotency_key_reused: 'Reload the page and try again.',
  version_mismatch: 'Somebody has changed it since you opened it. Your input is kept: reload, compare, and save again.',
  body_too_large: 'Send less at once.',
  unsupported_media_type: 'Choose a file of a kind that the page names.',
  too_many_attempts: 'Wait, then try again.',
  upstream_failed: 'The service behind this API does not answer. Check its upstream address.',
  overloaded: 'Wait a moment and try again; nothing was changed.',
  database_unavailable: 'Try again in a moment. If it stays, ask an administrator to check the database.',
  internal_error: 'Try again. If it stays, give the request id to an administrator, who can find it in the log.',
};

function nextOf(problem: ApiProblem): string | undefined {
  if (problem.code === 'quota_exceeded') {
    return problem.status === 429
      ? 'Wait until the limit resets, or ask an administrator for a higher one.'
      : 'Delete something to make room, or ask an administrator for a higher limit.';
  }
  return NEXT[problem.code];
}

/** Says an error in words. */
export function explain(error: unknown): Explanation {
  if (error instanceof ServerUnreachable) {
    return {
      title: 'The server cannot be reached',
      message: 'Nothing was lost.',
      next: 'Check the connection. The console tries again by itself.',
    };
  }
  if (error instanceof ApiProblem) {
    const { title = 'The request failed' } = error.body;
    const next = nextOf(error);
    const wait = error.retryAfter === undefined ? '' : ` Try again in ${secondsInWords(error.retryAfter)}.`;
    return {
      title,
      message: `${error.detail.replace(/\.$/, '') === title ? '' : error.detail}${wait}`.trim(),
      ...(next === undefined ? {} : { next }),
    };
  }
  return {
    title: 'Something went wrong in this page',
    message: error instanceof Error ? error.message : String(error),
    next: 'Reload the page.',
  };
}

function secondsInWords(seconds: number): string {
  if (seconds < 90) return seconds === 1 ? '1 second' : `${String(seconds)} seconds`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${String(minutes)} minutes` : `${String(Math.ceil(minutes / 60))} hours`;
}
