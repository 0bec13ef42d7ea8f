/** The signals that mean: stop. Not SIGHUP under nohup, which redirects both outputs and means us to go on. */
export const STOP_SIGNALS: readonly NodeJS.Signals[] =
  process.stdout.isTTY || process.stderr.isTTY ? ['SIGTERM', 'SIGINT', 'SIGHUP'] : ['SIGTERM', 'SIGINT'];

/** A signal again so soon is the same one, which npm, the shell and the terminal each passed on. */
export const SAME_SIGNAL_MS = 1_000;

/** Milliseconds that requests under way get to end once a stopping server accepts no more connections. */
export const STOP_DEADLINE_MS = 30_000;

/** How long a stopping server goes on accepting connections that come without a pause. */
export const BACKLOG_MS = 5_000;
