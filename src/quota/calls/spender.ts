import { tally } from '../../common/tally.js';
import { Coalescer, type CoalescerOptions } from '../../database/coalescer.js';
import type { Transaction } from '../../database/database.js';
import { isViolated, parseLimits, toLimitResponse, type Judged } from '../judged-limits.js';
import { callsOf, windowEnd } from '../meters.js';
import type { LimitResponse } from '../quota.dto.js';
import type { KeyOwners } from './key-owners.js';
import { RateLimitFields, secondsUntil } from './rate-limit.js';

/** A request with an API key for units on the meters of one API. */
export interface Call {
  /** SHA-256 of the key, hexadecimal. */
  hash: string;
  slug: string;
  /** Units, 1 or more. */
  cost: number;
  /** Judges the call without charging it. */
  dryRun: boolean;
}

/** A sequence of equal calls. */
export interface Run extends Call {
  ownerId: string;
  count: number;
}

export type Verdict = 'ok' | 'invalid_api_key' | 'account_disabled' | 'not_found' | 'scope_denied';

/** The database's verdict on a run. */
export interface RunVerdict {
  /** Any verdict but `ok` costs nothing, regardless of the limits. */
  verdict: Verdict;
  ownerId: string | null;
  keyId: string | null;
  /** Number of granted calls, which are the first ones of the run. */
  granted: number;
  /** The limits that were judged and their usage before the run; see parseLimits. */
  limits: string;
  answer: string | null;
  upstream: string | null;
  /** Time of the verdict by the database's clock, in ms since 1970. */
  moment: number;
}

/** A run and its verdict, shared by the spends of its calls. */
class Judgement {
  private parsed: Judged[] | undefined;
  private fields: RateLimitFields | undefined;

  constructor(
    readonly call: Call,
    readonly said: RunVerdict,
  ) {}

  get limits(): readonly Judged[] {
    return (this.parsed ??= parseLimits(this.said.limits, callsOf(this.call.slug)));
  }

  get rateLimit(): RateLimitFields {
    return (this.fields ??= new RateLimitFields(this.limits, this.said.moment));
  }
}

const NO_HEADERS = {};

/** The outcome of one call: wholly granted or wholly denied, with every limit that was judged. */
export class Spend {
  readonly code: Verdict | 'quota_exceeded';
  /** Units spent by earlier calls of the same run. */
  private readonly before: number;

  /** @param place number of earlier calls in the run */
  constructor(
    private readonly judgement: Judgement,
    place: number,
  ) {
    const { call, said } = judgement;
    const isGranted = call.dryRun ? said.granted > 0 : place < said.granted;
    this.code = said.verdict === 'ok' && !isGranted ? 'quota_exceeded' : said.verdict;
    this.before = call.dryRun ? 0 : call.cost * Math.min(place, said.granted);
  }

  get isGranted(): boolean {
    return this.code === 'ok';
  }

  /** Whether the key may call the API, regardless of limits. */
  get isUsable(): boolean {
    return this.said.verdict === 'ok';
  }

  get said(): RunVerdict {
    return this.judgement.said;
  }

  /** The limits with their usage after this call. */
  get limits(): Judged[] {
    const { spent } = this;
    return this.judgement.limits.map((each) => ({ ...each, used: each.used + spent }));
  }

  /** The headers RateLimit-Policy and RateLimit. Empty if no limit applies to the call. */
  get rateLimitHeaders(): Record<string, string> {
    if (this.said.limits === '') return NO_HEADERS;
    const { rateLimit } = this.judgement;
    return { 'ratelimit-policy': rateLimit.policy, ratelimit: rateLimit.state(this.spent) };
  }

  /** The limits that denied the call. */
  get violated(): Judged[] {
    return this.isGranted ? [] : this.limits.filter((each) => isViolated(each, this.judgement.call.cost));
  }

  get violatedResponses(): LimitResponse[] {
    return this.violated.map((each) => toLimitResponse(each, this.said.moment));
  }

  get limitResponses(): LimitResponse[] {
    return this.limits.map((each) => toLimitResponse(each, this.said.moment));
  }

