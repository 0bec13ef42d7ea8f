/**
 * How much each test does: in `npm test`, and in `npm run test:full`, which CI also runs and which therefore stays below
 * some minutes. An environment variable of the same name sets another size: `CASES=5000 npm test -- fuzz`.
 */
const SIZES = {
  /** Spellings of paths: one in so many. */
  access: { SHARE: [7, 1] },
  /** Units that clients are granted by two servers, of which one is killed half-way. */
  conservation: { UNITS: [200, 800] },
  /** Kills of servers, and of PostgreSQL. */
  crashes: { KILLS: [1, 3] },
  /** Random histories, their steps, and changes at once. */
  creditSums: { SEEDS: [1, 3], STEPS: [40, 100], CHANGES: [120, 500] },
  /** Accounts that are deleted under load. */
  deletionRaces: { ROUNDS: [3, 10] },
  /** Requests an operation. */
  fuzz: { CASES: [8, 30] },
  /** JSON texts that are written at random. */
  jsonText: { SEEDS: [500, 5_000] },
  /** Unknown fields: one in so many for each operation. */
  massAssignment: { SHARE: [16, 4] },
  /** Times that one server is told something which the others must know. */
  nodes: { ROUNDS: [2, 10], REVOCATIONS: [20, 100] },
  /** Pairs of changes that only one may win, and bounds that move. */
  overprovisioning: { ROUNDS: [4, 15], BOUNDS: [2, 6] },
  /** Room for objects, and first bounds under load. */
  platform: { ROOM: [60, 120], ROUNDS: [1, 3] },
  /** Cases of a property that fast-check generates. */
  property: { RUNS: [100, 1_000] },
  /** Creations and deletions, rounds of a revocation, of two last administrators, and of a user that is deleted. */
  processes: { CHANGES: [300, 1_000], ROUNDS: [10, 100], CONTESTS: [4, 10], DELETIONS: [4, 12] },
  /** Spellings, methods and headers: one in so many for each operation and caller. */
  routeAttacks: { SHARE: [16, 4] },
  /**
   * Sign-ins at once, connections that ask for large answers and take none, requests in one piece, slow requests of each
   * kind and workers that get them, idle connections.
   */
  serverLimits: {
    ...{ SIGN_INS: [64, 500], GREEDY: [32, 60], PIPELINED: [5_000, 20_000] },
    ...{ SLOW: [5, 20], WORKERS: [1, 2], IDLE: [1_000, 5_000] },
  },
  /** Servers that are told to stop: with one worker, with two, and with two of which only the primary is told. */
  shutdown: { SERVERS: [2, 3] },
  /** Sign-ins that are compared. */
  signIn: { ROUNDS: [8, 30] },
  /** Random histories of spends against PostgreSQL. */
  spendRules: { SEEDS: [8, 40] },
  /** Simulated histories of the spender. */
  spender: { SEEDS: [100, 1_000] },
  /** Random loads, spends to each of three servers that cost 1 to 7 and 1, windows that are used up, limits one after the other. */
  spends: { SEEDS: [2, 4], COSTED: [150, 800], SPENDS: [350, 800], FULL: [3, 8], LIMITS: [8, 16] },
  /** Random histories, their steps, and writes and deletions at once. */
  storeQuotas: { SEEDS: [1, 3], STEPS: [30, 60], SPENDS: [300, 1_000] },
  /** Batches over the same keys, increments of one entry, and kills. */
  storeRaces: { ROUNDS: [20, 60], INCREMENTS: [1, 3], KILLS: [1, 2] },
  /** Random histories of the store, and their steps. */
  storeRules: { SEEDS: [3, 12], STEPS: [40, 80] },
} as const satisfies Record<string, Record<string, readonly [small: number, full: number]>>;

type Sizes = typeof SIZES;

const isFull = process.env.TEST_SIZE === 'full';

/** The sizes of one test. */
export function sizesOf<T extends keyof Sizes>(test: T): { [name in keyof Sizes[T]]: number } {
  const sizes = Object.entries<readonly [small: number, full: number]>(SIZES[test]).map(([name, [small, full]]) => [
    name,
    Number(process.env[name] ?? (isFull ? full : small)),
  ]);
  return Object.fromEntries(sizes) as { [name in keyof Sizes[T]]: number };
}

/** The first seed: always the same in `npm test`, drawn and printed in `npm run test:full`; `SEED=…` sets it. */
export const SEED = Number(process.env.SEED ?? process.env.TEST_SEED ?? 1);

/** As many seeds; only the one of `SEED=…` where that is set. */
export function seeds(count: number): number[] {
  return Array.from({ length: process.env.SEED === undefined ? count : 1 }, (_, i) => SEED + i);
}

/** The parameters of every property: `fc.assert(fc.property(…), PROPERTY)`. */
export const PROPERTY = { numRuns: sizesOf('property').RUNS, seed: SEED };
