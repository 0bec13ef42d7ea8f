import { isRetryable } from '../../common/database-error.js';
import { Random } from '../../../test/support/random.js';
import { SEED, seeds, sizesOf } from '../../../test/support/sizes.js';
import { SpendCases } from '../../../test/support/spend-cases.js';
import { SpendModel, windowName, type Fact, type Judgement } from '../../../test/support/spend-model.js';
import type { Transaction } from '../../database/database.js';
import type { Judged } from '../judged-limits.js';
import { ALL_CALLS, callsOf } from '../meters.js';
import type { KeyOwners } from './key-owners.js';
import { Spender, type Call, type Run, type RunVerdict, type Spend } from './spender.js';

/** Waits one turn of the event loop, after which added calls are sent and replies are delivered. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Replaces `expect`, which is too slow for a million checks. */
function check(holds: boolean, rule: string, ...values: unknown[]): void {
  if (!holds) throw new Error(`${rule} ${values.map((value) => JSON.stringify(value)).join(' ')}`);
}

/** Errors of pg after a lost connection. */
const CONNECTION_LOST = [
  Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
  Object.assign(new Error('terminating connection'), { code: '57P01' }),
  new Error('Connection terminated unexpectedly'),
];

const DEADLOCK = Object.assign(new Error('deadlock detected'), { code: '40P01' });

/** Slug of a call that the database rejects, together with its whole statement. */
const POISON = 'poison';

/** The error of such a statement: data exception, untranslatable character. */
const POISONED = Object.assign(new Error('untranslatable character'), { code: '22P05' });

/** A committed statement, and whether its reply arrived. */
interface Committed {
  number: number;
  /** Number of statements sent before it. */
  sentAfter: number;
  runs: Run[];
  said: RunVerdict[];
  moment: number;
  isAnswered: boolean;
}

interface Chances {
  /** In percent: deadlock; connection lost before the reply is sent, or while it is sent. */
  deadlock: number;
  lost: number;
}

/** Returns the owners of the keys of a model at once. */
const ownersOf = (model: SpendModel): Pick<KeyOwners, 'find'> => ({
  find: (hash) => model.keyOf(hash)?.ownerId ?? Promise.resolve(null),
});

/**
 * Simulates the database: the model behind connections with random delays and order. A statement commits as a whole or
 * not at all. Its connection can be lost before, during or after the commit; if lost during, it may still commit later.
 */
class FlakyDatabase {
  readonly model = new SpendModel();
  /** Committed statements and changed facts, in order. */
  readonly log: (Committed | Fact)[] = [];
  /** Events that can happen next. */
  private readonly pending: (() => void)[] = [];
  private statements = 0;
  private sends = 0;
  underWay = 0;
  /** Number of calls in sent statements. */
  sent = 0;

  constructor(
    private readonly random: Random,
    private readonly chances: Chances,
  ) {}

  get isIdle(): boolean {
    return this.pending.length === 0;
  }

  state(fact: Fact): void {
    this.model.state(fact);
    this.log.push(fact);
  }

  /** Runs one random pending event. */
  step(): void {
    this.pending.splice(this.random.below(this.pending.length), 1)[0]?.();
  }

  readonly owners: Pick<KeyOwners, 'find'> = ownersOf(this.model);

  readonly spend = async (runs: readonly Run[], tx?: Transaction): Promise<RunVerdict[]> => {
    const own = runs.map((run) => ({ ...run }));
    check(
      own.length > 0 && own.every(({ count }) => count >= 1),
      'a statement contains runs, and a run contains calls',
      own,
    );
    const sentAfter = this.sends++;
    if (tx) return this.attempt(own, sentAfter);
    this.underWay++;
    this.sent += own.reduce((sum, { count }) => sum + count, 0);
    try {
      return await this.retrying(own, sentAfter);
    } finally {
      this.underWay--;
    }
  };

  /** Retries like Database.query. */
  private async retrying(runs: Run[], sentAfter: number): Promise<RunVerdict[]> {
    for (let count = 1; ; count++) {
      try {
        return await this.attempt(runs, sentAfter);
      } catch (error) {
        if (count >= 5 || !isRetryable(error)) throw error;
      }
    }
  }

