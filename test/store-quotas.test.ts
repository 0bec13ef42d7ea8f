import pg from 'pg';
import { SWEEP_LOCK } from '../src/store/store.repository.js';
import { expectProblem, type Answer, type Api } from './support/api.js';
import { Fleet, expectDone, tally } from './support/fleet.js';
import { load, write, type Reply, type Shot } from './support/load.js';
import { deleteUsers } from './support/platform.js';
import { Random } from './support/random.js';
import { isDistributed } from './support/citus.js';
import { as, expire, holdingsOf, watching, withoutSweeper, writeBatch, type Holdings } from './support/store.js';
import { StoreCases, StoreModel, type Amounts, type ModelVerdict } from './support/store-model.js';
import { until } from './support/until.js';
import { SEED, seeds, sizesOf } from './support/sizes.js';

/** Store quotas on PostgreSQL: random histories, their steps, and concurrent writes and deletions. */
const { SEEDS, STEPS, SPENDS } = sizesOf('storeQuotas');

const GAUGES = ['entries', 'bytes'] as const;

/** Sweeps some entries of an owner, like a server. */
const SWEEP = `SELECT sweep_entries($1, ARRAY(
  SELECT key FROM store_entries WHERE owner_id = $1 AND expires_at <= now() LIMIT $2
))`;

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(3);
});

afterAll(async () => {
  await fleet.stop();
});

/** Removes all users, so that platform limits of the next test start at zero. */
afterEach(async () => {
  await deleteUsers(fleet);
  for (const gauge of GAUGES) expectDone(await fleet.admin().delete(`/v1/platform/quotas/store.${gauge}`));
});

const json = (reply: Reply): any => JSON.parse(reply.text);

/** Returns the usage of the owner, as the API reports it. */
async function usedBy(owner: string, api = fleet.admin()): Promise<Amounts> {
  const { data } = expectDone(await api.get(`/v1/users/${owner}/quotas`)).body;
  return amountsIn(data);
}

async function usedByAll(): Promise<Partial<Amounts>> {
  return amountsIn(expectDone(await fleet.admin().get('/v1/platform/quotas')).body.data);
}

function amountsIn(data: { meter: string; used: number }[]): Amounts {
  const ofStore = data.filter(({ meter }) => meter.startsWith('store.'));
  return Object.fromEntries(
    ofStore.map(({ meter, used }) => [meter.replace('store.', ''), used]),
  ) as unknown as Amounts;
}

function put(owner: string, key: string, value: unknown, query = ''): Promise<Answer> {
  return fleet.admin().put(`/v1/store/${key}?owner=${owner}${query}`, value);
}

/** Keys and values of constant length: each entry has 20 bytes. */
const keyOf = (i: number): string => `key-${String(i).padStart(4, '0')}`;
const VALUE = '0123456789';
const SIZE = 20;

interface Limited {
  owners: string[];
  /** The limit that rejects. */
  violated: { scope: string; meter: string; limit: number };
}

/** Limits with room for 100 entries. */
const LIMITED: Record<string, () => Promise<Limited>> = {
  'entries, of a user': async () => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'store.entries', 100);
    return { owners: [owner], violated: { scope: 'user', meter: 'store.entries', limit: 100 } };
  },
  'bytes, of a user': async () => {
    const owner = await fleet.makeUser();
    const limit = 100 * SIZE + SIZE / 2;
    await fleet.setQuota(owner, 'store.bytes', limit);
    return { owners: [owner], violated: { scope: 'user', meter: 'store.bytes', limit } };
  },
  'entries, of a plan': async () => {
    const plan = await fleet.makePlan([{ meter: 'store.entries', limit: 100 }]);
    const owner = await fleet.makeUser({ plan });
    return { owners: [owner], violated: { scope: 'plan', meter: 'store.entries', limit: 100 } };
  },
  'entries, of the platform': async () => {
    const owners = await Promise.all(Array.from({ length: 4 }, () => fleet.makeUser()));
    expectDone(await fleet.admin().put('/v1/platform/quotas/store.entries', { limit: 100 }));
    return { owners, violated: { scope: 'platform', meter: 'store.entries', limit: 100 } };
  },
  'bytes, of the platform': async () => {
    const owners = await Promise.all(Array.from({ length: 4 }, () => fleet.makeUser()));
    const limit = 100 * SIZE + SIZE / 2;
    expectDone(await fleet.admin().put('/v1/platform/quotas/store.bytes', { limit }));
    return { owners, violated: { scope: 'platform', meter: 'store.bytes', limit } };
  },
};

