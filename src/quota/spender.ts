import { tally } from '../common/tally.js';
import { Coalescer, type CoalescerOptions } from '../database/coalescer.js';
import type { Transaction } from '../database/database.js';
import { isViolated, parseLimits, toLimitResponse, type Judged } from './judgement.js';
import { callsOf, windowEnd } from './meters.js';
import type { LimitResponse } from './quota.dto.js';
import { RateLimitFields, secondsUntil } from './rate-limit.js';

/** Units asked for on the meters of one API, with a key. */
export interface Call {
  /** SHA-256 of the key, hexadecimal. */
  hash: string;
  slug: string;
  /** Units, 1 or more. */
  cost: number;
  /** Judged, but charged nothing. */
  dryRun: boolean;
}

/** Equal calls one after the other. */
export interface Run extends Call {
  count: number;
}

export type Verdict = 'ok' | 'invalid_api_key' | 'account_disabled' | 'not_found' | 'scope_denied';

/** What the database said to a run. */
export interface RunVerdict {
  /** All but `ok` cost nothing, whatever the limits. */
  verdict: Verdict;
  ownerId: string | null;
  keyId: string | null;
  /** How many of the run were granted: its first ones. */
  granted: number;
  /** The limits that were judged and what was used before the run; see parseLimits. */
  limits: string;
  answer: string | null;
  upstream: string | null;
  /** When it was judged: ms since 1970, by the database's clock. */
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

/** The outcome of one call: granted whole or refused whole, with every limit that was judged. */
export class Spend {
  readonly code: Verdict | 'quota_exceeded';
  /** Units that calls of the same run had spent before this one was judged. */
  private readonly before: number;

  /** @param place how many of the run came before this call */
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

  /** Whether the key is good for the API, whatever its limits. */
  get isUsable(): boolean {
    return this.said.verdict === 'ok';
  }

  get said(): RunVerdict {
    return this.judgement.said;
  }

  /** The limits as this call left them. */
  get limits(): Judged[] {
    const { spent } = this;
    return this.judgement.limits.map((each) => ({ ...each, used: each.used + spent }));
  }

  /** RateLimit-Policy and RateLimit; none where no limit bears on the call. */
  get rateLimitHeaders(): Record<string, string> {
    if (this.said.limits === '') return NO_HEADERS;
    const { rateLimit } = this.judgement;
    return { 'ratelimit-policy': rateLimit.policy, ratelimit: rateLimit.state(this.spent) };
  }

  /** Those that refused it. */
  get violated(): Judged[] {
    return this.isGranted ? [] : this.limits.filter((each) => isViolated(each, this.judgement.call.cost));
  }

  get violatedResponses(): LimitResponse[] {
    return this.violated.map((each) => toLimitResponse(each, this.said.moment));
  }

  get limitResponses(): LimitResponse[] {
    return this.limits.map((each) => toLimitResponse(each, this.said.moment));
  }

  /** Seconds after which it may be granted; undefined where waiting does not help. */
  get retryAfter(): number | undefined {
    const { violated } = this;
    if (violated.length === 0) return undefined;
    const ends = violated.map(({ window, limit }) =>
      limit < this.judgement.call.cost ? null : windowEnd(window, this.said.moment),
    );
    return ends.includes(null) ? undefined : secondsUntil(Math.max(...ends.map(Number)), this.said.moment);
  }

  /** Units of the run that are spent once this call is judged. */
  private get spent(): number {
    const { call } = this.judgement;
    return this.before + (this.isGranted && !call.dryRun ? call.cost : 0);
  }
}

/** Whose keys are remembered; so many at most. */
const REMEMBERED = 50_000;

/**
 * Spends: makes runs of the calls that wait, has them judged in one statement, and hands each call its part.
 *
 * The calls of an owner are judged in the order in which they arrived. Those of different owners share no limit but the
 * platform's, so an owner's equal calls make one run even where others' came between them. Whose a key is, is learned
 * from the verdicts (it never changes): around a key that nobody knows yet nothing is moved.
 */
export class Spender {
  private readonly calls: Coalescer<Call, Spend>;
  private readonly owners = new Map<string, string>();

  /**
   * @param judge judges and charges runs, all in one transaction, and answers in their order
   * @param options what a coalescer is told, and who hears of the owners that were granted something
   */
  constructor(
    private readonly judge: (runs: readonly Run[], tx?: Transaction) => Promise<readonly RunVerdict[]>,
    private readonly options: CoalescerOptions<Call> & { onGranted?: (ownerId: string) => void } = {},
  ) {
    this.calls = new Coalescer((calls) => this.spendAll(calls), options);
  }

  /** @throws Problem overloaded when too many wait; else what the database threw: then the outcome is unknown */
  spend(call: Call): Promise<Spend> {
    return this.calls.add(call);
  }

  /** Spends in a transaction of the caller's, with nobody else's. */
  async spendIn(tx: Transaction, call: Call): Promise<Spend> {
    const run = { ...call, count: 1 };
    const [said] = await this.judge([run], tx);
    this.count(run, required(said));
    return new Spend(new Judgement(call, required(said)), 0);
  }

  private async spendAll(calls: readonly Call[]): Promise<Spend[]> {
    const { runs, runOf } = this.makeRuns(calls);
    const said = await this.judge(runs);
    const judgements = runs.map((run, i) => new Judgement(run, required(said[i])));
    for (const { call, said: verdict } of judgements) this.learn(call.hash, verdict.ownerId);
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

  private makeRuns(calls: readonly Call[]): { runs: Run[]; runOf: number[] } {
    const runs: Run[] = [];
    const lastOf = new Map<string, number>();
    // Before it nothing may be moved: an unknown key may be anybody's.
    let barrier = 0;
    const runOf = calls.map((call) => {
      const owner = this.owners.get(call.hash);
      const last = owner === undefined ? runs.length - 1 : (lastOf.get(owner) ?? -1);
      const run = runs[last];
      if (run && last >= barrier && isSame(run, call)) {
        run.count++;
        return last;
      }
      const place = runs.push({ ...call, count: 1 }) - 1;
      if (owner === undefined) barrier = place;
      else lastOf.set(owner, place);
      return place;
    });
    return { runs, runOf };
  }

  private count(run: Run, { verdict, granted, ownerId }: RunVerdict): void {
    if (verdict !== 'ok' || run.dryRun) return;
    tally.count('calls', granted, run.count - granted);
    if (granted > 0 && ownerId !== null) this.options.onGranted?.(ownerId);
  }

  private learn(hash: string, ownerId: string | null): void {
    if (ownerId === null || this.owners.has(hash)) return;
    if (this.owners.size >= REMEMBERED) this.owners.clear();
    this.owners.set(hash, ownerId);
  }
}

function isSame(a: Call, b: Call): boolean {
  return a.hash === b.hash && a.slug === b.slug && a.cost === b.cost && a.dryRun === b.dryRun;
}

function required<T>(said: T | undefined): T {
  if (said === undefined) throw new Error('A spend got no verdict');
  return said;
}
