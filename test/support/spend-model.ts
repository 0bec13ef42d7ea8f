import { ALL_CALLS, WINDOWS, callsOf, type Window } from '../../src/quota/meters.js';
import type { Judged } from '../../src/quota/judged-limits.js';
import type { Call, Run, RunVerdict, Verdict } from '../../src/quota/calls/spender.js';

/**
 * A reference model of the rules of spending, as simple as possible: sequential calls, and counters that keep every
 * window. It has no coalescing, no locks and no optimizations. Tests compare the implementation with it.
 */

/** The amount of a limit: units, −1 for unlimited, null for no limit of its own. */
export type Amount = number | null;

/** `holder`: the slug of a plan, the id of an owner or key, or '' for the platform. */
export interface LimitFact {
  kind: 'limit';
  scope: Judged['scope'];
  holder: string;
  meter: string;
  window: Window;
  amount: Amount;
}

/** A change of state. A later fact about the same object replaces the earlier one. */
export type Fact =
  | { kind: 'clock'; moment: number }
  | { kind: 'plan'; slug: string }
  | { kind: 'owner'; id: string; isActive: boolean; plan: string | null }
  | { kind: 'key'; id: string; ownerId: string; scopes: string[]; isDisabled: boolean; expiresAt: number | null }
  | { kind: 'secret'; hash: string; keyId: string; retiresAt: number | null }
  | { kind: 'api'; slug: string; answer: string | null; upstream: string | null }
  | { kind: 'api-gone'; slug: string }
  | LimitFact;

type Of<Kind extends Fact['kind']> = Extract<Fact, { kind: Kind }>;

/** The verdict on one call, with the usage of each limit before it. */
export interface Judgement {
  verdict: Verdict;
  isGranted: boolean;
  ownerId: string | null;
  keyId: string | null;
  limits: Judged[];
}

/** The holder id of platform counters. */
export const ALL = 'all';

// Read once, because access to globals is slow in the Jest sandbox.
const { floor, max, min } = Math;

/** The largest exact integer, which bounds the usage of an API by a key. */
const MOST = Number.MAX_SAFE_INTEGER;

/** The length of the ISO 8601 prefix that identifies a window, for example 2026-11-30T23:59. */
const NAME_LENGTH: Record<Window, number> = { lifetime: 0, month: 7, day: 10, hour: 13, minute: 16 };

/** Returns a unique name of the window that contains a moment. */
export function windowName(window: Window, moment: number): string {
  return namesAt(moment)[WINDOWS.indexOf(window)] ?? '';
}

const names = new Map<number, string[]>();

/** Window names in the order of WINDOWS. Cached, because tests ask a million times for the same moments. */
function namesAt(moment: number): readonly string[] {
  let known = names.get(moment);
  if (!known) {
    if (names.size > 1_000) names.clear();
    const text = new Date(moment).toISOString();
    names.set(moment, (known = WINDOWS.map((window) => text.slice(0, NAME_LENGTH[window]))));
  }
  return known;
}

/** Counts in all windows. If the clock goes back, counts stay in the latest window seen. */
class Counter {
  private latest = -Infinity;
  private readonly units = new Map<string, number>();

  used(window: Window, moment: number): number {
    return this.units.get(windowName(window, max(this.latest, moment))) ?? 0;
  }

  /** @returns the time at which the units were counted */
  add(units: number, moment: number): number {
    this.latest = max(this.latest, moment);
    for (const name of namesAt(this.latest)) this.units.set(name, (this.units.get(name) ?? 0) + units);
    return this.latest;
  }

  /** Opens the windows of a moment: what is spent after the clock goes back counts in them. */
  open(moment: number): void {
    this.latest = max(this.latest, moment);
  }

  toJSON(): unknown {
    return [this.latest, ...this.units];
  }
}

/** A map with two keys. */
class Nested<T> {
  private readonly tables = new Map<string, Map<string, T>>();

  get(first: string, second: string): T | undefined {
    return this.tables.get(first)?.get(second);
  }

  set(first: string, second: string, value: T): T {
    let table = this.tables.get(first);
    if (!table) this.tables.set(first, (table = new Map<string, T>()));
    table.set(second, value);
    return value;
  }

