/**
 * The signals that stop the server. Excludes SIGHUP under nohup, which redirects both outputs so that it keeps running.
 */
export const STOP_SIGNALS: readonly NodeJS.Signals[] =
  process.stdout.isTTY || process.stderr.isTTY ? ['SIGTERM', 'SIGINT', 'SIGHUP'] : ['SIGTERM', 'SIGINT'];

/** A repeated signal within this time counts as the same one: npm, the shell and the terminal may each forward it. */
export const SAME_SIGNAL_MS = 1_000;

/** Milliseconds for pending requests to finish after a stopping server accepts no more connections. */
export const STOP_DEADLINE_MS = 30_000;
