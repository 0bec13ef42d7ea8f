import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { uniqueName } from './support/api.js';
import { isDistributed } from './support/citus.js';
import { Fleet, call, expectDone, outcomeOf, tally, verify, type Key } from './support/fleet.js';
import { headerOf, load, write, type Reply } from './support/load.js';
import { Random } from './support/random.js';
import { until } from './support/until.js';
import { SEED, seeds, sizesOf } from './support/sizes.js';

/** Exact limits on PostgreSQL, with three servers. COSTED and SPENDS are requests to each server. */
const { SEEDS, COSTED, SPENDS, FULL, LIMITS } = sizesOf('spends');
const CONNECTIONS = 64;

let fleet: Fleet;

beforeAll(async () => {
  fleet = await Fleet.start(3);
});

beforeEach(async () => {
  await fleet.setWindows({});
});

afterAll(async () => {
  await fleet.stop();
});

/** A limit of 1,000 units, and the keys that share it. */
interface Limited {
  keys: Key[];
  slugs: string[];
  /** Reads its counter. */
  counter: () => Promise<number | undefined>;
}

const LIMITED: Record<string, (limit: number) => Promise<Limited>> = {
  'a user, of an API': async (limit) => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'api:api1', limit);
    const keys = [await fleet.makeKey(owner), await fleet.makeKey(owner)];
    return { keys, slugs: ['api1'], counter: () => fleet.counter(owner, 'api:api1') };
  },
  'a key': async (limit) => {
    const owner = await fleet.makeUser();
    const key = await fleet.makeKey(owner, { limits: [{ meter: 'api:api1', window: 'minute', limit }] });
    return { keys: [key], slugs: ['api1'], counter: () => fleet.counter(owner, 'api:api1', 'minute', key) };
  },
  'a key, of all APIs': async (limit) => {
    const owner = await fleet.makeUser();
    const key = await fleet.makeKey(owner, { limits: [{ meter: 'api:*', window: 'hour', limit }] });
    return { keys: [key], slugs: ['api1', 'api2'], counter: () => fleet.counter(owner, 'api:*', 'hour', key) };
  },
  'a plan, of all APIs': async (limit) => {
    const plan = await fleet.makePlan([{ meter: 'api:*', window: 'month', limit }]);
    const owner = await fleet.makeUser({ plan });
    const keys = [await fleet.makeKey(owner), await fleet.makeKey(owner), await fleet.makeKey(owner)];
    return { keys, slugs: ['api1', 'api2', 'api3'], counter: () => fleet.counter(owner, 'api:*', 'month') };
  },
  'the platform': async (limit) => {
    const slug = uniqueName();
    expectDone(await fleet.admin().post('/v1/apis', { slug, name: 'An API' }));
    expectDone(await fleet.admin().put(`/v1/platform/quotas/api:${slug}`, { limit, window: 'day' }));
    const keys: Key[] = [];
    for (let i = 0; i < 4; i++) keys.push(await fleet.makeKey(await fleet.makeUser()));
    const sql = 'SELECT counts[4]::int AS count FROM platform_quotas WHERE meter = $1';
    const counter = async (): Promise<number> => (await fleet.query(sql, [`api:${slug}`]))[0].count;
    return { keys, slugs: [slug], counter };
  },
};

/** Checks that the grants, as reported to clients, cover every unit once: no gap and no overlap. */
function expectEachOnce(grants: { used: number; cost: number }[]): void {
  const sorted = [...grants].sort((a, b) => a.used - b.used);
  let sum = 0;
  const wrong = sorted.filter(({ used, cost }) => used !== (sum += cost));
  expect(wrong.slice(0, 3)).toEqual([]);
}

/** Citus has no triggers. */
const describeWithTriggers = isDistributed() ? describe.skip : describe;

