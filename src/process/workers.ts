import cluster, { type Worker } from 'node:cluster';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Order, Report, RunningServer } from './server.js';
import { BACKLOG_MS } from '../http/connections.js';
import { WorkerMetrics } from './worker-metrics.js';

/** A worker that exits this soon after its start is restarted with a delay. */
const SHORT_LIFE_MS = 5_000;
const LONGEST_PAUSE_MS = 30_000;

/** A worker could not start. It has already logged the reason. */
export class WorkerFailed extends Error {
  override readonly name = 'WorkerFailed';
}

/** Flags of `npm start`, which keep garbage collection cheap: docs/decisions/0005-http.md. */
export const V8_FLAGS = ['--max-semi-space-size=32', '--no-allocation-site-pretenuring'];

/**
 * Forks `count` workers on one port and restarts those that exit. Waits for the first worker before it forks the
 * others, so that an error that affects all workers is reported once.
 */
export async function startWorkers(count: number): Promise<RunningServer> {
  cluster.setupPrimary({
    exec: fileURLToPath(new URL('../main.js', import.meta.url)),
    execArgv: [...new Set([...process.execArgv, ...V8_FLAGS])],
  });
  new WorkerMetrics().listen();
  const pool = new WorkerPool();
  const port = await pool.start();
  await Promise.all(Array.from({ length: count - 1 }, () => pool.start()));
  pool.keep();
  return {
    port,
    retire: () => {
      pool.retire();
    },
    stop: () => pool.stop(),
  };
}

function tell(worker: Worker, order: Order['order']): void {
  // The callback ignores errors, because the worker may have exited. Without it a failed send ends the process.
  if (worker.isConnected()) worker.send({ order } satisfies Order, () => undefined);
}

/** @returns the number of connections that a worker has accepted so far; 0 if it has exited */
function acceptedBy(worker: Worker): Promise<number> {
  return new Promise((resolve) => {
    const done = (accepted: number): void => {
      worker.off('message', hear).off('disconnect', leave).off('exit', leave);
      resolve(accepted);
    };
    const hear = ({ accepted }: Report): void => {
      if (accepted !== undefined) done(accepted);
    };
    const leave = (): void => {
      done(0);
    };
    worker.on('message', hear).on('disconnect', leave).on('exit', leave);
    if (worker.isConnected()) tell(worker, 'hold');
    else leave();
  });
}

class WorkerPool {
  private readonly workers = new Set<Worker>();
  /** The workers that listen. */
  private readonly listening = new Set<Worker>();
  private isRetired = false;
  private pause = 0;

  /** @returns the port, once a new worker listens */
  start(): Promise<number> {
    const worker = cluster.fork();
    this.workers.add(worker);
    return new Promise((resolve, reject) => {
      const listen = ({ ready }: Report): void => {
        if (!ready) return;
        worker.off('message', listen);
        this.listening.add(worker);
        if (this.isRetired) tell(worker, 'retire');
        resolve(ready.port);
      };
      worker.on('message', listen);
      worker.once('exit', () => {
        this.workers.delete(worker);
        this.listening.delete(worker);
        reject(new WorkerFailed('A worker could not start.'));
      });
    });
  }

  /** Restarts workers that exit, until the server retires. */
  keep(): void {
    for (const worker of this.workers) this.keepOne(worker, Date.now());
    cluster.on('fork', (worker) => {
      this.keepOne(worker, Date.now());
    });
  }

  retire(): void {
    this.isRetired = true;
    for (const worker of this.listening) tell(worker, 'retire');
  }

  async stop(): Promise<void> {
    this.retire();
    const ended = [...this.workers].map(
      (worker) =>
        new Promise<void>((resolve) => {
          worker.once('exit', () => {
            resolve();
          });
        }),
    );
    // At the deadline or a second signal this process exits before its workers: kills them.
    process.once('exit', () => {
      for (const worker of this.workers) worker.process.kill('SIGKILL');
    });
    await this.takeBacklog();
    for (const worker of this.workers) {
      // Removes the worker from the shared port at once; the last one closes the port. Messages sent before still
      // arrive.
      if (this.listening.has(worker)) worker.disconnect();
      else worker.process.kill('SIGTERM');
    }
    for (const worker of this.listening) tell(worker, 'stop');
    await Promise.all(ended);
  }

  /**
   * Resolves when a worker has every connection that the kernel has accepted. Node's cluster does not expose its queue,
   * but passes a worker the next connection only after the worker has confirmed the previous one. A worker reads
   * connections and messages in the order in which they were sent. So if no worker got a connection between two counts,
   * the queue was empty.
   */
  private async takeBacklog(): Promise<void> {
    const late = sleep(BACKLOG_MS, undefined, { ref: false });
    let before: number;
    let now = -1;
    do {
      before = now;
      // The event loop of this process accepts one connection per turn. The current turn may already have checked.
      await turn();
      await turn();
      const counts = await Promise.race([Promise.all([...this.listening].map(acceptedBy)), late]);
      if (!counts) break;
      now = counts.reduce((sum, count) => sum + count, 0);
    } while (now !== before);
    await turn();
  }

  private keepOne(worker: Worker, since: number): void {
    worker.once('exit', (code, signal) => {
      if (this.isRetired) return;
      this.pause = Date.now() - since < SHORT_LIFE_MS ? Math.min(LONGEST_PAUSE_MS, Math.max(250, this.pause * 2)) : 0;
      console.error(
        `Worker ${String(worker.process.pid)} died (code ${String(code)}, signal ${signal}). Restarting it.`,
      );
      setTimeout(() => {
        // A replacement that fails to start also exits, which triggers the next one.
        if (!this.isRetired) this.start().catch(() => undefined);
      }, this.pause);
    });
  }
}