describe('limits with room for 100 entries', () => {
  test.each(Object.keys(LIMITED))('%s: 20 concurrent batches of 10 write exactly 100', async (name) => {
    const { owners, violated } = await LIMITED[name]!();
    const [first] = owners as [string];
    const told: number[] = [];
    const strange: Reply[] = [];
    let next = 0;
    const shoot = (): Shot | undefined => {
      const place = next++;
      if (place >= 20) return undefined;
      const atomic = place % 2 === 0;
      const entries = Array.from({ length: 10 }, (_, i) => ({ key: keyOf(place * 10 + i), value: VALUE }));
      const onConflict = ['skip', 'replace', 'fail'][place % 3]!;
      const heard = (reply: Reply): void => {
        const { written, results } = json(reply);
        const codes = tally(results.map(({ code }: { code?: string }) => code ?? 'written'));
        told.push(written);
        const isRight = (codes.written ?? 0) === written && written + (codes.quota_exceeded ?? 0) === 10;
        const isWhole = !atomic || written === 0 || written === 10;
        if (!isRight || !isWhole || reply.status !== (written > 0 ? 200 : 403)) strange.push(reply);
      };
      return {
        text: writeBatch(fleet.admin(), { entries, atomic, onConflict, owner: owners[place % owners.length]! }),
        heard,
      };
    };
    const seen = await watching(fleet, owners, load(fleet.servers, 7, shoot));
    expect(strange).toEqual([]);
    expect(seen.filter(({ live, wrong }) => live > 100 || wrong.length > 0)).toEqual([]);
    expect(told).toHaveLength(20);
    expect(told.reduce((sum, written) => sum + written, 0)).toBe(100);
    expect(seen.at(-1)).toMatchObject({ live: 100, liveBytes: 100 * SIZE });

    // At the limit: a new entry is rejected, overwriting is allowed, and one deletion frees one entry.
    const refused = await put(first, 'new-0001', VALUE);
    expectProblem(refused, 403, 'quota_exceeded');
    const used = violated.meter === 'store.entries' ? 100 : 100 * SIZE;
    expect(refused.body.violated).toMatchObject([{ ...violated, used, remaining: violated.limit - used }]);
    const [{ key }] = await fleet.query('SELECT key FROM store_entries WHERE owner_id = $1 LIMIT 1', [first]);
    expect((await put(first, key, 'abcdefghij')).status).toBe(200);
    expect((await put(first, key, 'a')).status).toBe(200);
    expect((await put(first, key, VALUE)).status).toBe(200);
    expectDone(await fleet.admin(1).delete(`/v1/store/${key}?owner=${first}`));
    expect((await put(first, 'new-0001', VALUE)).status).toBe(201);
    expectProblem(await put(first, 'new-0002', VALUE), 403, 'quota_exceeded');
    expect(await holdingsOf(fleet, owners)).toMatchObject({ live: 100, wrong: [] });
  });

  test.each(['user', 'plan', 'platform'])('limit of a %s: exact to the byte and to the entry', async (scope) => {
    const plan = await fleet.makePlan([]);
    const owner = await fleet.makeUser({ plan });
    const set = async (meter: string, limit: number): Promise<void> => {
      if (scope === 'user') await fleet.setQuota(owner, meter, limit);
      else if (scope === 'plan')
        expectDone(await fleet.admin().patch(`/v1/plans/${plan}`, { limits: [{ meter, limit }] }));
      else expectDone(await fleet.admin().put(`/v1/platform/quotas/${meter}`, { limit }));
    };
    await set('store.bytes', 100);
    // The size includes the key and the quotes of the string.
    expectProblem(await put(owner, 'k', 'x'.repeat(98)), 403, 'quota_exceeded');
    expect((await put(owner, 'k', 'x'.repeat(97))).status).toBe(201);
    expectProblem(await put(owner, 'k', 'x'.repeat(98)), 403, 'quota_exceeded');
    expect((await put(owner, 'k', 'x'.repeat(95))).status).toBe(200);
    expectProblem(await put(owner, 'l', 10), 403, 'quota_exceeded');
    expect((await put(owner, 'l', 1)).status).toBe(201);
    await set('store.bytes', 1_000);
    await set('store.entries', 3);
    expect((await put(owner, 'm', 1)).status).toBe(201);
    expectProblem(await put(owner, 'n', 1), 403, 'quota_exceeded');
    expect(await usedBy(owner)).toEqual({ entries: 3, bytes: 102 });
  });

  test('expired entries take no room, swept or not; a lowered limit only rejects growth', async () => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'store.entries', 10);
    await fleet.setQuota(owner, 'store.bytes', 10 * SIZE);
    const entries = Array.from({ length: 10 }, (_, i) => ({ key: keyOf(i), value: VALUE }));
    const fill = (from: number, to: number, onConflict = 'skip'): Promise<Answer> =>
      fleet.admin(from).post('/v1/store/write', { entries: entries.slice(from, to), onConflict, owner });
    await withoutSweeper(fleet, async () => {
      expect((await fill(0, 10)).body.written).toBe(10);
      await expire(fleet, owner, [keyOf(1), keyOf(2), keyOf(3)]);
      expect(await usedBy(owner)).toEqual({ entries: 7, bytes: 7 * SIZE });
      // One overwrites an expired entry, two are new.
      expect((await put(owner, keyOf(1), VALUE)).status).toBe(201);
      expect((await put(owner, 'new-0001', VALUE)).status).toBe(201);
      expect((await put(owner, 'new-0002', VALUE)).status).toBe(201);
      expectProblem(await put(owner, 'new-0003', VALUE), 403, 'quota_exceeded');
      expectProblem(await put(owner, keyOf(2), VALUE), 403, 'quota_exceeded');
      expect(await usedBy(owner)).toEqual({ entries: 10, bytes: 10 * SIZE });
      const { owners, wrong } = await holdingsOf(fleet, [owner]);
      expect({ owners, wrong }).toEqual({
        owners: [expect.objectContaining({ rows: 12, live: 10, bytes: 12 * SIZE, liveBytes: 10 * SIZE })],
        wrong: [],
      });
    });
    await fleet.setQuota(owner, 'store.entries', 5);
    await fleet.setQuota(owner, 'store.bytes', 5 * SIZE);
    expectProblem(await put(owner, keyOf(1), `${VALUE}+`), 403, 'quota_exceeded');
    expect((await put(owner, keyOf(1), VALUE.slice(1))).status).toBe(200);
    expect((await fill(4, 10, 'replace')).body.written).toBe(6);
    expectProblem(
      await fleet.admin().post('/v1/store/write', { entries: [{ key: 'x', value: 1 }], owner }),
      403,
      'quota_exceeded',
    );
    expect(await usedBy(owner)).toEqual({ entries: 10, bytes: 10 * SIZE - 1 });
  });
});

