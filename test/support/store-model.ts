import type { Judged } from '../../src/quota/judged-limits.js';
import type { NewEntry, OnConflict } from '../../src/store/store-body.js';
import type { DeleteRequest, Deletion, Verdict, WriteRequest } from '../../src/store/store.repository.js';
import type { Random } from './random.js';

/** The counted amounts of a store. */
export interface Amounts {
  entries: number;
  bytes: number;
}

/** Limits: null is unlimited, undefined is not set. */
export type Limits = Partial<Record<keyof Amounts, number | null | undefined>>;

type Held = Pick<Judged, 'scope' | 'limit' | 'used'>;

/** The verdict of the model on a write. */
export interface ModelVerdict {
  verdicts: Verdict[];
  versions: (number | null)[];
  /** The first denial by a quota: the cost and the judged limits. */
  denial: { cost: Amounts; limits: Record<keyof Amounts, Held[]> } | null;
}

interface Stored {
  value: string;
  version: number;
  size: number;
}

class ModelStore {
  readonly entries = new Map<string, Stored>();
  /** The highest version before the current batch of requests. */
  revision = 0;
  own: Limits = {};
  plan: Limits = {};

  get used(): Amounts {
    let bytes = 0;
    for (const { size } of this.entries.values()) bytes += size;
    return { entries: this.entries.size, bytes };
  }

  holds(key: string, ifVersion: number | null): boolean {
    const version = this.entries.get(key)?.version ?? 0;
    return ifVersion === null || ifVersion === version || (ifVersion === -1 && version > 0);
  }
}

const GAUGES = ['entries', 'bytes'] as const;

/**
 * A reference model of the store: sequential requests, as simple as possible. Expired entries are removed at once, so
 * the model does not depend on the sweeper.
 */
export class StoreModel {
  platform: Limits = {};
  private readonly stores = new Map<string, ModelStore>();

  of(ownerId: string): ModelStore {
    let store = this.stores.get(ownerId);
    if (!store) this.stores.set(ownerId, (store = new ModelStore()));
    return store;
  }