  private attempt(runs: Run[], sentAfter: number): Promise<RunVerdict[]> {
    return new Promise((resolve, reject) => {
      this.pending.push(() => {
        const fault = this.fault(runs);
        if (fault) {
          this.pending.push(() => {
            reject(fault.error);
          });
          if (fault.isCommitted) this.pending.push(() => this.commit(runs, sentAfter));
          return;
        }
        const committed = this.commit(runs, sentAfter);
        const lost = this.random.chance(this.chances.lost) ? this.random.pick(CONNECTION_LOST) : undefined;
        this.pending.push(() => {
          if (lost) {
            reject(lost);
            return;
          }
          committed.isAnswered = true;
          resolve(committed.said);
        });
      });
    });
  }

  /** Picks a fault before the commit. The statement may still commit, sooner or later. */
  private fault(runs: readonly Run[]): { error: Error; isCommitted?: boolean } | undefined {
    const { random, chances } = this;
    if (random.chance(chances.deadlock)) return { error: DEADLOCK };
    const isPoisoned = runs.some(({ slug }) => slug === POISON);
    if (random.chance(chances.lost)) {
      return { error: random.pick(CONNECTION_LOST), isCommitted: !isPoisoned && random.chance(50) };
    }
    return isPoisoned ? { error: POISONED } : undefined;
  }

  private commit(runs: Run[], sentAfter: number): Committed {
    const number = this.statements++;
    const said = this.model.spend(runs).map((each, i) => ({ ...each, answer: `${number} ${i}` }));
    const committed = { number, sentAfter, runs, said, moment: this.model.moment, isAnswered: false };
    this.log.push(committed);
    return committed;
  }
}

/** A call and its outcome. */
interface Asked {
  call: Call;
  number: number;
  /** Whether the backlog was full. */
  wasFull: boolean;
  /** Whether the call has its own statement. */
  isAlone: boolean;
  /** Number of statements sent before the one that answered it. */
  sentAfter?: number;
  outcome?: { spend: Spend } | { error: Error };
}

const spendOf = ({ outcome }: Asked): Spend | undefined => (outcome && 'spend' in outcome ? outcome.spend : undefined);

const errorOf = ({ outcome }: Asked): Error | undefined => (outcome && 'error' in outcome ? outcome.error : undefined);

const codeOf = (error: unknown): string | undefined => (error as { code?: string } | undefined)?.code;

/** Sums by name. */
class Sums extends Map<string, number> {
  add(name: string, units: number): void {
    this.set(name, this.of(name) + units);
  }

  of(name: string): number {
    return this.get(name) ?? 0;
  }
}

const describeCall = ({ hash, slug, cost, dryRun }: Call): string => [hash.slice(0, 4), slug, cost, dryRun].join(' ');

const describeLimits = (limits: readonly Judged[]): string =>
  limits
    .map(({ scope, meter, window, limit, used }) => `${scope} ${meter} a ${window}: ${used} of ${limit}`)
    .sort()
    .join(', ');

/** Drives a spender with a random platform, random calls, and a random schedule of faults and replies. */
class Simulation {
  private readonly random: Random;
  /** Only calls of one unit, constant limits, no faults. */
  private readonly isPlain: boolean;
  private readonly isSteady: boolean;
  private readonly hasFaults: boolean;
  private readonly hasPoison: boolean;
  private readonly inFlight: number;
  private readonly maxBatch: number;
  private readonly maxWaiting: number;
  private readonly cases: SpendCases;
  private readonly database: FlakyDatabase;
  private readonly spender: Spender;
  private readonly asked: Asked[] = [];
  /** Calls by the answer of their run, which is unique. */
  private readonly told = new Map<string, Asked[]>();
  private accepted = 0;
  private settled = 0;
  private hasClockGoneBack = false;