test(`concurrent writes, deletions, expiries and changes of limits: no owner exceeds a limit, and counters match the rows (SEED=${SEED})`, async () => {
  const plan = await fleet.makePlan([
    { meter: 'store.entries', limit: 30 },
    { meter: 'store.bytes', limit: 500 },
  ]);
  const owners = await Promise.all(Array.from({ length: 3 }, () => fleet.makeUser({ plan })));
  const random = new Random(SEED);
  const outcomes: string[] = [];
  const HEARD = ['200', '201', '204', '403 quota_exceeded'];
  const someKeys = (): string[] => [
    ...new Set(Array.from({ length: 1 + random.below(10) }, () => `key ${random.below(40)}`)),
  ];
  const value = (): string => VALUE.slice(random.below(10));
  let left = SPENDS;
  let isOver = false;
  const shoot = (server: number): Shot | undefined => {
    // Continues until every expected outcome has occurred.
    if (left-- <= 0 && HEARD.every((each) => outcomes.some((outcome) => outcome.startsWith(each)))) return undefined;
    const owner = random.pick(owners);
    const admin = fleet.admin(server);
    const heard = (reply: Reply): void => {
      const { code, violated = [] } = reply.status >= 400 ? json(reply) : {};
      outcomes.push([reply.status, ...(code ? [code, violated[0]?.scope, violated[0]?.meter] : [])].join(' '));
    };
    const key = `/v1/store/key%20${random.below(40)}?owner=${owner}`;
    const kind = random.below(10);
    if (kind < 2)
      return { text: write('PUT', `${key}${random.chance(30) ? '&ttl=1' : ''}`, as(admin), [value()]), heard };
    if (kind < 3) return { text: write('DELETE', key, as(admin)), heard };
    if (kind < 4) return { text: write('POST', '/v1/store/delete', as(admin), { keys: someKeys(), owner }), heard };
    const entries = someKeys().map((each) => ({
      key: each,
      value: value(),
      ...(random.chance(20) ? { ttlSeconds: 1 } : {}),
    }));
    const onConflict = random.pick(['skip', 'replace', 'fail']);
    return { text: writeBatch(admin, { entries, onConflict, atomic: random.chance(40), owner }), heard };
  };
  const disturb = async (): Promise<void> => {
    for (let i = 0; !isOver; i++) {
      await expire(fleet, random.pick(owners), [`key ${random.below(40)}`, `key ${random.below(40)}`]);
      if (i % 3 === 0) await fleet.query(SWEEP, [random.pick(owners), 1 + random.below(5)]);
      const path = `/v1/platform/quotas/store.${i % 8 < 4 ? 'entries' : 'bytes'}`;
      if (i % 4 === 1) expectDone(await fleet.admin(i).put(path, { limit: i % 8 < 4 ? 60 : 1_000 }));
      if (i % 16 === 15) expectDone(await fleet.admin(i).delete(path));
      // Waits for writes, so that entries do not expire faster than they are written.
      const before = outcomes.length;
      await until(() => isOver || outcomes.length >= before + 4);
    }
  };
  const working = load(fleet.servers, 8, shoot).finally(() => (isOver = true));
  const seen = await watching(fleet, owners, Promise.all([working, disturb()]));
  const tooMuch = (holdings: Holdings): boolean =>
    holdings.owners.some(({ live, liveBytes }) => live > 30 || liveBytes > 500) || holdings.wrong.length > 0;
  expect(seen.filter(tooMuch)).toEqual([]);
  const codes = Object.keys(tally(outcomes));
  expect(
    codes.filter((code) => !/^(20[014]|404 not_found|412 version_mismatch|403 quota_exceeded)/.test(code)),
  ).toEqual([]);
  expect(codes).toEqual(expect.arrayContaining([expect.stringContaining('403 quota_exceeded'), '200', '201', '204']));
  const { live } = seen.at(-1)!;
  expect(live).toBeGreaterThan(0);
  // The platform counter is exact: a limit of 7 admits exactly 7 entries.
  await withoutSweeper(fleet, async () => {
    for (const owner of owners) await expire(fleet, owner);
    expectDone(await fleet.admin().delete('/v1/platform/quotas/store.bytes'));
    expectDone(await fleet.admin().put('/v1/platform/quotas/store.entries', { limit: 7 }));
    expect(await usedByAll()).toEqual({ entries: 0 });
    const entries = Array.from({ length: 10 }, (_, i) => ({ key: keyOf(i), value: 1 }));
    const { body } = await fleet.admin().post('/v1/store/write', { entries, owner: owners[0] });
    expect(body.written).toBe(7);
    expect(await usedByAll()).toEqual({ entries: 7 });
  });
}, 600_000);

