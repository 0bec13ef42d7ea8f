import type { Judged } from '../../src/quota/judgement.js';
import type { NewEntry, OnConflict } from '../../src/store/store-body.js';
import type { DeleteRequest, Deletion, Verdict, WriteRequest } from '../../src/store/store.repository.js';
import type { Random } from './random.js';

/** What is counted of a store. */
export interface Amounts {
  entries: number;
  bytes: number;
}

/** What limits say: null is unlimited; undefined says nothing. */
export type Limits = Partial<Record<keyof Amounts, number | null | undefined>>;

type Held = Pick<Judged, 'scope' | 'limit' | 'used'>;

/** What the model says of a write. */
export interface ModelVerdict {
  verdicts: Verdict[];
  versions: (number | null)[];
  /** The first refusal by a quota: what was asked, and the limits that were judged. */
  denial: { cost: Amounts; limits: Record<keyof Amounts, Held[]> } | null;
}

interface Stored {
  value: string;
  version: number;
  size: number;
}

class ModelStore {
  readonly entries = new Map<string, Stored>();
  /** The highest version there was before what goes on now. */
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
 * The rules of the store, one request after the other, as plainly as they can be said. What has expired is not in it: it
 * is gone at once, swept or not.
 */
export class StoreModel {
  platform: Limits = {};
  private readonly stores = new Map<string, ModelStore>();

  of(ownerId: string): ModelStore {
    let store = this.stores.get(ownerId);
    if (!store) this.stores.set(ownerId, (store = new ModelStore()));
    return store;
  }

  /** Of all stores. */
  get used(): Amounts {
    const all = [...this.stores.values()].map((store) => store.used);
    return {
      entries: all.reduce((sum, { entries }) => sum + entries, 0),
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  /** @param given the versions that were given: which, is not for the rules to say, only that they rise */
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

  /** What comes now comes after all that was. @param versions that were given to the entries of an owner */
  settle(ownerId: string, versions: readonly (number | null)[]): void {
    const store = this.of(ownerId);
    store.revision = Math.max(store.revision, ...versions.map((version) => version ?? 0));
  }

  /** Deletions at once: of who wants another version nobody comes second. */
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

  /** Writes all or none. @returns why none */
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

  /** A user's own limit overrides its plan's; that of the platform bears besides. */
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

/** A few, so that they meet; of all lengths that UTF-8 has. */
const KEYS = ['a', 'b', 'c/1', 'c/2', 'ä', 'ключ', '😀', 'k'.repeat(40)];

const CHARACTERS = ['a', 'b', ' ', 'é', '語', '😀', '\n', '"'];

/** Operations by chance, on a model of the state they meet. */
export class StoreCases {
  constructor(
    private readonly random: Random,
    private readonly model: StoreModel,
    readonly owners: readonly string[],
  ) {}

  get keys(): readonly string[] {
    return KEYS;
  }

  /** Some of the keys, 1 to so many, in any order. */
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

  /** A version that is wanted: mostly the right one. */
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

  /** What `If-Match` or `If-None-Match` may ask. */
  condition(ownerId: string, key: string): number {
    return this.random.chance(30) ? -1 : this.version(ownerId, key);
  }

  /** A limit near what is used. */
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
