import { isDatabaseUnavailable, sqlState } from '../common/database-error.js';
import { Distribution } from '../common/distribution.js';
import { Problem } from '../common/problem.js';

export interface CoalescerOptions<Q> {
  /** Name in the metrics. Several coalescers of a process may share one. Without a name, it does not appear there. */
  name?: string;
  /**
   * Statements in flight at once. With two, the database works on one while the process reads the reply to the other.
   */
  inFlight?: number;
  /** Maximum batch size: number of requests, or the sum of their sizes. A single larger request is sent alone. */
  maxBatch?: number;
  /** Maximum backlog, in the same unit. Further requests are rejected with `overloaded`. */
  maxWaiting?: number;
  /** Size of a request for both limits. Default 1. */
  sizeOf?: (request: Q) => number;
  /** For look-ups: requests of a batch with the same key are sent once and share the answer. */
  key?: (request: Q) => string;
  /**
   * Requests with different partitions are sent in different statements, of which several run at once. Undefined: requests
   * are sent together.
   */
  partition?: (request: Q) => string | undefined;
  /** Whether the statement is safe to repeat. If so, it is retried once after a lost connection. */
  readOnly?: boolean;
}

/**
 * Whether the database rejected the data of a statement (SQLSTATE class 22, data exception, or 23, constraint
 * violation). Then the statement had no effect, and one of its requests is the cause. Splitting the batch does not help
 * against other errors.
 */
function blamesData(error: unknown): boolean {
  return /^2[23][0-9A-Z]{3}$/.test(sqlState(error) ?? '');
}

/** Statements in flight at once if requests have partitions: each is work for one node of the database. */
const PARTITIONS_IN_FLIGHT = 8;

interface Waiting<Q, R> {
  request: Q;
  /** Arrival time (performance.now). */
  since: number;
  size: number;
  resolve: (answer: R) => void;
  reject: (error: unknown) => void;
}

/** Histogram buckets: requests in a batch. */
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Histogram buckets: seconds. */
const WAITS = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Load of a coalescer, for the metrics. */
export class CoalescerLoad {
  readonly batches = new Distribution(BATCH_SIZES);
  /** Wait of the oldest request in each batch, in seconds. */
  readonly waits = new Distribution(WAITS);
  /** Requests rejected because the backlog was full. */
  refused = 0;

  constructor(
    readonly name: string,
    readonly capacity: number,
    /** Returns the current backlog, in the unit of `capacity`. */
    readonly waiting: () => number,
  ) {}
}

const watched = new Set<CoalescerLoad>();

/** Returns the load of each named coalescer in this process. */
export function coalescerLoads(): readonly CoalescerLoad[] {
  return [...watched];
}

/**
 * Group commit for statements: while statements are in flight, new requests wait, and the next statement sends them
 * together. A lone request does not wait. Under load, one statement, round trip and fsync serve many requests.
 *
 * Nothing is cached: a request is answered only by a statement that was sent after it arrived. A batch keeps the order
 * of arrival. `run` must handle a batch in one transaction and return the answers in batch order. If the database
 * rejects the data, the batch had no effect and its halves are retried separately, so that one invalid request does not
 * fail the others.
 */
export class Coalescer<Q, R> {
  private readonly waiting: Waiting<Q, R>[] = [];
  private readonly inFlight: number;
  private readonly maxBatch: number;
  private readonly maxWaiting: number;
  private readonly key: ((request: Q) => string) | undefined;
  private readonly partition: (request: Q) => string | undefined;
  private readonly readOnly: boolean;
  private readonly sizeOf: (request: Q) => number;
  private readonly load: CoalescerLoad;
  private waitingSize = 0;
  private running = 0;
  private scheduled = false;

  constructor(
    private readonly run: (batch: readonly Q[]) => Promise<readonly R[]>,
    options: CoalescerOptions<Q> = {},
  ) {
    this.inFlight = options.inFlight ?? 2;
    this.maxBatch = options.maxBatch ?? 256;
    this.maxWaiting = options.maxWaiting ?? 10_000;
    this.key = options.key;
    this.partition = options.partition ?? (() => undefined);
    this.readOnly = options.readOnly ?? false;
    this.sizeOf = options.sizeOf ?? (() => 1);
    this.load = new CoalescerLoad(options.name ?? '', this.maxWaiting, () => this.waitingSize);
    if (options.name !== undefined) watched.add(this.load);
  }