describe('sweeper', () => {
  test('deletes expired entries and refunds their charges', async () => {
    const owner = await fleet.makeUser();
    for (const gauge of GAUGES)
      expectDone(await fleet.admin().put(`/v1/platform/quotas/store.${gauge}`, { limit: 1_000 }));
    const rows = async (): Promise<number> => (await holdingsOf(fleet, [owner])).owners[0]?.rows ?? 0;
    await withoutSweeper(fleet, async () => {
      expectDone(await put(owner, 'gone', VALUE, '&ttl=1'));
      expectDone(await put(owner, 'stays', VALUE));
      const { body } = await fleet
        .admin()
        .post('/v1/store/write', { entries: [{ key: 'also', value: 1, ttlSeconds: 1 }], owner });
      expect(body.written).toBe(1);
      await until(async () => (await usedBy(owner)).entries === 1);
      // Only one sweeper runs at a time: while this test holds the lock, no server deletes anything.
      expect(await rows()).toBe(3);
      expect(await usedByAll()).toEqual({ entries: 1, bytes: 17 });
    });
    await until(async () => (await rows()) === 1);
    expect(await usedBy(owner)).toEqual({ entries: 1, bytes: 17 });
    expect(await usedByAll()).toEqual({ entries: 1, bytes: 17 });
    expect((await holdingsOf(fleet, [owner])).wrong).toEqual([]);
  });

  test('keeps an entry that is overwritten while the sweeper waits for the store', async () => {
    const owner = await fleet.makeUser();
    const client = new pg.Client({ connectionString: fleet.url });
    await client.connect();
    try {
      expectDone(await put(owner, 'again', VALUE));
      expectDone(await put(owner, 'gone', VALUE));
      // A transaction locks the store like a writer. A sweeper has selected the expired entries and waits for the lock.
      await client.query('BEGIN');
      await client.query('SELECT FROM gauges WHERE owner_id = $1 ORDER BY meter FOR UPDATE', [owner]);
      await fleet.query('UPDATE store_entries SET expires_at = now() WHERE owner_id = $1', [owner]);
      const waiting = isDistributed()
        ? 'SELECT FROM citus_lock_waits'
        : `SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = 0 AND objid = ${SWEEP_LOCK} AND granted
        AND pid IN (SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock')`;
      await until(async () => (await fleet.query(waiting)).length === 1);
      await client.query(`UPDATE store_entries SET expires_at = NULL WHERE owner_id = $1 AND key = 'again'`, [owner]);
      await client.query('COMMIT');
      await until(async () => (await holdingsOf(fleet, [owner])).owners[0]?.rows === 1);
      expect(await usedBy(owner)).toEqual({ entries: 1, bytes: 'again'.length + 12 });
      expect((await fleet.admin().get(`/v1/store/again?owner=${owner}`)).body).toBe(VALUE);
      expect((await holdingsOf(fleet, [owner])).wrong).toEqual([]);
    } finally {
      await client.end();
    }
  });
});