describe('limit of 1,000 units, three servers', () => {
  const scopes = Object.keys(LIMITED);
  const runs = seeds(SEEDS).map((seed): [string, number] => [scopes[seed % scopes.length]!, seed]);

  test.each(runs)(
    '%s, costs of 1 to 7 (SEED=%d): never exceeded',
    async (scope, seed) => {
      const random = new Random(seed);
      const { keys, slugs, counter } = await LIMITED[scope]!(1_000);
      const left = fleet.servers.map(() => COSTED);
      const grants: { used: number; cost: number }[] = [];
      const refusals: number[] = [];
      const strange: Reply[] = [];
      const hear = (reply: Reply, cost: number): void => {
        const { allowed, code, limits } = reply.status === 200 ? JSON.parse(reply.text) : {};
        if (allowed === true && limits.length === 1) grants.push({ used: limits[0].used, cost });
        else if (code === 'quota_exceeded') refusals.push(cost);
        else strange.push(reply);
      };
      await load(fleet.servers, CONNECTIONS, (server) => {
        if (left[server]!-- <= 0) return undefined;
        const cost = 1 + random.below(7);
        const text = verify(random.pick(keys), cost, random.pick(slugs));
        return { text, heard: (reply) => hear(reply, cost) };
      });
      expect(strange).toEqual([]);
      expect(grants.length + refusals.length).toBe(3 * COSTED);
      expectEachOnce(grants);
      const told = grants.reduce((sum, { cost }) => sum + cost, 0);
      expect(told).toBeLessThanOrEqual(1_000);
      expect(1_000 - told).toBeLessThan(Math.min(...refusals));
      expect(await counter()).toBe(told);
      const owners = keys.map(({ owner }) => owner);
      expect(await fleet.ledger(...owners)).toEqual({ granted: told, denied: refusals.length });
    },
    600_000,
  );

  test.each(scopes)(
    `%s, cost of 1: exactly 1,000 granted (SEED=${SEED})`,
    async (scope) => {
      const random = new Random(SEED);
      const { keys, slugs, counter } = await LIMITED[scope]!(1_000);
      const left = fleet.servers.map(() => SPENDS);
      const outcomes: string[] = [];
      const rests: number[] = [];
      await load(fleet.servers, CONNECTIONS, (server) => {
        if (left[server]!-- <= 0) return undefined;
        const heard = (reply: Reply): void => {
          outcomes.push(outcomeOf(reply));
          const rest = /^"\w+";r=(\d+)/.exec(headerOf(reply, 'ratelimit') ?? '')?.[1];
          if (reply.status === 200) rests.push(Number(rest));
          else if (rest !== '0') outcomes.push(`refused, and ${String(rest)} were left`);
        };
        return { text: call(random.pick(keys), random.pick(slugs)), heard };
      });
      expect(tally(outcomes)).toEqual({ ok: 1_000, quota_exceeded: 3 * SPENDS - 1_000 });
      expectEachOnce(rests.map((rest) => ({ used: 1_000 - rest, cost: 1 })));
      expect(await counter()).toBe(1_000);
      const owners = keys.map(({ owner }) => owner);
      expect(await fleet.ledger(...owners)).toEqual({ granted: 1_000, denied: 3 * SPENDS - 1_000 });
    },
    600_000,
  );
});

