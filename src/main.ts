import cluster from 'node:cluster';
import { isDatabaseUnavailable, sqlState } from './common/database-error.js';
import { ConfigError, Env } from './config/env.js';
import { EmbeddedPostgresError } from './database/embedded-postgres-error.js';
import { runPrimary } from './primary.js';
import { WorkerFailed } from './workers.js';

/** What the operator can mend is one line; anything else is a fault of ours and comes with its stack. */
function explain(error: unknown): string {
  if (error instanceof ConfigError || error instanceof EmbeddedPostgresError) return error.message;
  const { code, message, stack } = error as NodeJS.ErrnoException;
  // 28: wrong user or password; 3D000: no such database.
  if (isDatabaseUnavailable(error) || /^(28|3D000)/.test(sqlState(error) ?? '')) {
    return `The database of DATABASE_URL cannot be reached: ${message || (code ?? 'no answer')}.`;
  }
  return stack ?? String(error);
}

try {
  const env = new Env();
  if (cluster.isWorker) await (await import('./server.js')).runWorker(env);
  else await runPrimary(env);
} catch (error) {
  // A worker that could not start has said why.
  if (!(error instanceof WorkerFailed)) console.error(`Quartermaster did not start. ${explain(error)}`);
  process.exit(1);
}
