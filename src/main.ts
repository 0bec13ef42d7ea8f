import cluster from 'node:cluster';
import { Env } from './config/env.js';
import { misspelt } from './config/misspelt.js';
import { isolateFromShell } from './config/shell.js';
import { runPrimary } from './process/primary.js';
import { explainStart } from './process/start-error.js';
import { WorkerFailed } from './process/workers.js';

try {
  isolateFromShell();
  const env = new Env();
  if (cluster.isWorker) {
    await (await import('./process/server.js')).runWorker(env);
  } else {
    for (const line of misspelt(process.env)) console.error(`Warning: ${line}`);
    await runPrimary(env);
  }
} catch (error) {
  // A worker that failed to start has already logged the reason.
  if (!(error instanceof WorkerFailed)) console.error(`Quartermaster did not start. ${explainStart(error)}`);
  process.exit(1);
}