  constructor(seed: number) {
    const random = (this.random = new Random(seed));
    this.isPlain = random.chance(25);
    this.isSteady = this.isPlain || random.chance(35);
    this.hasFaults = !this.isPlain && random.chance(55);
    this.hasPoison = !this.isPlain && random.chance(20);
    this.inFlight = 1 + random.below(3);
    this.maxBatch = random.pick([1, 2, 4, 8, 16, 256]);
    this.maxWaiting = random.pick([1, 3, 10, 10_000, 10_000]);
    this.cases = new SpendCases(random, this.isPlain);
    const chances = this.hasFaults ? { deadlock: random.below(40), lost: random.below(30) } : { deadlock: 0, lost: 0 };
    this.database = new FlakyDatabase(random, chances);
    for (const fact of this.cases.facts) this.database.state(fact);
    const { inFlight, maxBatch, maxWaiting } = this;
    this.spender = new Spender(this.database.owners, this.database.spend, { inFlight, maxBatch, maxWaiting });
  }

  async run(): Promise<this> {
    await this.drive();
    this.checkErrors();
    this.checkVerdicts();
    this.checkLedger();
    if (this.isSteady) this.checkTotals();
    return this;
  }

  /** All outcomes, to compare two simulations of one seed. */
  get history(): string {
    return [...this.asked.map(describeOutcome), this.database.model.contents].join('\n');
  }

  private async drive(): Promise<void> {
    const { random, database, asked } = this;
    const calls = 8 + random.below(40);
    const burst = random.pick([2, 6, 20]);
    for (let idle = 0; this.settled < calls;) {
      for (let more = random.below(burst); more > 0 && asked.length < calls; more--) this.ask();
      if (!this.isSteady && random.chance(15)) database.state(this.cases.change());
      if (!this.isSteady && random.chance(15)) database.state(this.clock());
      for (let steps = random.below(5); steps > 0; steps--) database.step();
      await turn();
      check(database.underWay <= this.inFlight, 'at most inFlight statements run at once:', database.underWay);
      idle = asked.length === calls && database.isIdle ? idle + 1 : 0;
      if (idle > 9)
        throw new Error(`Every promise must settle, but some did not: ${asked.map(describeOutcome).join('\n')}`);
    }
    while (!database.isIdle) database.step();
    await turn();
    check(database.underWay === 0, 'no statement is left in flight');
  }

  private clock(): Fact {
    if (!this.random.chance(10)) return this.cases.later();
    this.hasClockGoneBack = true;
    return this.cases.earlier();
  }

  private ask(): void {
    const { random, database } = this;
    const call = { ...this.cases.call() };
    const isAlone = !this.hasPoison && random.chance(5);
    const isKnown = database.model.keyOf(call.hash) !== undefined;
    if (this.hasPoison && isKnown && random.chance(8)) call.slug = POISON;
    const wasFull = isKnown && !isAlone && this.accepted - database.sent >= this.maxWaiting;
    const asked: Asked = { call, number: this.asked.length, wasFull, isAlone };
    this.asked.push(asked);
    if (isKnown && !isAlone && !wasFull) this.accepted++;
    const spent = isAlone ? this.spender.spendIn({} as Transaction, call) : this.spender.spend(call);
    void spent
      .then(
        (spend) => (asked.outcome = { spend }),
        (error: unknown) => (asked.outcome = { error: error as Error }),
      )
      .finally(() => this.settled++);
  }

  /** Checks that a call gets only its own error. */
  private checkErrors(): void {
    for (const asked of this.asked) {
      const error = errorOf(asked);
      const [code, isPoison] = [codeOf(error), asked.call.slug === POISON];
      // A statement with a poisoned call is split and sent again, so the backlog cannot be computed from outside.
      if (!this.hasPoison) check((code === 'overloaded') === asked.wasFull, 'overloaded if the backlog is full', asked);
      if (!error) check(!isPoison, 'a poisoned call gets no answer', asked);
      else if (error === POISONED) check(isPoison, 'no call fails because of another', asked);
      else if (code !== 'overloaded') check(this.hasFaults, 'no call fails without a fault', asked, String(error));
    }
  }

