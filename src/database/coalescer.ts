import { isDatabaseUnavailable, sqlState } from '../common/database-error.js';
import { Distribution } from '../common/distribution.js';
import { Problem } from '../common/problem.js';

export interface CoalescerOptions<Q> {
  /** What it is called where it is watched; several of one process may share a name. Without one nobody watches it. */
  name?: string;
  /** Statements under way at once. Two keep the database busy while the process reads the answers of the other. */
  inFlight?: number;
  /** How much one statement carries at most: requests, or the sum of their sizes. One request always goes. */
  maxBatch?: number;
  /** How much may wait, likewise; what comes on top is refused with `overloaded`. */
  maxWaiting?: number;
  /** What a request counts for in both; 1 where it is missing. */
  sizeOf?: (request: Q) => number;
  /** For look-ups: requests of one batch with the same key are asked once and share the answer. */
  key?: (request: Q) => string;
  /** Whether asking again is harmless, so that a lost connection is tried once more. */
  readOnly?: boolean;
}

/**
 * Whether the database refused what a statement holds (classes 22, data exception, and 23, constraint violation): then
 * nothing of it has happened, and one of its requests is to blame. Anything else hits the halves just the same.
 */
function blamesData(error: unknown): boolean {
  return /^2[23][0-9A-Z]{3}$/.test(sqlState(error) ?? '');
}

interface Waiting<Q, R> {
  request: Q;
  /** When it came (performance.now). */
  since: number;
  size: number;
  resolve: (answer: R) => void;
  reject: (error: unknown) => void;
}

/** Requests of a batch: the steps of what is counted. */
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Seconds. */
const WAITS = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** How much there is to do for a coalescer, for whoever watches over the server. */
export class CoalescerLoad {
  readonly batches = new Distribution(BATCH_SIZES);
  /** How long the oldest request of each batch waited, in seconds. */
  readonly waits = new Distribution(WAITS);
  /** Requests that found too many waiting. */
  refused = 0;

  constructor(
    readonly name: string,
    readonly capacity: number,
    /** How much waits now, in the unit of `capacity`. */
    readonly waiting: () => number,
  ) {}
}

const watched = new Set<CoalescerLoad>();

/** The coalescers of this process that have a name. */
export function coalescerLoads(): readonly CoalescerLoad[] {
  return [...watched];
}

/**
 * Group commit for statements: while a few are in flight, what arrives waits and goes out together as the next. Alone,
 * a request costs its one statement and no wait; under load one statement, one round trip and one fsync serve many.
 *
 * Nothing is cached: a request is only ever answered by a statement that was sent after it arrived. Requests of one
 * batch come in order of arrival. `run` must do all it does for a batch in one transaction and answer in the
 * order of the batch; when the database blames its data, nothing of the batch has happened, and the halves are tried
 * apart, so that one poisoned request cannot fail its neighbours.
 */
export class Coalescer<Q, R> {
  private readonly waiting: Waiting<Q, R>[] = [];
  private readonly inFlight: number;
  private readonly maxBatch: number;
  private readonly maxWaiting: number;
  private readonly key: ((request: Q) => string) | undefined;
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
    this.readOnly = options.readOnly ?? false;
    this.sizeOf = options.sizeOf ?? (() => 1);
    this.load = new CoalescerLoad(options.name ?? '', this.maxWaiting, () => this.waitingSize);
    if (options.name !== undefined) watched.add(this.load);
  }

  /**
   * Resolves with the answer to this request.
   * @throws Problem overloaded when too many wait already; else what the database threw
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
      if (!this.scheduled && this.running < this.inFlight) {
        this.scheduled = true;
        // After the poll phase: what other sockets delivered in the same turn of the event loop joins the batch.
        setImmediate(() => {
          this.scheduled = false;
          this.dispatch();
        });
      }
    });
  }

  private dispatch(): void {
    while (this.running < this.inFlight && this.waiting.length > 0) {
      const batch = this.takeBatch();
      this.running++;
      void this.settle(batch).then(() => {
        this.running--;
        this.dispatch();
      });
    }
  }

  /** The oldest requests, as many as fit. */
  private takeBatch(): Waiting<Q, R>[] {
    let count = 0;
    let size = 0;
    for (const next of this.waiting) {
      if (count > 0 && size + next.size > this.maxBatch) break;
      size += next.size;
      count++;
    }
    this.waitingSize -= size;
    const [oldest] = this.waiting;
    this.load.batches.add(count);
    if (oldest) this.load.waits.add((performance.now() - oldest.since) / 1_000);
    return this.waiting.splice(0, count);
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

  /** `run` itself retries what the database asks to retry; a lost connection is tried once more where that is harmless. */
  private async attempt(requests: readonly Q[]): Promise<readonly R[]> {
    const answers = await this.run(requests).catch((error: unknown) => {
      if (this.readOnly && isDatabaseUnavailable(error)) return this.run(requests);
      throw error;
    });
    if (answers.length !== requests.length) throw new Error('A coalesced statement lost or invented answers');
    return answers;
  }
}

/** The answers to a batch from rows that tell their `place` in it, from 1 on; null where there is no row. */
export function inPlace<Row extends { place: number }>(rows: readonly Row[], count: number): (Row | null)[] {
  const placed = Array<Row | null>(count).fill(null);
  for (const row of rows) placed[row.place - 1] = row;
  return placed;
}