  /** The amounts of all stores together. */
  get used(): Amounts {
    const all = [...this.stores.values()].map((store) => store.used);
    return {
      entries: all.reduce((sum, { entries }) => sum + entries, 0),
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  /** @param given the versions that the store assigned. The rules require only that they rise */
  write({ ownerId, onConflict, atomic, entries }: WriteRequest, given: readonly (number | null)[]): ModelVerdict {
    const store = this.of(ownerId);
    let verdicts = entries.map((entry) => choose(store, entry, onConflict));
    let denial: ModelVerdict['denial'] = null;
    if ((atomic || onConflict === 'fail') && verdicts.includes('m')) {
      verdicts = verdicts.map((verdict) => (verdict === 'm' ? 'm' : 'a'));
    } else {
      const places = verdicts.flatMap((verdict, i) => (verdict === 'n' || verdict === 'w' ? [i] : []));
      for (const group of atomic ? [places] : places.map((place) => [place])) {
        const refusal = this.writeTogether(
          ownerId,
          group.map((i) => entries[i]!),
        );
        if (!refusal) continue;
        denial ??= refusal;
        for (const i of group) verdicts[i] = 'q';
        if (atomic) verdicts = verdicts.map((verdict) => (verdict === 's' ? 'a' : verdict));
      }
      let last = store.revision;
      for (const i of places) {
        const entry = store.entries.get(entries[i]!.key);
        if (verdicts[i] === 'q' || !entry) continue;
        last = Math.max(last + 1, given[i] ?? 0);
        entry.version = last;
      }
    }
    return { verdicts, versions: entries.map(({ key }) => store.entries.get(key)?.version ?? null), denial };
  }

  /** Ends a batch of requests: later versions must be higher. @param versions assigned to the entries of an owner */
  settle(ownerId: string, versions: readonly (number | null)[]): void {
    const store = this.of(ownerId);
    store.revision = Math.max(store.revision, ...versions.map((version) => version ?? 0));
  }

  /** Concurrent deletions: all version conditions are checked before any deletion. */
  delete(requests: readonly DeleteRequest[]): Deletion[][] {
    const isMismatch = ({ ownerId, ifVersion }: DeleteRequest, key: string): boolean =>
      this.of(ownerId).entries.has(key) && !this.of(ownerId).holds(key, ifVersion);
    const mismatches = requests.map((request) => request.keys.map((key) => isMismatch(request, key)));
    return requests.map(({ ownerId, keys }, i) =>
      keys.map((key, j) => {
        if (mismatches[i]![j]!) return 'm';
        return this.of(ownerId).entries.delete(key) ? 'd' : 'n';
      }),
    );
  }

  /** Writes all entries or none. @returns the denial, or null */
  private writeTogether(ownerId: string, entries: readonly NewEntry[]): ModelVerdict['denial'] {
    const store = this.of(ownerId);
    const cost = { entries: 0, bytes: 0 };
    for (const { key, value } of entries) {
      const old = store.entries.get(key);
      cost.entries += old ? 0 : 1;
      cost.bytes += Buffer.byteLength(key) + value.length - (old?.size ?? 0);
    }
    const limits = { entries: this.limitsOn(store, 'entries'), bytes: this.limitsOn(store, 'bytes') };
    const fits = GAUGES.every(
      (gauge) => cost[gauge] <= 0 || limits[gauge].every(({ limit, used }) => used + cost[gauge] <= limit),
    );
    if (!fits) return { cost, limits };
    for (const { key, value } of entries) {
      const size = Buffer.byteLength(key) + value.length;
      store.entries.set(key, { value: value.toString(), version: 0, size });
    }
    return null;
  }

  /** A limit of the user overrides that of the plan; a platform limit applies in addition. */
  private limitsOn(store: ModelStore, gauge: keyof Amounts): Held[] {
    const own = store.own[gauge];
    const limit = own === undefined ? store.plan[gauge] : own;
    const all = this.platform[gauge];
    const held: Held[] = [];
    if (typeof limit === 'number') {
      held.push({ scope: own === undefined ? 'plan' : 'user', limit, used: store.used[gauge] });
    }
    if (typeof all === 'number') held.push({ scope: 'platform', limit: all, used: this.used[gauge] });
    return held;
  }
}

function choose(store: ModelStore, { key, ifVersion }: NewEntry, onConflict: OnConflict): Verdict {
  const isThere = store.entries.has(key);
  if (ifVersion !== null && !store.holds(key, ifVersion)) return 'm';
  if (!isThere) return 'n';
  if (ifVersion !== null || onConflict === 'replace') return 'w';
  return onConflict === 'skip' ? 's' : 'm';
}

/** Few keys, so that operations collide; they cover all UTF-8 lengths. */
const KEYS = ['a', 'b', 'c/1', 'c/2', 'ä', 'ключ', '😀', 'k'.repeat(40)];

const CHARACTERS = ['a', 'b', ' ', 'é', '語', '😀', '\n', '"'];

/** Generates random operations that depend on the state of the model. */
export class StoreCases {
  constructor(
    private readonly random: Random,
    private readonly model: StoreModel,
    readonly owners: readonly string[],
  ) {}

  get keys(): readonly string[] {
    return KEYS;
  }

  /** Returns 1 to `most` keys in random order. */
  someKeys(most: number): string[] {
    const { random } = this;
    const left = [...KEYS];
    return Array.from(
      { length: 1 + random.below(Math.min(most, KEYS.length)) },
      () => left.splice(random.below(left.length), 1)[0]!,
    );
  }

  write(): WriteRequest {
    const { random } = this;
    const ownerId = random.pick(this.owners);
    return {
      ownerId,
      onConflict: random.pick(['skip', 'replace', 'fail'] as const),
      atomic: random.chance(35),
      entries: this.someKeys(random.pick([1, 3, 8])).map((key) => this.entry(ownerId, key)),
    };
  }

  entry(ownerId: string, key: string): NewEntry {
    const { random } = this;
    return {
      ...{ key, value: Buffer.from(this.value()) },
      ttlSeconds: random.chance(30) ? 3_600 + random.below(3_600) : null,
      ifVersion: random.chance(25) ? this.version(ownerId, key) : null,
    };
  }

  /** Returns a version condition, usually the current version. */
  version(ownerId: string, key: string): number {
    const known = this.model.of(ownerId).entries.get(key)?.version ?? 0;
    return this.random.chance(70) ? known : this.random.below(this.model.of(ownerId).revision + 2);
  }

  delete(): DeleteRequest {
    const { random } = this;
    const ownerId = random.pick(this.owners);
    const keys = this.someKeys(random.chance(50) ? 1 : 5);
    const ifVersion = keys.length > 1 || random.chance(50) ? null : this.condition(ownerId, keys[0]!);
    return { ownerId, keys, ifVersion };
  }

  /** Returns a condition for `If-Match` or `If-None-Match`. */
  condition(ownerId: string, key: string): number {
    return this.random.chance(30) ? -1 : this.version(ownerId, key);
  }

  /** Returns a limit close to the usage. */
  limit(gauge: keyof Amounts, used: number): number | null {
    const { random } = this;
    if (random.chance(15)) return null;
    return Math.max(0, gauge === 'entries' ? used - 1 + random.below(5) : used - 20 + random.below(120));
  }

  private value(): string {
    const { random } = this;
    if (random.chance(20)) return random.pick(['null', '0', '-1.50', '1e400', '12345678901234567890', '[]', '{"a":1}']);
    const text = Array.from({ length: random.below(random.chance(50) ? 4 : 40) }, () => random.pick(CHARACTERS));
    return JSON.stringify(text.join(''));
  }
}