  /** Replays all committed calls one by one: every verdict must be the same. */
  private checkVerdicts(): void {
    const reference = new SpendModel();
    const lost = new Sums();
    for (const asked of this.asked) {
      const answer = spendOf(asked)?.said.answer ?? '';
      this.told.set(answer, [...(this.told.get(answer) ?? []), asked]);
    }
    for (const each of this.database.log) {
      if ('kind' in each) reference.state(each);
      else if (each.isAnswered) this.checkStatement(each, reference);
      else {
        reference.spend(each.runs);
        for (const run of each.runs) lost.add(describeCall(run), run.count);
      }
    }
    check(reference.contents === this.database.model.contents, 'runs charge the same as their calls one by one');
    if (!this.hasPoison || this.inFlight === 1) this.checkOrder();
    const unknown = new Sums();
    for (const asked of this.asked) if (this.isUnknown(asked)) unknown.add(describeCall(asked.call), 1);
    for (const [call, count] of lost) check(count <= unknown.of(call), 'only requested calls are sent:', call);
  }

  private checkStatement({ runs, said, moment, sentAfter }: Committed, reference: SpendModel): void {
    const told = runs.flatMap((run, i) => {
      const calls = this.told.get(said[i]?.answer ?? '') ?? [];
      check(calls.length === run.count, 'the count of a run is its number of calls', run, calls.length);
      const name = describeCall(run);
      for (const { call } of calls) check(describeCall(call) === name, 'a run contains equal calls', run, call);
      return calls;
    });
    told.sort((a, b) => a.number - b.number);
    for (const { place } of reference.inOrder(told.map(({ call }) => call))) {
      const asked = told[place];
      const spend = asked && spendOf(asked);
      if (!asked || !spend) continue;
      asked.sentAfter = sentAfter;
      const expected = reference.judge(asked.call);
      const after = describeExpected(asked.call, expected, moment);
      check(
        describeSpend(spend) === after,
        'calls are judged in order of arrival:',
        describeSpend(spend),
        after,
        asked.number,
      );
      if (!this.hasClockGoneBack) checkRetryAfter(spend, asked.call, expected, moment);
    }
  }

  /** Checks that calls are sent in order of arrival. (Calls next to a poisoned one are sent again later.) */
  private checkOrder(): void {
    let latest = 0;
    for (const { sentAfter, isAlone, number } of this.asked) {
      if (sentAfter === undefined || isAlone) continue;
      check(sentAfter >= latest, 'calls are sent in order of arrival:', number, sentAfter, latest);
      latest = sentAfter;
    }
  }

  /** Checks that the ledger contains all acknowledged units, and beyond them only units with an unknown outcome. */
  private checkLedger(): void {
    const { model } = this.database;
    const [told, unknown, ledger] = [new Sums(), new Sums(), new Sums()];
    for (const asked of this.asked) {
      const { hash, slug, cost, dryRun } = asked.call;
      const name = `${model.keyOf(hash)?.id ?? ''} ${callsOf(slug)}`;
      if (!dryRun && spendOf(asked)?.isGranted) told.add(name, cost);
      if (!dryRun && this.isUnknown(asked)) unknown.add(name, cost);
    }
    for (const [name, { granted }] of model.ledger) ledger.add(name.split(' ').slice(1, 3).join(' '), granted);
    for (const name of new Set([...told.keys(), ...ledger.keys()])) {
      const beyond = ledger.of(name) - told.of(name);
      check(beyond >= 0, 'acknowledged units are in the ledger:', name, beyond);
      check(beyond <= unknown.of(name), 'other units have an unknown outcome:', name, beyond, unknown.of(name));
    }
  }

  private isUnknown(asked: Asked): boolean {
    const error = errorOf(asked);
    return error !== undefined && codeOf(error) !== 'overloaded' && asked.call.slug !== POISON;
  }

  /** For constant limits: no limit is exceeded, and a denied call would not fit even at the end. */
  private checkTotals(): void {
    const { model } = this.database;
    const granted = new Sums();
    const counted = (scope: string, meter: string, key: { id: string; ownerId: string }): string =>
      `${{ key: key.id, platform: 'all' }[scope] ?? key.ownerId} ${meter}`;
    for (const asked of this.asked) {
      const key = model.keyOf(asked.call.hash);
      if (!key || asked.call.dryRun || !spendOf(asked)?.isGranted) continue;
      for (const meter of [ALL_CALLS, callsOf(asked.call.slug)]) {
        for (const scope of ['key', 'user', 'platform']) granted.add(counted(scope, meter, key), asked.call.cost);
      }
    }
    for (const asked of this.asked) {
      const { call } = asked;
      const spend = spendOf(asked);
      const key = model.keyOf(call.hash);
      if (!spend || !key || spend.said.verdict !== 'ok') continue;
      const rooms = model.limitsOn(key, call.slug).map(({ scope, meter, limit }) => {
        const room = limit - granted.of(counted(scope, meter, key));
        check(room >= 0, 'no limit is exceeded:', scope, meter, limit, room);
        return room;
      });
      if (this.hasFaults || call.dryRun || spend.isGranted) continue;
      const least = Math.min(...rooms);
      check(least < call.cost, 'a denied call does not fit into the remaining units:', least, describeCall(call));
      if (this.isPlain) check(least === 0, 'exactly the limit is granted; remaining:', least);
    }
  }
}

