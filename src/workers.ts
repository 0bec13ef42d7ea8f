import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import type { Ready, RunningServer } from './server.js';
import { WorkerMetrics } from './worker-metrics.js';

/** A worker that dies this soon after its start is not replaced at once. */
const SHORT_LIFE_MS = 5_000;
const LONGEST_PAUSE_MS = 30_000;

/** A worker could not start; it has said why on its own. */
export class WorkerFailed extends Error {
  override readonly name = 'WorkerFailed';
}

/**
 * Forks `count` workers on one port and replaces those that die. The first is waited for alone, so that a fault that
 * hits all of them is told once.
 */
export async function startWorkers(count: number): Promise<Pick<RunningServer, 'port' | 'stop'>> {
  // A larger young generation: what 256 requests at once allocate dies young, and collecting it took a third of the time.
  cluster.setupPrimary({
    exec: fileURLToPath(new URL('./main.js', import.meta.url)),
    execArgv: [...new Set([...process.execArgv, '--max-semi-space-size=32'])],
  });
  new WorkerMetrics().listen();
  const pool = new WorkerPool();
  const port = await pool.start();
  await Promise.all(Array.from({ length: count - 1 }, () => pool.start()));
  pool.keep();
  return { port, stop: () => pool.stop() };
}

function end(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    worker.once('exit', () => {
      resolve();
    });
    worker.process.kill('SIGTERM');
  });
}

class WorkerPool {
  private readonly workers = new Set<Worker>();
  private stopping = false;
  private pause = 0;

  /** @returns the port, once a new worker listens */
  start(): Promise<number> {
    const worker = cluster.fork();
    this.workers.add(worker);
    return new Promise((resolve, reject) => {
      const listen = ({ ready }: Partial<Ready>): void => {
        if (!ready) return;
        worker.off('message', listen);
        resolve(ready.port);
      };
      worker.on('message', listen);
      worker.once('exit', () => {
        this.workers.delete(worker);
        reject(new WorkerFailed('A worker could not start.'));
      });
    });
  }

  /** From now on whoever dies is replaced. */
  keep(): void {
    for (const worker of this.workers) this.keepOne(worker, Date.now());
    cluster.on('fork', (worker) => {
      this.keepOne(worker, Date.now());
    });
  }

  async stop(): Promise<void> {
    this.stopping = true;
    // One stays until the last: what was handed to a worker that is closing goes to another, if there is one.
    const [last, ...others] = this.workers;
    await Promise.all(others.map(end));
    if (last) await end(last);
  }

  private keepOne(worker: Worker, since: number): void {
    worker.once('exit', (code, signal) => {
      if (this.stopping) return;
      this.pause = Date.now() - since < SHORT_LIFE_MS ? Math.min(LONGEST_PAUSE_MS, Math.max(250, this.pause * 2)) : 0;
      console.error(`Worker ${String(worker.process.pid)} died (code ${String(code)}, signal ${signal}): replaced.`);
      setTimeout(() => {
        // A failed replacement exits as well, which brings the next one.
        if (!this.stopping) this.start().catch(() => undefined);
      }, this.pause);
    });
  }
}