describe('three limits: key 100 a minute, user 150 a day, plan 120 a month', () => {
  let owner: string;
  let plan: string;
  /** The limited key, and another key of the same user. */
  let keys: [Key, Key];

  beforeEach(async () => {
    plan = await fleet.makePlan([{ meter: 'api:*', window: 'month', limit: 120 }]);
    owner = await fleet.makeUser({ plan });
    await fleet.setQuota(owner, 'api:api1', 150, 'day');
    const limits = [{ meter: 'api:api1', window: 'minute', limit: 100 }];
    keys = [await fleet.makeKey(owner, { limits }), await fleet.makeKey(owner)];
  });

  const counters = async (): Promise<(number | undefined)[]> => [
    await fleet.counter(owner, 'api:api1', 'minute', keys[0]),
    await fleet.counter(owner, 'api:api1', 'day'),
    await fleet.counter(owner, 'api:*', 'month'),
  ];

  /** Sends `calls` calls to each server. Returns the outcomes, with the scopes of the violated limits. */
  async function spend(key: Key, slug: string, calls: number): Promise<Record<string, number>> {
    const left = fleet.servers.map(() => calls);
    const outcomes: string[] = [];
    const heard = (reply: Reply): void => {
      const violated: { scope: string; window: string }[] = reply.status === 429 ? JSON.parse(reply.text).violated : [];
      outcomes.push([outcomeOf(reply), ...violated.map(({ scope }) => scope).sort()].join(' '));
    };
    await load(fleet.servers, 20, (server) => (left[server]!-- > 0 ? { text: call(key, slug), heard } : undefined));
    return tally(outcomes);
  }

  test('each rejects its own calls; a rejection by one charges none of the others', async () => {
    expect(await spend(keys[0], 'api1', 100)).toEqual({ ok: 100, 'quota_exceeded key': 200 });
    expect(await counters()).toEqual([100, 100, 100]);
    expect(await spend(keys[1], 'api2', 2)).toEqual({ ok: 6 });
    expect(await counters()).toEqual([100, 100, 106]);
    expect(await spend(keys[1], 'api1', 100)).toEqual({ ok: 14, 'quota_exceeded plan': 286 });
    expect(await counters()).toEqual([100, 114, 120]);
    const limits = [{ meter: 'api:*', window: 'month', limit: 1_000 }];
    expectDone(await fleet.admin().patch(`/v1/plans/${plan}`, { limits }));
    expect(await spend(keys[1], 'api1', 100)).toEqual({ ok: 36, 'quota_exceeded user': 264 });
    expect(await counters()).toEqual([100, 150, 156]);
    expect(await spend(keys[0], 'api1', 10)).toEqual({ 'quota_exceeded key user': 30 });
    expect(await counters()).toEqual([100, 150, 156]);
    expect(await fleet.ledger(owner)).toEqual({ granted: 156, denied: 780 });
  });

  test('concurrent calls with costs of 1 to 7: none is exceeded, and rejected calls are charged to none', async () => {
    const random = new Random(7);
    const told = { limited: 0, api1: 0, all: 0 };
    const least = { key: Infinity, user: Infinity, plan: Infinity };
    const left = fleet.servers.map(() => COSTED);
    await load(fleet.servers, 20, (server) => {
      if (left[server]!-- <= 0) return undefined;
      const [key, slug, cost] = [random.pick(keys), random.pick(['api1', 'api1', 'api2']), 1 + random.below(7)];
      const heard = (reply: Reply): void => {
        const { allowed, limits } = JSON.parse(reply.text);
        for (const { scope, used, limit } of limits as { scope: keyof typeof least; used: number; limit: number }[]) {
          expect(used).toBeLessThanOrEqual(limit);
          if (!allowed && used + cost > limit) least[scope] = Math.min(least[scope], cost);
        }
        if (!allowed) return;
        told.all += cost;
        if (slug === 'api1') told.api1 += cost;
        if (slug === 'api1' && key === keys[0]) told.limited += cost;
      };
      return { text: verify(key, cost, slug), heard };
    });
    expect(await counters()).toEqual([told.limited, told.api1, told.all]);
    expect((await fleet.ledger(owner)).granted).toBe(told.all);
    expect(told.limited).toBeLessThanOrEqual(100);
    expect(told.api1).toBeLessThanOrEqual(150);
    expect(told.all).toBeLessThanOrEqual(120);
    expect(120 - told.all).toBeLessThan(least.plan);
  });
});

/**
 * Returns a window length that this machine can fill: several times the duration of 100 calls, at least half a second.
 */
async function secondsToFill(): Promise<number> {
  const key = await fleet.makeKey(await fleet.makeUser());
  const started = Date.now();
  let left = 300;
  await load(fleet.servers, 20, () => (left-- > 0 ? { text: call(key), heard: () => true } : undefined));
  return Math.max(0.5, Math.ceil((Date.now() - started) / 100) * 0.2);
}

