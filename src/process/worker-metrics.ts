import cluster, { type Worker } from 'node:cluster';
import { AggregatorRegistry } from 'prom-client';
import { Problem } from '../common/problem.js';
import type { ProcessMetrics } from '../metrics/prometheus.js';

/** How long the primary waits for the metrics of a worker. */
const PATIENCE_MS = 2_000;

/** Sums are rounded to millionths. */
const PRECISION = 1e6;

/** Messages between workers and the primary; `ask` identifies a request. */
type Message =
  | { metrics: 'joined' }
  | { metrics: 'all'; ask: number }
  | { metrics: 'text'; ask: number; text: string }
  | { metrics: 'one'; ask: number }
  | { metrics: 'said'; ask: number; said: ProcessMetrics };

function ignore(): void {
  // The receiver has exited.
}

function tell(worker: Worker, message: Message): void {
  if (worker.isConnected()) worker.send(message, ignore);
}

function isOurs(message: unknown): message is Message {
  return typeof message === 'object' && message !== null && 'metrics' in message;
}

/**
 * In a worker: sends its metrics to the primary on request, and returns a function that fetches the metrics of all
 * workers. Workers share a port, so each scrape reaches a different worker.
 */
export function joinMetrics(collect: () => Promise<ProcessMetrics>): () => Promise<string> {
  const waiting = new Map<number, (text: string) => void>();
  let asked = 0;
  const send = (message: Message): void => {
    // The callback ignores errors, because the primary may have exited. Without it a failed send ends the process.
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
 * In the primary: sums the metrics of the workers. The sums include the counters of exited workers: otherwise they
 * would fall, which Prometheus takes for a restart.
 */
export class WorkerMetrics {
  /** Workers that have started. A worker that is still starting would delay every response. */
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
        // A worker's last message may arrive after its exit event.
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
    // Summed in another order, fractions differ in the last digit. Prometheus takes a counter that falls for a restart.
    for (const { values } of sums.getMetricsAsArray() as unknown as { values: { value: number }[] }[]) {
      for (const each of values) {
        if (!Number.isInteger(each.value)) each.value = Math.round(each.value * PRECISION) / PRECISION;
      }
    }
    return sums.metrics();
  }

  /** Returns the current metrics of each running worker, or its previous ones if it does not respond in time. */
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
    // The returned metric objects also have the plain values, as ProcessMetrics requires.
    this.retired = AggregatorRegistry.aggregate([this.retired, lasting]).getMetricsAsArray();
  }
}
