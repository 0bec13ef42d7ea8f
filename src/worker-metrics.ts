import cluster, { type Worker } from 'node:cluster';
import { AggregatorRegistry } from 'prom-client';
import { Problem } from './common/problem.js';
import type { ProcessMetrics } from './metrics/prometheus.js';

/** How long the primary waits for what a worker says of itself. */
const PATIENCE_MS = 2_000;

/** What sums are told to: millionths. */
const PRECISION = 1e6;

/** What a worker asks for, and is asked; `ask` tells questions apart. */
type Message =
  | { metrics: 'joined' }
  | { metrics: 'all'; ask: number }
  | { metrics: 'text'; ask: number; text: string }
  | { metrics: 'one'; ask: number }
  | { metrics: 'said'; ask: number; said: ProcessMetrics };

function ignore(): void {
  // Whoever it was for is gone.
}

function tell(worker: Worker, message: Message): void {
  if (worker.isConnected()) worker.send(message, ignore);
}

function isOurs(message: unknown): message is Message {
  return typeof message === 'object' && message !== null && 'metrics' in message;
}

/**
 * In a worker: tells the primary what it asks for, and returns how to get the numbers of all workers. They share a port,
 * so whoever asks for metrics reaches one of them, and a different one each time.
 */
export function joinMetrics(collect: () => Promise<ProcessMetrics>): () => Promise<string> {
  const waiting = new Map<number, (text: string) => void>();
  let asked = 0;
  const send = (message: Message): void => {
    // Unheard, the failure of a send ends the process: the other end may be gone in this very moment.
    if (process.connected) process.send?.(message, ignore);
  };
  process.on('message', (message: unknown) => {
    if (!isOurs(message) || message.metrics === 'joined') return;
    const { ask } = message;
    if (message.metrics === 'one') {
      void collect().then((said) => {
        send({ metrics: 'said', ask, said });
      });
    } else if (message.metrics === 'text') {
      waiting.get(ask)?.(message.text);
      waiting.delete(ask);
    }
  });
  send({ metrics: 'joined' });
  return () =>
    new Promise((resolve, reject) => {
      const ask = asked++;
      const timer = setTimeout(() => {
        waiting.delete(ask);
        reject(new Problem('overloaded', { retryAfter: 1 }));
      }, 2 * PATIENCE_MS);
      waiting.set(ask, (text) => {
        clearTimeout(timer);
        resolve(text);
      });
      send({ metrics: 'all', ask });
    });
}

/**
 * In the primary: adds up what the workers say. What one that has died had counted stays in the sums: they would fall, and
 * be taken for the counts of a new start.
 */
export class WorkerMetrics {
  /** Those that are up: one that is still starting would keep everybody waiting. */
  private readonly joined = new Set<Worker>();
  private readonly latest = new Map<number, ProcessMetrics>();
  private retired: ProcessMetrics = [];
  private readonly waiting = new Map<number, (worker: Worker) => void>();
  private asked = 0;

  listen(): void {
    cluster.on('message', (worker, message: unknown) => {
      if (!isOurs(message)) return;
      if (message.metrics === 'joined') {
        this.joined.add(worker);
      } else if (message.metrics === 'said') {
        // Its last words may come after it was counted among the dead.
        if (worker.isDead()) return;
        this.latest.set(worker.id, message.said);
        this.waiting.get(message.ask)?.(worker);
      } else if (message.metrics === 'all') {
        void this.text().then((text) => {
          tell(worker, { metrics: 'text', ask: message.ask, text });
        });
      }
    });
    cluster.on('exit', (worker) => {
      this.joined.delete(worker);
      const last = this.latest.get(worker.id);
      this.latest.delete(worker.id);
      if (last) this.retire(last);
    });
  }

  private async text(): Promise<string> {
    const said = await this.askAll();
    const sums = AggregatorRegistry.aggregate([...said, this.retired]);
    // Added up in another order, fractions differ in their last digit: a counter that falls by that is taken for a restart.
    for (const { values } of sums.getMetricsAsArray() as unknown as { values: { value: number }[] }[]) {
      for (const each of values) {
        if (!Number.isInteger(each.value)) each.value = Math.round(each.value * PRECISION) / PRECISION;
      }
    }
    return sums.metrics();
  }

  /** What each worker that lives says now, or said when it was last asked. */
  private async askAll(): Promise<ProcessMetrics[]> {
    const workers = [...this.joined].filter((worker) => worker.isConnected());
    if (workers.length === 0) return [...this.latest.values()];
    const ask = this.asked++;
    const missing = new Set(workers.map((worker) => worker.id));
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, PATIENCE_MS);
      this.waiting.set(ask, (worker) => {
        missing.delete(worker.id);
        if (missing.size > 0) return;
        clearTimeout(timer);
        resolve();
      });
      for (const worker of workers) tell(worker, { metrics: 'one', ask });
    });
    this.waiting.delete(ask);
    return [...this.latest.values()];
  }

  private retire(last: ProcessMetrics): void {
    const lasting = last.filter(({ type }) => String(type) === 'counter' || String(type) === 'histogram');
    // Each of them has the values of what it was made of beside its methods.
    this.retired = AggregatorRegistry.aggregate([this.retired, lasting]).getMetricsAsArray();
  }
}
