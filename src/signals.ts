/** The signals that mean: stop. Not SIGHUP under nohup, which redirects both outputs and means us to go on. */
export const STOP_SIGNALS: readonly NodeJS.Signals[] =
  process.stdout.isTTY || process.stderr.isTTY ? ['SIGTERM', 'SIGINT', 'SIGHUP'] : ['SIGTERM', 'SIGINT'];
