import { ALL_CALLS, WINDOWS, callsOf } from '../../src/quota/meters.js';
import type { Call } from '../../src/quota/calls/spender.js';
import type { Random } from './random.js';
import type { Amount, Fact, LimitFact } from './spend-model.js';

/** The initial time of the test clock: shortly before the end of a minute, hour, day and month. */
const BEGINNING = Date.UTC(2026, 10, 30, 23, 59, 57);

const SECOND = 1_000;
const DAY = 86_400 * SECOND;

/** Generates a platform from a seed: owners with keys, limits of every kind, and calls that repeat. */
export class SpendCases {
  readonly slugs: string[];
  readonly plans: string[];
  readonly owners: string[] = [];
  readonly keys: { id: string; ownerId: string }[] = [];
  readonly hashes: string[] = [];
  /** The initial state of the platform. */
  readonly facts: Fact[] = [];
  private readonly kinds: Call[] = [];
  private readonly limits: LimitFact[] = [];
  private moment = BEGINNING;

  /** @param isPlain excludes disabled owners and keys, expiries, costs other than 1, and dry runs */
  constructor(
    private readonly random: Random,
    private readonly isPlain = false,
  ) {
    this.slugs = ['api1', 'api2', 'maps-eu'].slice(0, 1 + random.below(3));
    this.plans = ['free', 'pro'].slice(0, random.below(3));
    this.facts.push({ kind: 'clock', moment: this.moment });
    for (const slug of this.plans) this.facts.push({ kind: 'plan', slug });
    for (const slug of this.slugs) this.facts.push(this.api(slug));
    for (let owners = 1 + random.below(3); owners > 0; owners--) this.addOwner();
    for (let limits = random.below(9); limits > 0; limits--) this.facts.push(this.limit());
    this.hashes.push(random.hex(64));
    for (let kinds = 2 + random.below(5); kinds > 0; kinds--) this.kinds.push(this.kind());
  }

  /** Returns a call, usually of a kind that occurred before. */
  call(): Call {
    if (this.random.chance(4)) this.kinds[this.random.below(this.kinds.length)] = this.kind();
    return this.random.pick(this.kinds);
  }

  /** Returns a random change. */
  change(): Fact {
    const { random } = this;
    const what = random.below(100);
    if (what < 30) return this.limit();
    if (what < 60) return this.limitAgain();
    if (what < 70) return this.owner(random.pick(this.owners));
    if (what < 82) return this.key(random.pick(this.keys));
    if (what < 90) return this.secret(random.pick(this.keys).id, null);
    const slug = random.pick(this.slugs);
    return what < 94 ? { kind: 'api-gone', slug } : this.api(slug);
  }

  /** Moves the clock forward: a little, to the end of a window, or beyond it. */
  later(): Fact {
    const { random } = this;
    const step = random.pick([SECOND, 60 * SECOND, 3_600 * SECOND, DAY, 31 * DAY]);
    const end = (Math.floor(this.moment / step) + 1) * step;
    this.moment = random.pick([this.moment + 1 + random.below(SECOND), end - 1, end, end + random.below(step)]);
    return { kind: 'clock', moment: this.moment };
  }

  /** Moves the clock back, like a correction of the system clock. */
  earlier(): Fact {
    this.moment -= 1 + this.random.below(90 * SECOND);
    return { kind: 'clock', moment: this.moment };
  }

  private addOwner(): void {
    const id = this.random.uuid();
    this.owners.push(id);
    this.facts.push(this.owner(id));
    for (let keys = 1 + this.random.below(3); keys > 0; keys--) {
      const key = { id: this.random.uuid(), ownerId: id };
      this.keys.push(key);
      this.facts.push(this.key(key));
      for (let secrets = this.random.chance(20) ? 2 : 1; secrets > 0; secrets--) {
        this.facts.push(this.secret(key.id, secrets > 1 ? this.end() : null));
      }
    }
  }

  private owner(id: string): Fact {
    const plan = this.random.chance(70) ? (this.random.pick([null, ...this.plans]) ?? null) : null;
    return { kind: 'owner', id, isActive: this.isPlain || !this.random.chance(5), plan };
  }

  private key({ id, ownerId }: { id: string; ownerId: string }): Fact {
    const { random, isPlain } = this;
    const scopes = random.chance(isPlain ? 100 : 75)
      ? ['*']
      : random.pick([[], ['api1'], ['api*'], ['maps-*', 'api2'], ['x*'], ['api']]);
    const isDisabled = !isPlain && random.chance(5);
    return { kind: 'key', id, ownerId, scopes, isDisabled, expiresAt: random.chance(15) ? this.end() : null };
  }

  private secret(keyId: string, retiresAt: number | null): Fact {
    const hash = this.random.hex(64);
    this.hashes.push(hash);
    return { kind: 'secret', hash, keyId, retiresAt };
  }

  /** Returns an expiry: soon or just now. */
  private end(): number | null {
    if (this.isPlain) return null;
    return this.moment + this.random.pick([0, 0, 1, 2 * SECOND, 60 * SECOND, 3_600 * SECOND, 40 * DAY]);
  }

  private api(slug: string): Fact {
    return this.random.chance(80)
      ? { kind: 'api', slug, answer: slug.toUpperCase(), upstream: null }
      : { kind: 'api', slug, answer: null, upstream: `http://${slug}.test/` };
  }

  private limit(): LimitFact {
    const { random } = this;
    const scope = random.pick(['user', 'user', 'key', 'key', 'plan', 'platform'] as const);
    const holders = {
      ...{ user: this.owners, plan: this.plans, platform: [''] },
      key: this.keys.map(({ id }) => id),
    }[scope];
    if (holders.length === 0) return this.limit();
    // Often the meter and window of an earlier limit, so that limits of different scopes meet.
    const like = this.limits.length > 0 && random.chance(40) ? random.pick(this.limits) : undefined;
    const meter = like?.meter ?? random.pick([ALL_CALLS, ...this.slugs.map(callsOf)]);
    const window = like?.window ?? random.pick(WINDOWS);
    const holder = random.pick(holders);
    const limit: LimitFact = { kind: 'limit', scope, holder, meter, window, amount: this.amount() };
    this.limits.push(limit);
    return limit;
  }

  /** Changes or removes an existing limit. */
  private limitAgain(): LimitFact {
    const { random, limits } = this;
    if (limits.length === 0) return this.limit();
    return { ...random.pick(limits), amount: random.chance(40) ? null : this.amount() };
  }

  private amount(): Amount {
    const what = this.random.below(100);
    if (what < 70) return 1 + this.random.below(25);
    if (what < 76) return 0;
    if (what < 84) return -1;
    return what < 92 ? 1 + this.random.below(1_000) : null;
  }

  private kind(): Call {
    const { random, isPlain } = this;
    // Sometimes the same call with another key.
    if (this.kinds.length > 0 && random.chance(20)) {
      return { ...random.pick(this.kinds), hash: random.pick(this.hashes) };
    }
    return {
      hash: random.chance(70) ? (this.hashes[0] ?? '') : random.pick(this.hashes),
      slug: isPlain || !random.chance(3) ? random.pick(this.slugs) : 'unknown',
      cost: isPlain || random.chance(40) ? 1 : random.chance(95) ? 1 + random.below(7) : 1 + random.below(2_000),
      dryRun: !isPlain && random.chance(12),
    };
  }
}