  toJSON(): unknown {
    return [...this.tables].map(([first, table]) => [first, [...table].sort()]).sort();
  }
}

/** One hour of the ledger. */
export interface LedgerHour {
  granted: number;
  denied: number;
}

export class SpendModel {
  moment = 0;
  private readonly owners = new Map<string, Of<'owner'>>();
  private readonly keys = new Map<string, Of<'key'>>();
  private readonly secrets = new Map<string, Of<'secret'>>();
  private readonly apis = new Map<string, Of<'api'>>();
  /** By meter and holder; each array in the order of WINDOWS. */
  private readonly limits = {
    platform: new Nested<Amount[]>(),
    plan: new Nested<Amount[]>(),
    user: new Nested<Amount[]>(),
    key: new Nested<Amount[]>(),
  } satisfies Record<Judged['scope'], Nested<Amount[]>>;
  private readonly counters = new Nested<Counter>();
  /** By owner, key, meter and hour. */
  readonly ledger = new Map<string, LedgerHour>();

  state(fact: Fact): void {
    switch (fact.kind) {
      case 'clock':
        this.moment = fact.moment;
        break;
      case 'plan':
        break;
      case 'owner':
        this.owners.set(fact.id, fact);
        break;
      case 'key':
        this.keys.set(fact.id, fact);
        break;
      case 'secret':
        this.secrets.set(fact.hash, fact);
        break;
      case 'api':
        this.apis.set(fact.slug, fact);
        break;
      case 'api-gone':
        this.apis.delete(fact.slug);
        break;
      case 'limit':
        this.limit(fact);
    }
  }

  keyOf(hash: string): Of<'key'> | undefined {
    return this.keys.get(this.secrets.get(hash)?.keyId ?? '');
  }

  /** Returns the usage in the window that contains a moment. @param holder the id of a key or owner, or ALL */
  used(holder: string, meter: string, window: Window, moment = this.moment): number {
    return this.counters.get(meter, holder)?.used(window, moment) ?? 0;
  }

  /** Judges a call, and charges it unless it is a dry run. */
  judge(call: Call): Judgement {
    const { verdict, ownerId, keyId, limits, room } = this.look(call);
    const isGranted = room >= 1;
    if (verdict === 'ok' && ownerId !== null && keyId !== null && !call.dryRun) {
      this.charge(ownerId, keyId, call, isGranted);
    }
    return { verdict, isGranted, ownerId, keyId, limits };
  }

  /** Judges runs in the order of the database: by owner id, then in request order. */
  spend(runs: readonly Run[]): RunVerdict[] {
    const said = Array<RunVerdict>(runs.length);
    for (const { item: run, place } of this.inOrder(runs)) {
      const { verdict, ownerId, keyId, limits, room } = this.look(run);
      const api = this.apis.get(run.slug);
      const granted = min(run.count, room);
      said[place] = {
        ...{ verdict, ownerId, keyId, granted, limits: limits.map(write).join('') },
        ...{ answer: api?.answer ?? null, upstream: api?.upstream ?? null, moment: this.moment },
      };
      if (run.dryRun) continue;
      for (let i = 0; i < run.count; i++) {
        if (this.judge(run).isGranted !== i < granted) throw new Error('The model disagrees with itself');
      }
    }
    return said;
  }

  /** Returns calls in the order in which the database judges one statement. */
  inOrder<T extends Call>(calls: readonly T[]): { item: T; place: number }[] {
    const owner = (call: T): string => this.keyOf(call.hash)?.ownerId ?? 'of nobody';
    return calls
      .map((item, place) => ({ item, place, owner: owner(item) }))
      .sort((a, b) => (a.owner < b.owner ? -1 : a.owner > b.owner ? 1 : a.place - b.place));
  }

