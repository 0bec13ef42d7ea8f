import { ALL_CALLS, WINDOWS, callsOf, type Window } from '../../src/quota/meters.js';
import type { Judged } from '../../src/quota/judgement.js';
import type { Call, Run, RunVerdict, Verdict } from '../../src/quota/spender.js';

/**
 * The rules of spending, as simple as they can be said: one call after the other, each counter a table of what every
 * window ever held, nothing coalesced, nothing locked, nothing left out for speed. Tests hold the real thing to it.
 */

/** What a limit says: units, −1 unlimited, null nothing (then another may speak). */
export type Amount = number | null;

/** `holder`: a plan's slug, an owner's or a key's id; '' for the platform. */
export interface LimitFact {
  kind: 'limit';
  scope: Judged['scope'];
  holder: string;
  meter: string;
  window: Window;
  amount: Amount;
}

/** Something that holds from now on. Said again of the same thing, it replaces what was said before. */
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

/** The verdict on one call, with what was used of each limit before it. */
export interface Judgement {
  verdict: Verdict;
  isGranted: boolean;
  ownerId: string | null;
  keyId: string | null;
  limits: Judged[];
}

/** Stands for everyone: what the platform counts. */
export const ALL = 'all';

// Had once: in Jest's sandbox it takes long to come by a global.
const { floor, max, min } = Math;

/** What a double holds exactly: no key may use more of an API. */
const MOST = Number.MAX_SAFE_INTEGER;

/** How much of a moment in ISO 8601 names the window that holds it: 2026-11-30T23:59. */
const NAME_LENGTH: Record<Window, number> = { lifetime: 0, month: 7, day: 10, hour: 13, minute: 16 };

/** A name for the window that holds a moment: no two windows share one. */
export function windowName(window: Window, moment: number): string {
  return namesAt(moment)[WINDOWS.indexOf(window)] ?? '';
}

const names = new Map<number, string[]>();

/** In the order of WINDOWS. Remembered, since tests ask a million times for the same moments. */
function namesAt(moment: number): readonly string[] {
  let known = names.get(moment);
  if (!known) {
    if (names.size > 1_000) names.clear();
    const text = new Date(moment).toISOString();
    names.set(moment, (known = WINDOWS.map((window) => text.slice(0, NAME_LENGTH[window]))));
  }
  return known;
}

/** Counts in all windows. What was once counted in a later window is not undone by a clock that goes back. */
class Counter {
  private latest = -Infinity;
  private readonly units = new Map<string, number>();

  used(window: Window, moment: number): number {
    return this.units.get(windowName(window, max(this.latest, moment))) ?? 0;
  }

  /** @returns when it counted them */
  add(units: number, moment: number): number {
    this.latest = max(this.latest, moment);
    for (const name of namesAt(this.latest)) this.units.set(name, (this.units.get(name) ?? 0) + units);
    return this.latest;
  }

  toJSON(): unknown {
    return [this.latest, ...this.units];
  }
}

/** A table by two names. */
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

/** An hour of the ledger. */
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
  /** By meter and holder; in the order of WINDOWS. */
  private readonly limits = {
    platform: new Nested<Amount[]>(),
    plan: new Nested<Amount[]>(),
    user: new Nested<Amount[]>(),
    key: new Nested<Amount[]>(),
  } satisfies Record<Judged['scope'], Nested<Amount[]>>;
  /** By meter and holder. */
  private readonly counters = new Nested<Counter>();
  /** By owner, key, meter and the beginning of the hour's name. */
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

  /** What was used so far in the window that holds a moment. @param holder the id of a key or an owner, or ALL */
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

  /** Answers runs as the database does: owner by owner in the order of their ids, and of each in the order of its runs. */
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

  /** The order in which the database judges what one statement holds. */
  inOrder<T extends Call>(calls: readonly T[]): { item: T; place: number }[] {
    const owner = (call: T): string => this.keyOf(call.hash)?.ownerId ?? 'of nobody';
    return calls
      .map((item, place) => ({ item, place, owner: owner(item) }))
      .sort((a, b) => (a.owner < b.owner ? -1 : a.owner > b.owner ? 1 : a.place - b.place));
  }

  /** The limits that bear on a call with a key, and what is used of each. */
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
        // A user's own limit overrides its plan's, window by window.
        const own = ofUser?.[i] ?? null;
        bear(own === null ? 'plan' : 'user', own ?? ofPlan?.[i], ownerId);
        bear('key', ofKey?.[i], keyId);
        bear('platform', ofPlatform?.[i], ALL);
      });
    }
    return judged;
  }

  /** All that was counted and written down, to compare two models by. */
  get contents(): string {
    return JSON.stringify([this.counters, [...this.ledger].sort()]);
  }

  private limit({ scope, holder, meter, window, amount }: LimitFact): void {
    const said = this.limits[scope].get(meter, holder);
    const limits = WINDOWS.map((each, i) => (each === window ? amount : (said?.[i] ?? null)));
    this.limits[scope].set(meter, holder, limits);
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

  /** What is to be said of a call, and how many such calls there is room for, one after the other. */
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
        const counter = this.counters.get(meter, holder) ?? this.counters.set(meter, holder, new Counter());
        // The last is that of the key and the API, by whose clock the ledger is written.
        countedAt = counter.add(units, this.moment);
      }
    }
    const name = [ownerId, keyId, callsOf(slug), windowName('hour', countedAt)].join(' ');
    const { granted, denied } = this.ledger.get(name) ?? { granted: 0, denied: 0 };
    this.ledger.set(name, { granted: granted + units, denied: denied + (isGranted ? 0 : 1) });
  }
}

/** As spend_calls writes it. */
function write({ scope, window, meter, limit, used }: Judged): string {
  const letter = scope === 'platform' ? 'g' : scope.charAt(0);
  const ofWindow = window === 'month' ? 'M' : window.charAt(0);
  return `${letter}${ofWindow}${meter === ALL_CALLS ? '*' : 's'}${limit}:${used};`;
}