describeWithTriggers('a trigger sees every charge', () => {
  test('windows end under load: no unit is lost or granted twice', async () => {
    const owner = await fleet.makeUser();
    // A trigger records the count of each minute and flow.
    await fleet.query(`
    CREATE TABLE minutes (key_id uuid, meter text, minute timestamptz, used bigint, PRIMARY KEY (key_id, meter, minute));
    CREATE FUNCTION note_minute() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO minutes VALUES (NEW.key_id, NEW.meter, window_start('minute', NEW.at), NEW.counts[2])
      ON CONFLICT (key_id, meter, minute) DO UPDATE SET used = greatest(minutes.used, excluded.used);
      RETURN NULL;
    END $$;
    CREATE TRIGGER note_minute AFTER INSERT OR UPDATE ON flows FOR EACH ROW
    WHEN (NEW.owner_id = '${owner}' AND NEW.at > '-infinity') EXECUTE FUNCTION note_minute()`);
    const minute = await secondsToFill();
    await fleet.setWindows({ minute, hour: 2 * minute });
    const keys = [
      await fleet.makeKey(owner, { limits: [{ meter: 'api:api1', window: 'minute', limit: 40 }] }),
      await fleet.makeKey(owner, { limits: [{ meter: 'api:*', window: 'hour', limit: 100 }] }),
      await fleet.makeKey(owner),
    ] as const;
    await fleet.setQuota(owner, 'api:*', 90, 'minute');
    await fleet.setQuota(owner, 'api:api2', 200, 'hour');
    const random = new Random(1);
    const outcomes: string[] = [];
    /** Units that clients were granted with each key. */
    const told = new Map<Key, number>();
    let isOver = false;
    const loading = load(fleet.servers, 20, () => {
      if (isOver) return undefined;
      const key = random.pick(keys);
      const heard = (reply: Reply): void => {
        const outcome = outcomeOf(reply);
        outcomes.push(outcome);
        if (outcome === 'ok') told.set(key, (told.get(key) ?? 0) + 1);
      };
      return { text: call(key, key === keys[0] ? 'api1' : random.pick(['api1', 'api2'])), heard };
    });
    const windows = `SELECT count(*) FILTER (WHERE meter = 'api:*' AND used = 90)::int AS full,
    (SELECT count(DISTINCT hour)::int FROM usage_hours WHERE owner_id = $1) AS hours FROM minutes`;
    try {
      await until(async () => {
        const [seen] = await fleet.query(windows, [owner]);
        return seen.full >= FULL && seen.hours >= 2;
      }, loading);
    } finally {
      isOver = true;
    }
    await loading;

    expect(Object.keys(tally(outcomes)).sort()).toEqual(['ok', 'quota_exceeded']);
    const all = [...told.values()].reduce((sum, units) => sum + units, 0);
    const refused = outcomes.length - all;
    expect(await fleet.ledger(owner)).toEqual({ granted: all, denied: refused });
    expect(await fleet.counter(owner, 'api:*')).toBe(all);
    for (const key of keys) {
      const [row] = await fleet.query('SELECT sum(granted)::int AS units FROM usage WHERE key_id = $1', [key.id]);
      expect(row.units).toBe(told.get(key));
    }
    const most = async (sql: string, values: unknown[]): Promise<{ windows: number; most: number; units: number }> =>
      (
        await fleet.query(
          `SELECT count(*)::int AS windows, max(n)::int AS most, sum(n)::int AS units FROM (${sql}) w (n)`,
          values,
        )
      )[0];
    const ofMinutes = 'SELECT used FROM minutes WHERE key_id = $1 AND meter = $2 AND used > 0';
    const ofHours =
      'SELECT sum(granted) FROM usage WHERE owner_id = $1 AND key_id = coalesce($2, key_id) AND meter LIKE $3 GROUP BY hour';
    const NO_KEY = '00000000-0000-0000-0000-000000000000';
    // No window exceeds its limit, and the sums equal the grants that clients saw.
    expect(await most(ofMinutes, [NO_KEY, 'api:*'])).toMatchObject({ most: 90, units: all });
    const ofFirst = await most(ofMinutes, [keys[0].id, 'api:api1']);
    expect(ofFirst).toMatchObject({ units: told.get(keys[0]) });
    expect(ofFirst.most).toBeLessThanOrEqual(40);
    const ofSecond = await most(ofHours, [owner, keys[1].id, 'api:%']);
    expect(ofSecond).toMatchObject({ units: told.get(keys[1]) });
    expect(ofSecond.most).toBeLessThanOrEqual(100);
    expect((await most(ofHours, [owner, null, 'api:api2'])).most).toBeLessThanOrEqual(200);
  }, 600_000);
});