test('DELETE /v1/users/{user}: deletes the entries and reduces the platform counters', async () => {
  const [gone, stays] = [await fleet.makeUser(), await fleet.makeUser()];
  for (const gauge of GAUGES) expectDone(await fleet.admin().put(`/v1/platform/quotas/store.${gauge}`, { limit: 60 }));
  await withoutSweeper(fleet, async () => {
    expectDone(await put(gone, keyOf(1), VALUE));
    expectDone(await put(gone, keyOf(2), VALUE));
    expectDone(await put(stays, keyOf(1), VALUE));
    await expire(fleet, gone, [keyOf(2)]);
    expectDone(await put(stays, keyOf(2), VALUE));
    expectProblem(await put(stays, keyOf(3), VALUE), 403, 'quota_exceeded');
    expectDone(await fleet.admin(1).delete(`/v1/users/${gone}`));
    expect(await usedByAll()).toEqual({ entries: 2, bytes: 2 * SIZE });
    expect((await put(stays, keyOf(3), VALUE)).status).toBe(201);
    expect(await holdingsOf(fleet, [gone, stays])).toMatchObject({ live: 3, wrong: [], owners: [{ rows: 3 }] });
  });
});

/** The stores of one seed, on the servers and in the model. */
class Twins {
  readonly model = new StoreModel();
  private readonly cases: StoreCases;
  private turn = 0;

