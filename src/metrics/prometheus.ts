import { Injectable } from '@nestjs/common';
import { Counter, Gauge, Registry, collectDefaultMetrics, type MetricObject } from 'prom-client';
import { AuditChain } from '../audit/audit-chain.js';
import type { Distribution } from '../common/distribution.js';
import { tally } from '../common/tally.js';
import { coalescerLoads } from '../database/coalescer.js';
import { Database } from '../database/database.js';
import { VERSION } from '../version.js';
import { RequestStatistics } from './request-statistics.js';

const PREFIX = 'quartermaster_';

type Labels = Record<string, string>;

/** A series: a value, or how many values fell where, under some labels. */
interface Series<T> {
  labels: Labels;
  value: T;
}

/** What one process gives of itself, in the form in which several are added up. */
export type ProcessMetrics = MetricObject[];

/**
 * The numbers of this process, for Prometheus. They are kept where they arise and only read here. Nothing in a label is
 * without bound or somebody's: no user, no key, no API.
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
    // Gauges that are named like counters, and sums of others: `promtool check metrics` refuses them.
    for (const kind of ['handles', 'requests', 'resources']) {
      this.registry.removeSingleMetric(`${PREFIX}nodejs_active_${kind}_total`);
    }
    this.watchRequests();
    this.watchCoalescers();
    this.watchDatabase();
    this.gauge(
      'audit_unsealed_seconds',
      'For how long the oldest entry of the audit log has waited to be sealed',
      [],
      () => [{ labels: {}, value: this.audit.unsealedSeconds }],
      'max',
    );
    this.gauge(
      'build_info',
      'The version that runs',
      ['version'],
      () => [{ labels: { version: VERSION }, value: 1 }],
      'first',
    );
  }

  /** The type of the text. */
  get contentType(): string {
    return this.registry.contentType;
  }

  /** Where several processes share a port, one asks for the numbers of all. */
  gather: () => Promise<string> = () => this.registry.metrics();

  async collect(): Promise<ProcessMetrics> {
    return this.registry.getMetricsAsJSON();
  }

  private watchRequests(): void {
    const routes = () => this.statistics.requests.routes();
    this.counter(
      'http_requests_total',
      'Requests answered, by route and class of status',
      ['method', 'route', 'status'],
      () =>
        routes().flatMap(({ method, route, requests }) =>
          requests.flatMap((value, place) =>
            value === 0 ? [] : [{ labels: { method, route, status: `${place + 1}xx` }, value }],
          ),
        ),
    );
    this.histogram('http_request_duration_seconds', 'How long requests took', () =>
      routes().flatMap(({ method, route, seconds }) =>
        seconds.count === 0 ? [] : [{ labels: { method, route }, value: seconds }],
      ),
    );
    this.counter('spends_total', 'What limits were asked for, and what they said', ['kind', 'outcome'], () =>
      tally.spends().flatMap(({ kind, granted, denied }) => [
        { labels: { kind, outcome: 'granted' }, value: granted },
        { labels: { kind, outcome: 'denied' }, value: denied },
      ]),
    );
    this.gauge('usage_pending', 'Users whose requests are not yet in the database', [], () => [
      { labels: {}, value: this.statistics.requests.waiting },
    ]);
    this.counter('usage_dropped_total', 'Requests that are counted for no user: too many waited', [], () => [
      { labels: {}, value: this.statistics.requests.dropped },
    ]);
  }

  private watchCoalescers(): void {
    const loads = () => coalescerLoads().map((load) => ({ labels: { coalescer: load.name }, load }));
    this.histogram('coalescer_batch_size', 'Requests that went out in one statement', () =>
      loads().map(({ labels, load }) => ({ labels, value: load.batches })),
    );
    this.histogram('coalescer_wait_seconds', 'How long the oldest request of a statement had waited', () =>
      loads().map(({ labels, load }) => ({ labels, value: load.waits })),
    );
    this.gauge('coalescer_waiting', 'How much waits for a statement', ['coalescer'], () =>
      loads().map(({ labels, load }) => ({ labels, value: load.waiting() })),
    );
    this.gauge('coalescer_capacity', 'How much may wait', ['coalescer'], () =>
      loads().map(({ labels, load }) => ({ labels, value: load.capacity })),
    );
    this.counter('coalescer_refused_total', 'Requests refused since too much waited', ['coalescer'], () =>
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
    this.gauge('database_connections_max', 'Connections there may be', [], () => [
      { labels: {}, value: this.database.connections.max },
    ]);
    this.gauge('database_waiting', 'Who waits for a connection', [], () => [
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

  /** @param aggregator how those of several processes become one */
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

  /** The library's own histogram counts for itself, and cannot be told what was counted elsewhere. */
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