test('counts near 2^53: only the ledger of a key is capped, and no number overflows', async () => {
  const [owner, other] = [await fleet.makeUser(), await fleet.makeUser()];
  const keys = [await fleet.makeKey(owner), await fleet.makeKey(other)];
  const slug = uniqueName();
  expectDone(await fleet.admin().post('/v1/apis', { slug, name: 'An API', answer: 'x' }));
  const spend = async (key: Key): Promise<string> =>
    (await fleet.admin().post('/v1/verify', { key: key.key, api: slug, cost: 1 })).body.code ?? 'ok';
  for (const key of keys) expect(await spend(key)).toBe('ok');
  const most = String(Number.MAX_SAFE_INTEGER);
  const path = `/v1/platform/quotas/api:${slug}`;
  expectDone(await fleet.admin().put(path, { limit: null }));
  await fleet.query(`UPDATE platform_quotas SET counts[1] = $2 WHERE meter = $1`, [`api:${slug}`, most]);
  for (const key of keys) expect(await spend(key)).toBe('ok');
  expectDone(await fleet.admin().put(path, { limit: 5 }));
  for (const key of keys) expect(await spend(key)).toBe('quota_exceeded');
  expect((await fleet.admin().delete(path)).status).toBe(204);

  await fleet.query(`UPDATE flows SET counts[1] = $2 WHERE owner_id = $1 AND meter = $3`, [owner, most, `api:${slug}`]);
  expect(await spend(keys[0]!)).toBe('quota_exceeded');
  expect(await spend(keys[1]!)).toBe('ok');
});

describe('limits changed under load', () => {
  /** A limited key, and a function that changes its limit at a server. */
  interface Movable {
    key: Key;
    slug?: string;
    move: (limit: number, server: number) => Promise<unknown>;
  }

  const MOVABLE: Record<string, () => Promise<Movable>> = {
    'a quota of a user': async () => {
      const owner = await fleet.makeUser();
      const key = await fleet.makeKey(owner);
      return { key, move: (limit, server) => fleet.admin(server).put(`/v1/users/${owner}/quotas/api:api1`, { limit }) };
    },
    'a quota of a key': async () => {
      const key = await fleet.makeKey(await fleet.makeUser());
      return { key, move: (limit, server) => fleet.admin(server).put(`/v1/keys/${key.id}/quotas/api:*`, { limit }) };
    },
    'a plan': async () => {
      const plan = await fleet.makePlan([]);
      const key = await fleet.makeKey(await fleet.makeUser({ plan }));
      const limits = (limit: number): object[] => [{ meter: 'api:api1', limit }];
      return {
        key,
        move: (limit, server) => fleet.admin(server).patch(`/v1/plans/${plan}`, { limits: limits(limit) }),
      };
    },
    'a quota of the platform': async () => {
      const key = await fleet.makeKey(await fleet.makeUser());
      const slug = uniqueName();
      expectDone(await fleet.admin().post('/v1/apis', { slug, name: 'An API' }));
      return {
        key,
        slug,
        move: (limit, server) => fleet.admin(server).put(`/v1/platform/quotas/api:${slug}`, { limit }),
      };
    },
  };

  test.each(Object.keys(MOVABLE))('%s: every response reports a limit in force', async (name) => {
    const { key, slug = 'api1', move } = await MOVABLE[name]!();
    // All different, alternately high and low.
    const limits = Array.from({ length: LIMITS }, (_, i) => (i % 2 === 0 ? 200 + i * 40 : 1 + i * 20));
    const set = async (i: number): Promise<void> => void expectDone((await move(limits[i]!, i)) as never);
    await set(0);
    /** The last change that was sent, and the last that was answered. */
    const moves = { begun: 0, answered: 0 };
    const grants: { used: number; cost: number }[] = [];
    const wrong: string[] = [];
    let refusals = 0;
    let heardSince = 0;
    let isOver = false;
    const loading = load(fleet.servers, 8, () => {
      if (isOver) return undefined;
      const { answered } = moves;
      const heard = (reply: Reply): void => {
        heardSince++;
        const limit = Number(/;q=(\d+)/.exec(headerOf(reply, 'ratelimit-policy') ?? '')?.[1]);
        const rest = Number(/;r=(\d+)/.exec(headerOf(reply, 'ratelimit') ?? '')?.[1]);
        const inForce = limits.slice(answered, moves.begun + 1);
        if (!inForce.includes(limit)) wrong.push(`${reply.status}: ${limit} is not among ${inForce.join(', ')}`);
        if (reply.status === 200) grants.push({ used: limit - rest, cost: 1 });
        else if (reply.status === 429) refusals++;
        else wrong.push(reply.text);
      };
      return { text: call(key, slug), heard };
    });
    try {
      for (let i = 1; i < limits.length; i++) {
        moves.begun = i;
        await set(i);
        moves.answered = i;
        // More calls than the first low limit allows, so that it rejects some even when calls are slow.
        heardSince = 0;
        await until(() => heardSince > 30 || wrong.length > 0, loading);
      }
    } finally {
      isOver = true;
    }
    await loading;
    expect(wrong).toEqual([]);
    expect(refusals).toBeGreaterThan(0);
    expectEachOnce(grants);
    expect(grants.length).toBeLessThanOrEqual(Math.max(...limits));
    expect(await fleet.ledger(key.owner)).toEqual({ granted: grants.length, denied: refusals });
  });
});