function describeOutcome(asked: Asked): string {
  const spend = spendOf(asked);
  return `${describeCall(asked.call)} → ${spend ? describeSpend(spend) : String(errorOf(asked))}`;
}

function describeSpend({ code, isGranted, said, limits, violated }: Spend): string {
  return [
    ...[code, isGranted, said.ownerId, said.keyId, said.moment],
    ...[`limits: ${describeLimits(limits)}`, `violated: ${describeLimits(violated)}`],
  ].join('; ');
}

/** Describes the expected outcome of a call. */
function describeExpected(
  call: Call,
  { verdict, isGranted, ownerId, keyId, limits }: Judgement,
  moment: number,
): string {
  const units = isGranted && !call.dryRun ? call.cost : 0;
  const violated = isGranted ? [] : limits.filter(({ limit, used }) => used + call.cost > limit);
  if (verdict === 'ok' && !isGranted) check(violated.length > 0, 'a denial of the model has a violated limit', call);
  return [
    ...[verdict === 'ok' && !isGranted ? 'quota_exceeded' : verdict, isGranted, ownerId, keyId, moment],
    `limits: ${describeLimits(limits.map((each) => ({ ...each, used: each.used + units })))}`,
    `violated: ${describeLimits(violated)}`,
  ].join('; ');
}

/** Checks that `retryAfter` is the shortest wait after which all violated windows are over, or undefined if none is. */
function checkRetryAfter(
  { retryAfter }: Spend,
  { cost }: Call,
  { isGranted, limits }: Judgement,
  moment: number,
): void {
  const violated = isGranted ? [] : limits.filter(({ limit, used }) => used + cost > limit);
  const helps = violated.length > 0 && violated.every(({ window, limit }) => window !== 'lifetime' && limit >= cost);
  check((retryAfter !== undefined) === helps, 'retryAfter is set only if waiting helps:', retryAfter, violated);
  if (retryAfter === undefined) return;
  const areOver = (seconds: number): boolean =>
    violated.every(({ window }) => windowName(window, moment + seconds * 1_000) !== windowName(window, moment));
  check(areOver(retryAfter), 'the windows are over after the wait:', retryAfter, violated);
  check(!areOver(retryAfter - 1), 'the wait is not longer than needed:', retryAfter, violated);
}

/** A platform with one owner, two keys, and one lifetime limit on all calls. */
function ownerWith(limit: number, ...more: Fact[]): { spender: Spender; sent: Run[][]; keys: string[] } {
  const model = new SpendModel();
  const keys = ['aa', 'bb'];
  model.state({ kind: 'owner', id: 'owner', isActive: true, plan: null });
  model.state({ kind: 'api', slug: 'api1', answer: 'API1', upstream: null });
  for (const hash of keys) {
    model.state({ kind: 'key', id: hash, ownerId: 'owner', scopes: ['*'], isDisabled: false, expiresAt: null });
    model.state({ kind: 'secret', hash, keyId: hash, retiresAt: null });
  }
  model.state({ kind: 'limit', scope: 'user', holder: 'owner', meter: ALL_CALLS, window: 'lifetime', amount: limit });
  for (const fact of more) model.state(fact);
  const sent: Run[][] = [];
  const spender = new Spender(ownersOf(model), (runs) => {
    sent.push(runs.map((run) => ({ ...run })));
    return Promise.resolve(model.spend(runs));
  });
  return { spender, sent, keys };
}