  constructor(
    private readonly random: Random,
    private readonly owners: readonly string[],
    private readonly plans: readonly string[],
  ) {
    this.cases = new StoreCases(random, this.model, owners);
  }

  static async of(seed: number): Promise<Twins> {
    const plans = [await fleet.makePlan([]), await fleet.makePlan([])];
    const owners = await Promise.all(plans.map((plan) => fleet.makeUser({ plan })));
    return new Twins(new Random(seed), owners, plans);
  }

  /** Uses the next server for each request. */
  private get api(): Api {
    return fleet.admin(this.turn++);
  }

  /** Runs a random operation. @returns the response and the expected response */
  async step(): Promise<{ said: unknown; expected: unknown }> {
    const kind = this.random.below(100);
    if (kind < 40) return this.write();
    if (kind < 55) return this.put();
    if (kind < 65) return this.delete();
    if (kind < 72) return this.deleteAll();
    if (kind < 85) return this.expire();
    return this.limit();
  }

  private async write(): Promise<{ said: unknown; expected: unknown }> {
    const request = this.cases.write();
    const { ownerId: owner, onConflict, atomic, entries } = request;
    const texts = entries.map(({ key, value, ttlSeconds, ifVersion }) => {
      const more = { ...(ttlSeconds === null ? {} : { ttlSeconds }), ...(ifVersion === null ? {} : { ifVersion }) };
      return `{"key": ${JSON.stringify(key)}, "value": ${value.toString()}${JSON.stringify(more)
        .replace(/^\{(?!\})/, ',')
        .replace(/^\{\}$/, '}')}`;
    });
    const raw = `{${JSON.stringify({ onConflict, atomic, owner }).slice(1, -1)},"entries":[${texts.join(', ')}]}`;
    const { status, body } = await this.api.post('/v1/store/write', undefined, { raw });
    const given = request.entries.map((_entry, i) => body.results?.[i]?.version ?? null);
    const verdict = this.model.write(request, given);
    this.model.settle(owner, given);
    const { verdicts, versions } = verdict;
    const written = verdicts.filter((letter) => letter === 'n' || letter === 'w').length;
    const skipped = verdicts.filter((letter) => letter === 's').length;
    const results = entries.map(({ key }, i) => {
      const version = versions[i] === null ? {} : { version: versions[i] };
      switch (verdicts[i]) {
        case 'm':
          return { key, status: 'failed', code: 'version_mismatch', ...version };
        case 'q':
          return { key, status: 'failed', code: 'quota_exceeded' };
        case 'a':
          return { key, status: 'aborted' };
        case 's':
          return { key, status: 'skipped', ...version };
        default:
          return { key, status: 'written', ...version };
      }
    });
    const told = { written, skipped, results, warnings: Array.from({ length: skipped }, () => expect.any(String)) };
    if (written + skipped > 0) return { said: { status, body }, expected: { status: 200, body: told } };
    const isMismatch = verdicts.find((letter) => letter !== 'a') === 'm';
    return refusal({ status, body }, isMismatch ? null : verdict, told);
  }