describe('POST /v1/resources, two servers', () => {
  const sum = `
    SELECT (SELECT count(*)::int FROM resources WHERE owner_id = ANY($1)) AS rows,
      (SELECT coalesce(sum(used), 0)::int FROM gauges WHERE meter = 'resources' AND owner_id = ANY($1)) AS used,
      (SELECT count(*)::int FROM resources) AS all, (SELECT counts[1]::int FROM platform_quotas WHERE meter = 'resources') AS platform,
      (SELECT limits[1]::int FROM platform_quotas WHERE meter = 'resources') AS limit`;

  /** The same for one owner, without the platform: nodes have no common snapshot. */
  const ofOne = `
    SELECT (SELECT count(*)::int FROM resources WHERE owner_id = $1) AS rows,
      (SELECT coalesce(sum(used), 0)::int FROM gauges WHERE meter = 'resources' AND owner_id = $1) AS used,
      NULL AS all, NULL AS platform, NULL AS limit`;

  interface Use {
    rows: number;
    used: number;
    all: number | null;
    platform: number | null;
    limit: number | null;
  }

  /** Reads rows and counters repeatedly while `work` runs, and once after it. */
  async function watching(owners: string[], work: Promise<unknown>): Promise<Use[]> {
    const client = new pg.Client({ connectionString: fleet.url });
    await client.connect();
    try {
      const seen: Use[] = [];
      const state = { working: true };
      const done = work.finally(() => (state.working = false));
      while (state.working) {
        if (isDistributed()) {
          for (const owner of owners) seen.push(...(await client.query<Use>(ofOne, [owner])).rows);
        } else {
          seen.push(...(await client.query<Use>(sum, [owners])).rows);
        }
        await sleep(2);
      }
      await done;
      seen.push(...(await client.query<Use>(sum, [owners])).rows);
      return seen;
    } finally {
      await client.end();
    }
  }

  async function makeOwner(plan: string): Promise<{ owner: string; headers: Record<string, string> }> {
    const { id, accessToken } = await fleet.admin().createUser({ plan });
    return { owner: id, headers: { authorization: `Bearer ${accessToken}` } };
  }

  test('deleted owner, while the platform has no room: neither granted nor denied', async () => {
    expectDone(await fleet.admin().put('/v1/platform/quotas/resources', { limit: 0 }));
    expect(await fleet.query(`SELECT granted FROM charge_gauge(gen_random_uuid(), 'resources', 1)`)).toEqual([
      { granted: null },
    ]);
    expect((await fleet.admin().delete('/v1/platform/quotas/resources')).status).toBe(204);
  });

  test('limit of 50 by a plan: 500 concurrent requests create exactly 50', async () => {
    const plan = await fleet.makePlan([{ meter: 'resources', limit: 50 }]);
    const { owner, headers } = await makeOwner(plan);
    const servers = fleet.servers.slice(0, 2);
    const outcomes: string[] = [];
    const left = [250, 250];
    const text = write('POST', '/v1/resources', headers, { value: 'x' });
    const heard = (reply: Reply): void => void outcomes.push(reply.status === 201 ? 'made' : outcomeOf(reply));
    const seen = await watching(
      [owner],
      load(servers, 100, (server) => (left[server]!-- > 0 ? { text, heard } : undefined)),
    );
    expect(tally(outcomes)).toEqual({ made: 50, quota_exceeded: 450 });
    expect(seen.filter(({ rows, used }) => rows !== used || rows > 50)).toEqual([]);
    expect(seen.at(-1)).toMatchObject({ rows: 50, used: 50 });
  });

  test('two plans and a platform quota that is set, changed and removed, with deletions: counters always match the rows', async () => {
    const plan = await fleet.makePlan([{ meter: 'resources', limit: 50 }]);
    const users = [await makeOwner(plan), await makeOwner(plan)];
    const owners = users.map(({ owner }) => owner);
    const servers = fleet.servers.slice(0, 2);
    const random = new Random(3);
    const known = users.map((): string[] => []);
    const outcomes: string[] = [];
    let left = 1_200;
    let isMoving = true;
    const moved = (answers: number): Promise<void> => {
      const before = outcomes.length;
      return until(() => outcomes.length >= before + answers);
    };
    const seen = await watching(
      owners,
      Promise.all([
        load(servers, 32, () => {
          // Runs until each limit was in force for a while and the platform quota has rejected a request.
          if (left-- <= 0 && !isMoving && outcomes.includes('403 platform')) return undefined;
          const who = random.below(2);
          const id = random.chance(45) ? known[who]?.shift() : undefined;
          const { headers } = users[who]!;
          if (id !== undefined) {
            const heard = (reply: Reply): void => void outcomes.push(String(reply.status));
            return { text: write('DELETE', `/v1/resources/${id}`, headers), heard };
          }
          const heard = (reply: Reply): void => {
            if (reply.status === 201) known[who]?.push(JSON.parse(reply.text).id);
            const { status, violated = [] } = JSON.parse(reply.text);
            outcomes.push(
              [reply.status, ...(status ? violated.map((each: { scope: string }) => each.scope) : [])].join(' '),
            );
          };
          return { text: write('POST', '/v1/resources', headers, { value: 'x' }), heard };
        }),
        (async () => {
          const { length } = await fleet.query('SELECT FROM resources WHERE owner_id <> ALL($1)', [owners]);
          const quota = '/v1/platform/quotas/resources';
          try {
            for (const limit of [60, 40, 70]) {
              await moved(100);
              expectDone(await fleet.admin().put(quota, { limit: length + limit }));
            }
            await moved(100);
            expectDone(await fleet.admin().delete(quota));
            await moved(100);
            expectDone(await fleet.admin().put(quota, { limit: length + 60 }));
          } finally {
            isMoving = false;
          }
        })(),
      ]),
    );
    try {
      expect(seen.filter(({ rows, used }) => rows !== used || rows > 100)).toEqual([]);
      expect(seen.filter(({ all, platform }) => platform !== null && platform !== all)).toEqual([]);
      const codes = Object.keys(tally(outcomes));
      expect(codes).toEqual(expect.arrayContaining(['201', '204', '403 platform']));
      expect(codes.filter((code) => !/^(201|204|403( plan)?( platform)?)$/.test(code))).toEqual([]);
      // With a constant quota the limit is exact.
      const { all } = seen.at(-1)!;
      expectDone(await fleet.admin().put('/v1/platform/quotas/resources', { limit: Number(all) + 7 }));
      for (const { owner } of users) await fleet.setQuota(owner, 'resources', 100);
      const more = [50, 50];
      const made: string[] = [];
      await load(servers, 32, (server) => {
        if (more[server]!-- <= 0) return undefined;
        const text = write('POST', '/v1/resources', random.pick(users).headers, { value: 'x' });
        return { text, heard: (reply) => made.push(String(reply.status)) };
      });
      expect(tally(made)).toEqual({ '201': 7, '403': 93 });
    } finally {
      await fleet.admin().delete('/v1/platform/quotas/resources');
    }
  });
});

test('server logs contain no error after these tests', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
});