  /**
   * Resolves to the answer to this request.
   * @throws Problem overloaded if the backlog is full; otherwise the database error
   */
  add(request: Q): Promise<R> {
    const size = this.sizeOf(request);
    if (this.waiting.length > 0 && this.waitingSize + size > this.maxWaiting) {
      this.load.refused++;
      return Promise.reject(new Problem('overloaded', { retryAfter: 1 }));
    }
    this.waitingSize += size;
    return new Promise<R>((resolve, reject) => {
      this.waiting.push({ request, since: performance.now(), size, resolve, reject });
      if (!this.scheduled && this.hasRoom) {
        this.scheduled = true;
        // After the poll phase: requests from other sockets in the same turn of the event loop join the batch.
        setImmediate(() => {
          this.scheduled = false;
          this.dispatch();
        });
      }
    });
  }

  private dispatch(): void {
    while (this.hasRoom) {
      const batch = this.takeBatch();
      this.running++;
      void this.settle(batch).then(() => {
        this.running--;
        this.dispatch();
      });
    }
  }

  /** Whether a request waits that can be sent. */
  private get hasRoom(): boolean {
    const [oldest] = this.waiting;
    if (!oldest) return false;
    return this.running < (this.partition(oldest.request) === undefined ? this.inFlight : PARTITIONS_IN_FLIGHT);
  }

  /** Takes the oldest request, and others of its partition, oldest first, as many as fit. */
  private takeBatch(): Waiting<Q, R>[] {
    const [oldest] = this.waiting;
    const partition = oldest && this.partition(oldest.request);
    const batch: Waiting<Q, R>[] = [];
    const apart: Waiting<Q, R>[] = [];
    let size = 0;
    for (const next of this.waiting) {
      if (partition !== undefined && this.partition(next.request) !== partition) {
        apart.push(next);
      } else if (batch.length > 0 && size + next.size > this.maxBatch) {
        break;
      } else {
        size += next.size;
        batch.push(next);
      }
    }
    // Those behind the last one that was looked at stay where they are: a long backlog is not copied for each batch.
    this.waiting.splice(0, batch.length + apart.length, ...apart);
    this.waitingSize -= size;
    this.load.batches.add(batch.length);
    if (oldest) this.load.waits.add((performance.now() - oldest.since) / 1_000);
    return batch;
  }

  /** Answers every request of a batch. Never rejects. */
  private async settle(batch: Waiting<Q, R>[]): Promise<void> {
    try {
      const answers = await this.ask(batch);
      batch.forEach((each, i) => {
        each.resolve(answers[i] as R);
      });
    } catch (error) {
      if (batch.length > 1 && blamesData(error)) {
        const half = batch.length >> 1;
        await this.settle(batch.slice(0, half));
        await this.settle(batch.slice(half));
      } else {
        batch.forEach((each) => {
          each.reject(error);
        });
      }
    }
  }

  private async ask(batch: Waiting<Q, R>[]): Promise<readonly R[]> {
    const { key } = this;
    if (!key) return this.attempt(batch.map((each) => each.request));
    const places = new Map<string, number>();
    const distinct: Q[] = [];
    const placeOf = batch.map(({ request }) => {
      const name = key(request);
      const known = places.get(name);
      if (known !== undefined) return known;
      places.set(name, distinct.length);
      return distinct.push(request) - 1;
    });
    const answers = await this.attempt(distinct);
    return placeOf.map((place) => answers[place] as R);
  }

  /**
   * Retries a read-only statement once after a lost connection. `run` itself retries deadlocks and serialization
   * failures.
   */
  private async attempt(requests: readonly Q[]): Promise<readonly R[]> {
    const answers = await this.run(requests).catch((error: unknown) => {
      if (this.readOnly && isDatabaseUnavailable(error)) return this.run(requests);
      throw error;
    });
    if (answers.length !== requests.length)
      throw new Error('A coalesced statement returned the wrong number of answers');
    return answers;
  }
}

/** Orders rows by `place`, their position in the batch, starting at 1. Returns null for a position without a row. */
export function inPlace<Row extends { place: number }>(rows: readonly Row[], count: number): (Row | null)[] {
  const placed = Array<Row | null>(count).fill(null);
  for (const row of rows) placed[row.place - 1] = row;
  return placed;
}