  private async put(): Promise<{ said: unknown; expected: unknown }> {
    const { random, cases, model } = this;
    const ownerId = random.pick(this.owners);
    const key = random.pick(cases.keys);
    const entry = { ...cases.entry(ownerId, key), ifVersion: random.chance(60) ? null : cases.condition(ownerId, key) };
    const ttl = entry.ttlSeconds === null ? '' : `&ttl=${entry.ttlSeconds}`;
    const path = `/v1/store/${encodeURIComponent(key)}?owner=${ownerId}${ttl}`;
    // Whitespace around the value is neither stored nor charged.
    const init = { raw: ` ${entry.value.toString()}\n`, headers: conditionOf(entry.ifVersion) };
    const { status, body } = await this.api.put(path, undefined, init);
    const given = [body.version ?? null];
    const verdict = model.write({ ownerId, entries: [entry], onConflict: 'replace', atomic: false }, given);
    model.settle(ownerId, given);
    const [letter] = verdict.verdicts;
    if (letter === 'm' || letter === 'q') return refusal({ status, body }, letter === 'q' ? verdict : null, {});
    return {
      said: { status, body },
      expected: { status: letter === 'n' ? 201 : 200, body: { key, version: verdict.versions[0] } },
    };
  }

  private async delete(): Promise<{ said: unknown; expected: unknown }> {
    const { random, cases, model } = this;
    const [ownerId, key] = [random.pick(this.owners), random.pick(cases.keys)];
    const ifVersion = random.chance(50) ? null : cases.condition(ownerId, key);
    const path = `/v1/store/${encodeURIComponent(key)}?owner=${ownerId}`;
    const { status } = await this.api.delete(path, { headers: conditionOf(ifVersion) });
    const [[letter]] = model.delete([{ ownerId, keys: [key], ifVersion }]) as [['d' | 'n' | 'm']];
    return { said: status, expected: { d: 204, n: 404, m: 412 }[letter] };
  }

  private async deleteAll(): Promise<{ said: unknown; expected: unknown }> {
    const [owner, keys] = [this.random.pick(this.owners), this.cases.someKeys(8)];
    const { status, body } = await this.api.post('/v1/store/delete', { keys, owner });
    const [letters] = this.model.delete([{ ownerId: owner, keys, ifVersion: null }]);
    const missing = keys.filter((_key, i) => letters![i] === 'n');
    return {
      said: { status, body },
      expected: { status: 200, body: { deleted: keys.length - missing.length, missing } },
    };
  }

  private async expire(): Promise<{ said: unknown; expected: unknown }> {
    const [owner, keys] = [this.random.pick(this.owners), this.cases.someKeys(4)];
    await expire(fleet, owner, keys);
    for (const key of keys) this.model.of(owner).entries.delete(key);
    return { said: [], expected: [] };
  }

  private async limit(): Promise<{ said: unknown; expected: unknown }> {
    const { random, cases, model } = this;
    const gauge = random.pick(GAUGES);
    const place = random.below(this.owners.length);
    const store = model.of(this.owners[place]!);
    const scope = random.pick(['user', 'plan', 'platform'] as const);
    const limit = cases.limit(gauge, (scope === 'platform' ? model : store).used[gauge]);
    if (scope === 'plan') {
      const limits = random.chance(20) ? [] : [{ meter: `store.${gauge}`, limit }];
      store.plan = limits.length === 0 ? {} : { [gauge]: limit };
      return { said: (await this.api.patch(`/v1/plans/${this.plans[place]!}`, { limits })).status, expected: 200 };
    }
    const path = scope === 'user' ? `/v1/users/${this.owners[place]!}/quotas` : '/v1/platform/quotas';
    const isUnset = random.chance(20);
    const answer = await (isUnset
      ? this.api.delete(`${path}/store.${gauge}`)
      : this.api.put(`${path}/store.${gauge}`, { limit }));
    const said = isUnset ? undefined : limit;
    if (scope === 'user') store.own = { ...store.own, [gauge]: said };
    else model.platform = { ...model.platform, [gauge]: said };
    return { said: answer.status, expected: isUnset ? 204 : 200 };
  }