describe('Spender', () => {
  const call = (hash = 'aa', cost = 1, dryRun = false): Call => ({ hash, slug: 'api1', cost, dryRun });

  const codesOf = (spends: readonly Spend[]): string => spends.map(({ isGranted }) => (isGranted ? 'y' : 'n')).join('');

  test('grants exactly the limit, in order of arrival, and reports the usage after each call', async () => {
    const { spender, sent } = ownerWith(10);
    const spends = await Promise.all(Array.from({ length: 30 }, () => spender.spend(call())));
    expect(codesOf(spends)).toBe('y'.repeat(10) + 'n'.repeat(20));
    expect(spends.map(({ limits }) => limits[0]?.used).slice(0, 12)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]);
    expect(sent).toEqual([[{ ...call(), ownerId: 'owner', count: 30 }]]);
  });

  test('denies a call that is too large and still grants smaller later calls', async () => {
    const { spender } = ownerWith(10);
    const costs = [4, 7, 5, 2, 1, 1];
    const spends = await Promise.all(costs.map((cost) => spender.spend(call('aa', cost))));
    expect(codesOf(spends)).toBe('ynynyn');
    expect(spends.map(({ violated }) => violated.map(({ used }) => used))).toEqual([[], [4], [], [9], [], [10]]);
  });

  test('judges a dry run by the usage before it and charges nothing', async () => {
    const { spender } = ownerWith(10);
    const calls = [call('aa', 6, true), call('aa', 6, true), call('aa', 6), call('aa', 6, true), call('aa', 4)];
    const spends = await Promise.all(calls.map((each) => spender.spend(each)));
    expect(codesOf(spends)).toBe('yyyny');
    expect(spends.map(({ limits }) => limits[0]?.used)).toEqual([0, 0, 6, 6, 10]);
  });

  test('does not send a call with an unknown key', async () => {
    const { spender, sent } = ownerWith(3);
    const spends = await Promise.all(['xx', 'aa'].map((hash) => spender.spend(call(hash))));
    expect(spends.map(({ code }) => code)).toEqual(['invalid_api_key', 'ok']);
    expect(sent).toEqual([[{ ...call('aa'), ownerId: 'owner', count: 1 }]]);
  });

  test('of several violated windows, the wait is that until the last has ended', async () => {
    const limits = (['minute', 'day', 'hour'] as const).map((window): Fact => ({
      kind: 'limit',
      scope: 'user',
      holder: 'owner',
      meter: ALL_CALLS,
      window,
      amount: 1,
    }));
    const { spender } = ownerWith(10, { kind: 'clock', moment: Date.UTC(2026, 10, 30, 12) }, ...limits);
    const spends = await Promise.all([spender.spend(call()), spender.spend(call())]);
    expect(spends.map(({ retryAfter }) => retryAfter)).toEqual([undefined, 12 * 3_600]);
  });

  test('does not move calls of an owner past those of its other keys', async () => {
    const { spender, sent } = ownerWith(3);
    const hashes = ['aa', 'aa', 'bb', 'aa'];
    const spends = await Promise.all(hashes.map((hash) => spender.spend(call(hash, hash === 'bb' ? 2 : 1))));
    expect(sent[0]?.map(({ hash, count }) => [hash, count])).toEqual([
      ['aa', 2],
      ['bb', 1],
      ['aa', 1],
    ]);
    expect(codesOf(spends)).toBe('yyny');
  });
});

const SEEDS = seeds(sizesOf('spender').SEEDS);

test(`random faults and schedules: the spender keeps the rules of spending (SEED=${SEED})`, async () => {
  const failures: string[] = [];
  for (let i = 0; i < SEEDS.length; i += 100) {
    const simulate = (seed: number): Promise<unknown> =>
      new Simulation(seed).run().catch((error: unknown) => failures.push(`SEED=${seed} ${String(error)}`));
    await Promise.all(SEEDS.slice(i, i + 100).map(simulate));
  }
  expect(failures.slice(0, 5)).toEqual([]);
});

test(`a simulation with the same seed has the same history (SEED=${SEED})`, async () => {
  for (const seed of SEEDS.slice(0, 50)) {
    const [first, beside] = await Promise.all([new Simulation(seed).run(), new Simulation(seed).run()]);
    expect(beside.history).toBe(first.history);
  }
});
