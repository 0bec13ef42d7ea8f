import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Registry, collectDefaultMetrics, type MetricObject } from 'prom-client';
import { AuditChain } from '../audit/audit-chain.js';
import type { Distribution } from '../common/distribution.js';
import { tally } from '../common/tally.js';
import { coalescerLoads } from '../database/coalescer.js';
import { Database } from '../database/database.js';
import { VERSION } from '../config/version.js';
import { RequestStatistics } from './requests/request-statistics.js';

const PREFIX = 'quartermaster_';

type Labels = Record<string, string>;

/** A series: labels with a value or a distribution. */
interface Series<T> {
  labels: Labels;
  value: T;
}

/** The metrics of one process, in the form that prom-client aggregates over processes. */
export type ProcessMetrics = MetricObject[];

/**
 * Exposes the metrics of this process to Prometheus. Other classes count; this one only reads. Labels have a bounded
 * set of values and contain no user data: no user, key or API.
 */
@Injectable()
export class Prometheus {
  private readonly registry = new Registry();

  constructor(
    private readonly statistics: RequestStatistics,
    private readonly database: Database,
    private readonly audit: AuditChain,
  ) {
    collectDefaultMetrics({ register: this.registry, prefix: PREFIX });
    // Removes gauges that are named like counters and only sum other metrics: `promtool check metrics` rejects them.
    for (const kind of ['handles', 'requests', 'resources']) {
      this.registry.removeSingleMetric(`${PREFIX}nodejs_active_${kind}_total`);
    }
    this.watchRequests();
    this.watchCoalescers();
    this.watchDatabase();
    this.gauge(
      'audit_unsealed_seconds',
      'Age of the oldest audit log entry that is not sealed',
      [],
      () => [{ labels: {}, value: this.audit.unsealedSeconds }],
      'max',
    );
    this.gauge(
      'build_info',
      'Version of the running server',
      ['version'],
      () => [{ labels: { version: VERSION }, value: 1 }],
      'first',
    );
  }

  /** Content type of the response. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Returns the metrics as text. Replaced if several processes share a port, to return the metrics of all. */
  gather: () => Promise<string> = () => this.registry.metrics();

  async collect(): Promise<ProcessMetrics> {
    return this.registry.getMetricsAsJSON();
  }

  private watchRequests(): void {
    const routes = () => this.statistics.requests.routes();
    this.counter('http_requests_total', 'Requests, by route and status class', ['method', 'route', 'status'], () =>
      routes().flatMap(({ method, route, requests }) =>
        requests.flatMap((value, place) =>
          value === 0 ? [] : [{ labels: { method, route, status: `${place + 1}xx` }, value }],
        ),
      ),
    );
    this.histogram('http_request_duration_seconds', 'Duration of requests', () =>
      routes().flatMap(({ method, route, seconds }) =>
        seconds.count === 0 ? [] : [{ labels: { method, route }, value: seconds }],
      ),
    );
    this.counter('spends_total', 'Spends granted and denied by limits, by kind', ['kind', 'outcome'], () =>
      tally.spends().flatMap(({ kind, granted, denied }) => [
        { labels: { kind, outcome: 'granted' }, value: granted },
        { labels: { kind, outcome: 'denied' }, value: denied },
      ]),
    );
    this.gauge('usage_pending', 'Users whose request counts are not yet written to the database', [], () => [
      { labels: {}, value: this.statistics.requests.waiting },
    ]);
    this.counter(
      'usage_dropped_total',
      'Requests not counted for a user, because too many users were pending',
      [],
      () => [{ labels: {}, value: this.statistics.requests.dropped }],
    );
  }

  private watchCoalescers(): void {
    const loads = () => coalescerLoads().map((load) => ({ labels: { coalescer: load.name }, load }));
    this.histogram('coalescer_batch_size', 'Requests sent in one statement', () =>
      loads().map(({ labels, load }) => ({ labels, value: load.batches })),
    );
    this.histogram('coalescer_wait_seconds', 'Wait of the oldest request in a statement', () =>
      loads().map(({ labels, load }) => ({ labels, value: load.waits })),
    );
    this.gauge('coalescer_waiting', 'Backlog: requests that wait for a statement, or their size', ['coalescer'], () =>
      loads().map(({ labels, load }) => ({ labels, value: load.waiting() })),
    );
    this.gauge('coalescer_capacity', 'Maximum backlog', ['coalescer'], () =>
      loads().map(({ labels, load }) => ({ labels, value: load.capacity })),
    );
    this.counter('coalescer_refused_total', 'Requests rejected because the backlog was full', ['coalescer'], () =>
      loads().map(({ labels, load }) => ({ labels, value: load.refused })),
    );
  }

  private watchDatabase(): void {
    this.gauge('database_connections', 'Connections to the database', ['state'], () => {
      const { active, idle } = this.database.connections;
      return [
        { labels: { state: 'active' }, value: active },
        { labels: { state: 'idle' }, value: idle },
      ];
    });
    this.gauge('database_connections_max', 'Maximum connections to the database', [], () => [
      { labels: {}, value: this.database.connections.max },
    ]);
    this.gauge('database_waiting', 'Requests that wait for a connection', [], () => [
      { labels: {}, value: this.database.connections.waiting },
    ]);
  }

  private counter(name: string, help: string, labelNames: string[], read: () => Series<number>[]): void {
    new Counter({
      ...{ name: PREFIX + name, help, labelNames, registers: [this.registry] },
      collect() {
        this.reset();
        for (const { labels, value } of read()) this.inc(labels, value);
      },
    });
  }

  /** @param aggregator how the values of several processes are combined */
  private gauge(
    name: string,
    help: string,
    labelNames: readonly string[],
    read: () => Series<number>[],
    aggregator: 'sum' | 'max' | 'first' = 'sum',
  ): void {
    new Gauge({
      ...{ name: PREFIX + name, help, labelNames, aggregator, registers: [this.registry] },
      collect() {
        this.reset();
        for (const { labels, value } of read()) this.set(labels, value);
      },
    });
  }

  /** Registers a custom histogram: prom-client's own cannot take counts from elsewhere. */
  private histogram(name: string, help: string, read: () => Series<Distribution>[]): void {
    const metric = {
      name: PREFIX + name,
      get: () => ({
        ...{ name: PREFIX + name, help, type: 'histogram', aggregator: 'sum' },
        values: read().flatMap((series) => valuesOf(PREFIX + name, series)),
      }),
    };
    this.registry.registerMetric(metric as unknown as Gauge);
  }
}

function valuesOf(name: string, { labels, value: { bounds, counts, sum } }: Series<Distribution>) {
  let count = 0;
  const buckets = counts.map((each, i) => {
    count += each;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: String(bounds[i] ?? '+Inf') }, value: count };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
