/**
 * The size of each test in `npm test` and in `npm run test:full`. CI also runs the latter, so it must finish within
 * some minutes. An environment variable of the same name overrides a size: `CASES=5000 npm test -- fuzz`.
 */
const SIZES = {
  /** One in SHARE spellings of each path is tried. */
  access: { SHARE: [11, 1] },
  /** One in SHARE of the bad bodies is sent to each operation. */
  badInput: { SHARE: [4, 1] },
  /** Units granted to clients by two servers, one of which is killed half-way. */
  conservation: { UNITS: [200, 800] },
  /** Kills of servers and of PostgreSQL. */
  crashes: { KILLS: [1, 3] },
  /** Random histories, steps of each, and concurrent changes. */
  creditSums: { SEEDS: [1, 3], STEPS: [40, 100], CHANGES: [120, 500] },
  /** Accounts deleted under load. */
  deletionRaces: { ROUNDS: [3, 10] },
  /** Requests for each operation. */
  fuzz: { CASES: [5, 30] },
  /** Random JSON texts. */
  jsonText: { SEEDS: [200, 5_000] },
  /** One in SHARE unknown fields is tried for each operation. */
  massAssignment: { SHARE: [32, 4] },
  /** Changes made on one server and checked on the others; revocations. */
  nodes: { ROUNDS: [2, 10], REVOCATIONS: [20, 100] },
  /** Races of two changes of which one may win; changes of the bound. */
  overprovisioning: { ROUNDS: [4, 15], BOUNDS: [2, 6] },
  /** Room for objects; first bounds under load. */
  platform: { ROOM: [60, 120], ROUNDS: [1, 3] },
  /** Workers that are killed between two scrapes. */
  prometheus: { KILLS: [1, 2] },
  /** Cases of each fast-check property. */
  property: { RUNS: [50, 1_000] },
  /** Creations and deletions, revocations, races of the last two administrators, and deletions of a user. */
  processes: { CHANGES: [150, 1_000], ROUNDS: [10, 100], CONTESTS: [4, 10], DELETIONS: [4, 12] },
  /** One in SHARE spellings, methods and headers is tried for each operation and caller. */
  routeAttacks: { SHARE: [32, 4] },
  /**
   * Concurrent sign-ins, connections that read no responses, pipelined requests, slow requests of each kind, workers,
   * and idle connections.
   */
  serverLimits: {
    ...{ SIGN_INS: [64, 500], GREEDY: [32, 60], PIPELINED: [5_000, 20_000] },
    ...{ SLOW: [5, 20], WORKERS: [1, 2], IDLE: [1_000, 5_000] },
  },
  /** Servers that are stopped: one worker, two workers, and two workers with a signal to the primary only. */
  shutdown: { SERVERS: [2, 3] },
  /** Sign-ins whose responses are compared. */
  signIn: { ROUNDS: [4, 30] },
  /** Random histories of spends in PostgreSQL. */
  spendRules: { SEEDS: [32, 40] },
  /** Simulated histories of the spender. */
  spender: { SEEDS: [200, 1_000] },
  /**
   * Random loads; spends for each of three servers with a cost of 1 to 7, and with a cost of 1; windows to fill; limits
   * in sequence.
   */
  spends: { SEEDS: [2, 4], COSTED: [150, 800], SPENDS: [350, 800], FULL: [2, 8], LIMITS: [8, 16] },
  /** Random histories, steps of each, and concurrent writes and deletions. */
  storeQuotas: { SEEDS: [1, 3], STEPS: [30, 60], SPENDS: [300, 1_000] },
  /** Batches over the same keys, increments of one entry by each writer, and kills. */
  storeRaces: { ROUNDS: [20, 60], INCREMENTS: [1, 3], KILLS: [1, 2] },
  /** Random histories of the store, and steps of each. */
  storeRules: { SEEDS: [3, 12], STEPS: [40, 80] },
} as const satisfies Record<string, Record<string, readonly [small: number, full: number]>>;

type Sizes = typeof SIZES;

const isFull = process.env.TEST_SIZE === 'full';

/** Returns the sizes of one test. */
export function sizesOf<T extends keyof Sizes>(test: T): { [name in keyof Sizes[T]]: number } {
  const sizes = Object.entries<readonly [small: number, full: number]>(SIZES[test]).map(([name, [small, full]]) => [
    name,
    Number(process.env[name] ?? (isFull ? full : small)),
  ]);
  return Object.fromEntries(sizes) as { [name in keyof Sizes[T]]: number };
}

/**
 * The first seed: fixed in `npm test`, random and printed in `npm run test:full`. `SEED=…` sets it. Tests that
 * draw from it have `(SEED=…)` in their names: CI runs them in large.
 */
export const SEED = Number(process.env.SEED ?? process.env.TEST_SEED ?? 1);

/** Returns `count` consecutive seeds, or only the one of `SEED=…`. */
export function seeds(count: number): number[] {
  return Array.from({ length: process.env.SEED === undefined ? count : 1 }, (_, i) => SEED + i);
}

/** Parameters for every property: `fc.assert(fc.property(…), PROPERTY)`. */
export const PROPERTY = { numRuns: sizesOf('property').RUNS, seed: SEED };