  /** Returns the limits that apply to a call with a key, with their usage. */
  limitsOn({ id: keyId, ownerId }: { id: string; ownerId: string }, slug: string): Judged[] {
    const plan = this.owners.get(ownerId)?.plan ?? '';
    const judged: Judged[] = [];
    for (const meter of [ALL_CALLS, callsOf(slug)]) {
      const ofUser = this.limits.user.get(meter, ownerId);
      const ofPlan = this.limits.plan.get(meter, plan);
      const ofKey = this.limits.key.get(meter, keyId);
      const ofPlatform = this.limits.platform.get(meter, '');
      WINDOWS.forEach((window, i) => {
        const bear = (scope: Judged['scope'], amount: Amount | undefined, holder: string): void => {
          if (amount === undefined || amount === null || amount < 0) return;
          judged.push({ scope, meter, window, limit: amount, used: this.used(holder, meter, window) });
        };
        // A limit of the user overrides that of the plan, for each window.
        const own = ofUser?.[i] ?? null;
        bear(own === null ? 'plan' : 'user', own ?? ofPlan?.[i], ownerId);
        bear('key', ofKey?.[i], keyId);
        bear('platform', ofPlatform?.[i], ALL);
      });
    }
    return judged;
  }

  /** Returns all counters and the ledger, to compare two models. */
  get contents(): string {
    return JSON.stringify([this.counters, [...this.ledger].sort()]);
  }

  private limit({ scope, holder, meter, window, amount }: LimitFact): void {
    const hadLimits = this.limits.platform.get(meter, holder)?.some((limit) => limit !== null) ?? false;
    // The first platform limit on a meter creates the row that counts, so its windows are those of that moment.
    if (scope === 'platform' && amount !== null && !hadLimits) this.counterOf(meter, ALL).open(this.moment);
    const said = this.limits[scope].get(meter, holder);
    const limits = WINDOWS.map((each, i) => (each === window ? amount : (said?.[i] ?? null)));
    this.limits[scope].set(meter, holder, limits);
  }

  private counterOf(meter: string, holder: string): Counter {
    return this.counters.get(meter, holder) ?? this.counters.set(meter, holder, new Counter());
  }

  private verdictOn({ hash, slug }: Call): Verdict {
    const secret = this.secrets.get(hash);
    const key = this.keyOf(hash);
    const isOver = (end: number | null): boolean => end !== null && end <= this.moment;
    if (!secret || !key || key.isDisabled || isOver(key.expiresAt) || isOver(secret.retiresAt))
      return 'invalid_api_key';
    if (this.owners.get(key.ownerId)?.isActive !== true) return 'account_disabled';
    if (!this.apis.has(slug)) return 'not_found';
    const covers = (scope: string): boolean =>
      scope.endsWith('*') ? slug.startsWith(scope.slice(0, -1)) : scope === slug;
    return key.scopes.some(covers) ? 'ok' : 'scope_denied';
  }

  /** Returns the verdict on a call, and how many such calls fit in sequence. */
  private look(call: Call): Omit<Judgement, 'isGranted'> & { room: number } {
    const verdict = this.verdictOn(call);
    const key = this.keyOf(call.hash);
    const known = { verdict, ownerId: key?.ownerId ?? null, keyId: key?.id ?? null };
    if (verdict !== 'ok' || !key) return { ...known, limits: [], room: 0 };
    const limits = this.limitsOn(key, call.slug);
    let room = MOST - this.used(key.id, callsOf(call.slug), 'lifetime');
    for (const { limit, used } of limits) room = min(room, limit - used);
    return { ...known, limits, room: max(0, floor(room / call.cost)) };
  }

  private charge(ownerId: string, keyId: string, { slug, cost }: Call, isGranted: boolean): void {
    const units = isGranted ? cost : 0;
    let countedAt = this.moment;
    for (const meter of [ALL_CALLS, callsOf(slug)]) {
      for (const holder of [ALL, ownerId, keyId]) {
        // The last counter is that of the key and API; the ledger uses its time.
        countedAt = this.counterOf(meter, holder).add(units, this.moment);
      }
    }
    const name = [ownerId, keyId, callsOf(slug), windowName('hour', countedAt)].join(' ');
    const { granted, denied } = this.ledger.get(name) ?? { granted: 0, denied: 0 };
    this.ledger.set(name, { granted: granted + units, denied: denied + (isGranted ? 0 : 1) });
  }
}

/** Formats a limit like the SQL function spend_calls. */
function write({ scope, window, meter, limit, used }: Judged): string {
  const letter = scope === 'platform' ? 'g' : scope.charAt(0);
  const ofWindow = window === 'month' ? 'M' : window.charAt(0);
  return `${letter}${ofWindow}${meter === ALL_CALLS ? '*' : 's'}${limit}:${used};`;
}