  /** Returns the entries and usage, and the counters that differ from the rows. */
  async contents(): Promise<{ said: unknown; expected: unknown }> {
    const { cases, model, owners } = this;
    const look = async (owner: string): Promise<unknown[]> => {
      const keys = { keys: cases.keys, onMissing: 'report', owner };
      const { body } = expectDone(await this.api.post('/v1/store/read', keys));
      return [body.entries.map(({ key, value, version }: any) => [key, value, version]), await usedBy(owner, this.api)];
    };
    const holdings = holdingsOf(fleet, owners);
    const [found, used] = await Promise.all([Promise.all(owners.map(look)), usedByAll()]);
    return {
      said: [found, used, (await holdings).wrong],
      expected: [
        owners.map((owner) => {
          const { entries, used } = model.of(owner);
          const found = cases.keys.flatMap((key) => {
            const entry = entries.get(key);
            return entry ? [[key, JSON.parse(entry.value), entry.version]] : [];
          });
          return [found, used];
        }),
        Object.fromEntries(
          GAUGES.flatMap((gauge) => (model.platform[gauge] === undefined ? [] : [[gauge, model.used[gauge]]])),
        ),
        [],
      ],
    };
  }
}

/**
 * Returns a rejection and the expected one: quota_exceeded with a verdict, else version_mismatch. The body includes the
 * results of the write.
 */
function refusal(
  { status, body }: { status: number; body: any },
  verdict: ModelVerdict | null,
  told: object,
): { said: unknown; expected: unknown } {
  const { code, violated, limits, written, skipped, results, warnings } = body;
  const said = { status, code, violated, limits, written, skipped, results, warnings };
  if (!verdict) return { said, expected: { status: 412, code: 'version_mismatch', ...told } };
  const { cost, limits: held } = verdict.denial!;
  const judged = GAUGES.flatMap((gauge) =>
    held[gauge].map(({ scope, limit, used }) => ({
      isViolated: cost[gauge] > 0 && used + cost[gauge] > limit,
      response: {
        ...{ scope, meter: `store.${gauge}`, window: 'lifetime', limit, used },
        ...{ remaining: Math.max(0, limit - used), resetsAt: null },
      },
    })),
  );
  return {
    said,
    expected: {
      ...{ status: 403, code: 'quota_exceeded', ...told },
      violated: judged.filter(({ isViolated }) => isViolated).map(({ response }) => response),
      limits: judged.map(({ response }) => response),
    },
  };
}

function conditionOf(ifVersion: number | null): Record<string, string> {
  if (ifVersion === null) return {};
  if (ifVersion === 0) return { 'if-none-match': '*' };
  return { 'if-match': ifVersion === -1 ? '*' : `"${ifVersion}"` };
}

describe('random histories: responses and counters match the model', () => {
  test.each(seeds(SEEDS))(
    '(SEED=%d)',
    async (seed) => {
      const twins = await Twins.of(seed);
      const work = async (): Promise<void> => {
        for (let step = 1; step <= STEPS; step++) {
          const { said, expected } = await twins.step();
          expect({ step, said }).toEqual({ step, said: expected });
          const contents = await twins.contents();
          expect({ step, said: contents.said }).toEqual({ step, said: contents.expected });
        }
      };
      // The sweeper works during half of the histories; not where rows and counters cannot be read in one snapshot.
      await (seed % 2 === 0 || isDistributed() ? withoutSweeper(fleet, work) : work());
    },
    600_000,
  );
});

test('server logs contain no error after these tests', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
});