  /** Seconds after which the call may be granted. Undefined if waiting does not help. */
  get retryAfter(): number | undefined {
    const { violated } = this;
    if (violated.length === 0) return undefined;
    const ends = violated.map(({ window, limit }) =>
      limit < this.judgement.call.cost ? null : windowEnd(window, this.said.moment),
    );
    return ends.includes(null) ? undefined : secondsUntil(Math.max(...ends.map(Number)), this.said.moment);
  }

  /** Units that the run has spent up to and including this call. */
  private get spent(): number {
    const { call } = this.judgement;
    return this.before + (this.isGranted && !call.dryRun ? call.cost : 0);
  }
}

/** Judges and charges all runs in one transaction, owner by owner. Returns the verdicts in the order of the runs. */
export type SpendRuns = (runs: readonly Run[], tx?: Transaction) => Promise<readonly RunVerdict[]>;

/** A call with a key that exists. */
interface OwnedCall extends Call {
  ownerId: string;
}

/** The verdict on a call with a key that does not exist. */
const UNKNOWN_KEY: RunVerdict = {
  ...{ verdict: 'invalid_api_key', ownerId: null, keyId: null, granted: 0, limits: '' },
  ...{ answer: null, upstream: null, moment: 0 },
};

/**
 * Groups waiting calls into runs, has one statement judge them, and gives each call its own outcome.
 *
 * The calls of an owner are judged in order of arrival. Different owners share only platform limits, so equal calls of
 * an owner form one run even if calls of other owners arrived in between.
 */
export class Spender {
  private readonly calls: Coalescer<OwnedCall, Spend>;

  constructor(
    private readonly owners: Pick<KeyOwners, 'find'>,
    private readonly spendRuns: SpendRuns,
    options: CoalescerOptions<OwnedCall> = {},
  ) {
    this.calls = new Coalescer((calls) => this.spendAll(calls), options);
  }

  /** @throws Problem overloaded if the backlog is full; otherwise the database error, and the outcome is unknown */
  async spend(call: Call): Promise<Spend> {
    const found = this.owners.find(call.hash);
    // Without an await, a call is not overtaken by later ones.
    const ownerId = typeof found === 'string' ? found : await found;
    return ownerId === null ? unknownKey(call) : this.calls.add({ ...call, ownerId });
  }

  /** Spends in the caller's transaction, without coalescing. */
  async spendIn(tx: Transaction, call: Call): Promise<Spend> {
    const ownerId = await this.owners.find(call.hash, tx);
    if (ownerId === null) return unknownKey(call);
    const run = { ...call, ownerId, count: 1 };
    const [said] = await this.spendRuns([run], tx);
    this.count(run, required(said));
    return new Spend(new Judgement(call, required(said)), 0);
  }

  private async spendAll(calls: readonly OwnedCall[]): Promise<Spend[]> {
    const { runs, runOf } = makeRuns(calls);
    const said = await this.spendRuns(runs);
    const judgements = runs.map((run, i) => new Judgement(run, required(said[i])));
    runs.forEach((run, i) => {
      this.count(run, required(said[i]));
    });
    const places = runs.map(() => 0);
    return runOf.map((run) => {
      const place = places[run] ?? 0;
      places[run] = place + 1;
      return new Spend(required(judgements[run]), place);
    });
  }

  private count(run: Run, { verdict, granted }: RunVerdict): void {
    if (verdict === 'ok' && !run.dryRun) tally.count('calls', granted, run.count - granted);
  }
}

/** A call equal to the last one of its owner joins its run. */
function makeRuns(calls: readonly OwnedCall[]): { runs: Run[]; runOf: number[] } {
  const runs: Run[] = [];
  const lastOf = new Map<string, number>();
  const runOf = calls.map((call) => {
    const last = lastOf.get(call.ownerId) ?? -1;
    const run = runs[last];
    if (run && isSame(run, call)) {
      run.count++;
      return last;
    }
    const place = runs.push({ ...call, count: 1 }) - 1;
    lastOf.set(call.ownerId, place);
    return place;
  });
  return { runs, runOf };
}

function unknownKey(call: Call): Spend {
  return new Spend(new Judgement(call, UNKNOWN_KEY), 0);
}

function isSame(a: Call, b: Call): boolean {
  return a.hash === b.hash && a.slug === b.slug && a.cost === b.cost && a.dryRun === b.dryRun;
}

function required<T>(said: T | undefined): T {
  if (said === undefined) throw new Error('The database returned no verdict for a spend');
  return said;
}
