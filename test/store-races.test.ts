import { setTimeout as sleep } from 'node:timers/promises';
import { uniqueName } from './support/api.js';
import { Fleet, expectDone, outcomeOf, tally } from './support/fleet.js';
import { headerOf, load, write, type Reply, type Shot } from './support/load.js';
import { Random } from './support/random.js';
import { TestServer } from './support/server.js';
import { as, expire, holdingsOf, withoutSweeper, writeBatch } from './support/store.js';
import { SEED, sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

/** Concurrent writes of the same entries through two servers. */
const { ROUNDS, INCREMENTS, KILLS } = sizesOf('storeRaces');

let fleet: Fleet;
let owner: string;

beforeAll(async () => {
  fleet = await Fleet.start(2);
});

beforeEach(async () => {
  owner = await fleet.makeUser();
});

afterAll(async () => {
  await fleet.stop();
});

const json = (reply: Reply): any => JSON.parse(reply.text);

/** Formats a request of the administrator on the store of the owner. */
function ask(method: string, key: string, body?: object, headers: Record<string, string> = {}, of = owner): string {
  return write(method, `/v1/store/${encodeURIComponent(key)}?owner=${of}`, { ...as(fleet.admin()), ...headers }, body);
}

const batch = (body: Omit<Parameters<typeof writeBatch>[1], 'owner'>, headers?: Record<string, string>): string =>
  writeBatch(fleet.admin(), { ...body, owner }, headers);

/** Sends all requests concurrently to one server. @returns the responses in the order of the requests */
async function atOnce(texts: readonly string[], server = 0): Promise<Reply[]> {
  const replies: Reply[] = [];
  let next = 0;
  await load([fleet.servers[server]!], texts.length, () => {
    const place = next++;
    const text = texts[place];
    return text === undefined ? undefined : { text, heard: (reply) => void (replies[place] = reply) };
  });
  return replies;
}

const statuses = (replies: readonly Reply[]): Record<string, number> =>
  tally(replies.map(({ status }) => String(status)));

/** Returns the entry of a key, or undefined. */
async function find(key: string): Promise<{ value: any; version: number } | undefined> {
  const [entry] = expectDone(await fleet.admin().post('/v1/store/read', { keys: [key], onMissing: 'report', owner }))
    .body.entries;
  return entry;
}

async function countWrong(): Promise<object[]> {
  return (await holdingsOf(fleet, [])).wrong;
}

/**
 * 64 writers increment one entry, half of them in batches. Each reads the entry, adds one and writes with the version
 * it read; after a version mismatch it tries again.
 */
test('64 writers increment one entry with If-Match or ifVersion on two servers: no update is lost', async () => {
  const WRITERS = 64;
  expect(statuses(await atOnce([ask('PUT', 'count', { count: 0 })]))).toEqual({ 201: 1 });
  const read = ask('GET', 'count');
  const done: { count: number; version: number }[] = [];
  const strange: Reply[] = [];

  const writer = (place: number): Promise<void> => {
    let left = INCREMENTS;
    let [text, count] = [read, 0];
    const heard = (reply: Reply): void => {
      const isRead = text === read;
      text = read;
      if (reply.status !== 200) {
        if (isRead || outcomeOf(reply) !== 'version_mismatch') strange.push(reply);
      } else if (!isRead) {
        left--;
        done.push({ count, version: json(reply).version ?? json(reply).results[0].version });
      } else {
        count = json(reply).count + 1;
        const tag = headerOf(reply, 'etag') ?? '';
        const entries = [
          { key: 'count', value: { count }, ifVersion: Number(tag.slice(1, -1)) },
          { key: `other ${count % 7}`, value: count },
        ];
        text =
          place % 4 < 2
            ? ask('PUT', 'count', { count }, { 'if-match': tag })
            : batch({ entries, atomic: true, onConflict: 'replace' });
      }
    };
    return load([fleet.servers[place % 2]!], 1, () => (left > 0 ? { text, heard } : undefined));
  };

  await Promise.all(Array.from({ length: WRITERS }, (_, place) => writer(place)));
  expect(strange).toEqual([]);
  done.sort((a, b) => a.count - b.count);
  expect(done.map(({ count }) => count)).toEqual(Array.from({ length: WRITERS * INCREMENTS }, (_, i) => i + 1));
  expect(done.filter(({ version }, i) => i > 0 && version <= done[i - 1]!.version)).toEqual([]);
  expect(await find('count')).toMatchObject({ value: { count: done.length }, version: done.at(-1)!.version });
  expect(await countWrong()).toEqual([]);
}, 300_000);

describe('atomic batches over the same 100 keys in opposite orders', () => {
  const KEYS = Array.from({ length: 100 }, (_, i) => `key ${i}`);
  const ORDERS = [KEYS, [...KEYS].reverse()];

  /** Returns the value that all 100 entries share, or the response if they differ. */
  function markOf(reply: Reply): unknown {
    const marks = new Set(json(reply).entries.map(({ value }: { value: unknown }) => value));
    return marks.size === 1 && json(reply).entries.length === 100 ? [...marks][0] : reply;
  }

  const readAll = (): string =>
    write('POST', '/v1/store/read', as(fleet.admin()), { keys: KEYS, onMissing: 'report', owner });

  const all = (mark: number): { key: string; value: number }[] => KEYS.map((key) => ({ key, value: mark }));

  test('each is written completely or not at all', async () => {
    const outcomes: string[] = [];
    const marks: unknown[] = [];
    expect(statuses(await atOnce([batch({ entries: all(0) })]))).toEqual({ 200: 1 });
    let mark = 0;
    await load(fleet.servers, 12, (server): Shot | undefined => {
      if (mark >= ROUNDS) return undefined;
      if (outcomes.length % 3 === 0) {
        outcomes.push('read');
        return { text: readAll(), heard: (reply) => marks.push(markOf(reply)) };
      }
      const value = ++mark;
      const entries = ORDERS[(server + value) % 2]!.map((key) => ({ key, value }));
      const heard = (reply: Reply): void => void outcomes.push(`${reply.status} ${json(reply).written}`);
      return { text: batch({ entries, atomic: true, onConflict: 'replace' }), heard };
    });
    expect(tally(outcomes.filter((outcome) => outcome !== 'read'))).toEqual({ '200 100': ROUNDS });
    expect(marks.filter((each) => typeof each !== 'number')).toEqual([]);
    expect(typeof markOf((await atOnce([readAll()]))[0]!)).toBe('number');
    expect(await countWrong()).toEqual([]);
  });

  test('with ifVersion: one writer wins for each version', async () => {
    const outcomes: string[] = [];
    const mixed: unknown[] = [];
    expect(statuses(await atOnce([batch({ entries: all(0) })]))).toEqual({ 200: 1 });
    let rounds = 0;
    // At least one write must lose.
    const isEnough = (): boolean => rounds >= ROUNDS && outcomes.includes('version_mismatch');
    const nextRound = (): boolean => !isEnough() && ++rounds > 0;
    const writers = fleet.servers.flatMap((server, place) =>
      Array.from({ length: 4 }, (_, i) => ({ server, place, i })),
    );
    await Promise.all(
      writers.map(({ server, place, i }) => {
        let next: string | undefined;
        const heard = (reply: Reply): void => {
          if (next !== undefined) {
            outcomes.push(reply.status === 200 ? `written ${json(reply).written}` : outcomeOf(reply));
            next = undefined;
            return;
          }
          const mark = markOf(reply);
          if (typeof mark !== 'number') mixed.push(mark);
          const versions = new Map<string, number>(
            json(reply).entries.map(({ key, version }: { key: string; version: number }) => [key, version]),
          );
          const entries = ORDERS[(place + i) % 2]!.map((key) => ({
            ...{ key, value: Number(mark) + 1 },
            // Some batches check only the last key.
            ...(i % 2 === 0 || key === 'key 99' ? { ifVersion: versions.get(key)! } : {}),
          }));
          next = batch({ entries, atomic: true, onConflict: 'replace' });
        };
        return load([server], 1, () =>
          next !== undefined || nextRound() ? { text: next ?? readAll(), heard } : undefined,
        );
      }),
    );
    expect(mixed).toEqual([]);
    const { 'written 100': written = 0, version_mismatch: lost = 0 } = tally(outcomes);
    expect(written + lost).toBe(rounds);
    expect(lost).toBeGreaterThan(0);
    expect(markOf((await atOnce([readAll()]))[0]!)).toBe(written);
    expect(await countWrong()).toEqual([]);
  });
});

describe('50 concurrent requests to one server', () => {
  const MANY = 50;
  const times = <T>(make: (i: number) => T): T[] => Array.from({ length: MANY }, (_, i) => make(i));
  const entry = (i: number): { key: string; value: number } => ({ key: 'k', value: i });

  test.each<[string, (i: number) => string, Record<string, number>]>([
    ['ifVersion 0', (i) => batch({ entries: [{ ...entry(i), ifVersion: 0 }] }), { 200: 1, 412: MANY - 1 }],
    ['If-None-Match: *', (i) => ask('PUT', 'k', [i], { 'if-none-match': '*' }), { 201: 1, 412: MANY - 1 }],
    ['fail', (i) => batch({ entries: [entry(i)], onConflict: 'fail' }), { 200: 1, 412: MANY - 1 }],
    ['skip', (i) => batch({ entries: [entry(i)] }), { 200: MANY }],
    ['replace', (i) => batch({ entries: [entry(i)], onConflict: 'replace' }), { 200: MANY }],
    ['PUT', (i) => ask('PUT', 'k', [i]), { 200: MANY - 1, 201: 1 }],
    ['If-Match: *', (i) => ask('PUT', 'k', [i], { 'if-match': '*' }), { 412: MANY }],
  ])('%s on one key: same outcome as sequential requests', async (how, make, expected) => {
    const replies = await atOnce(times(make));
    expect(statuses(replies)).toEqual(expected);
    const versions = replies
      .filter(({ status }) => status < 300)
      .map((reply): number => json(reply).version ?? json(reply).results[0].version);
    // Each write gets its own version; a skipped write reports the version of the entry that exists.
    expect(new Set(versions).size).toBe(how === 'skip' ? 1 : versions.length);
    const written = replies.map((reply) => reply.status < 300 && (json(reply).written ?? 1) === 1);
    expect(written.filter((each) => each)).toHaveLength(how === 'skip' ? 1 : versions.length);
    const last = replies.findIndex(
      (reply, i) => written[i] && (json(reply).version ?? json(reply).results[0].version) === Math.max(...versions),
    );
    const found = await find('k');
    expect([found?.value].flat()).toEqual([last === -1 ? undefined : last]);
    expect(await countWrong()).toEqual([]);
  });

  test('DELETE of one entry: exactly one succeeds', async () => {
    await atOnce([batch({ entries: [entry(0), { key: 'other', value: 0 }] })]);
    const both = { keys: ['k', 'other'], owner };
    const single = await atOnce(times(() => ask('DELETE', 'k')));
    expect(statuses(single)).toEqual({ 204: 1, 404: MANY - 1 });
    const many = await atOnce(times(() => write('POST', '/v1/store/delete', as(fleet.admin()), both)));
    expect(tally(many.map(({ text }) => text))).toEqual({
      '{"deleted":1,"missing":["k"]}': 1,
      '{"deleted":0,"missing":["k","other"]}': MANY - 1,
    });
    expect(await countWrong()).toEqual([]);
  });

  test('PUT and DELETE of one entry, live or expired: creations minus deletions match the entry', async () => {
    await withoutSweeper(fleet, async () => {
      const random = new Random(5);
      const isThere = async (): Promise<number> => ((await find('k')) === undefined ? 0 : 1);
      for (let round = 0; round < 6; round++) {
        const before = await isThere();
        const replies = await atOnce(times((i) => (random.chance(50) ? ask('PUT', 'k', [i]) : ask('DELETE', 'k'))));
        const { 201: made = 0, 204: deleted = 0, ...others } = statuses(replies);
        expect(Object.keys(others).filter((status) => !['200', '404'].includes(status))).toEqual([]);
        expect(await isThere()).toBe(before + made - deleted);
        expect(await countWrong()).toEqual([]);
        if (round % 2 === 0) await expire(fleet, owner);
      }
    });
  });

  test('one Idempotency-Key, two servers: written once', async () => {
    const headers = { 'idempotency-key': uniqueName() };
    const text = batch({ entries: [entry(1), { key: 'other', value: 2 }], onConflict: 'replace' }, headers);
    const answers: Reply[] = [];
    let left = MANY;
    const heard = async (reply: Reply): Promise<void> => {
      if (outcomeOf(reply) !== 'idempotency_in_progress') answers.push(reply);
      else {
        left++;
        await sleep(5);
      }
    };
    await load(fleet.servers, MANY / 2, () => {
      if (left === 0) return undefined;
      left--;
      return { text, heard };
    });
    expect(tally(answers.map(({ status, text: said }) => `${status} ${said}`))).toEqual({
      [`200 ${answers[0]!.text}`]: MANY,
    });
    expect(json(answers[0]!)).toMatchObject({ written: 2, results: [{ version: 1 }, { version: 2 }] });
    expect(await find('other')).toMatchObject({ version: 2 });
    expect(await countWrong()).toEqual([]);
  });
});

describe('DELETE /v1/users/{user} under concurrent writes', () => {
  test('no entry remains, and counters match the rows', async () => {
    const users = await Promise.all(Array.from({ length: 8 }, () => fleet.makeUser()));
    const staying = users.slice(0, 2);
    for (const meter of ['store.entries', 'store.bytes']) {
      expectDone(await fleet.admin().put(`/v1/platform/quotas/${meter}`, { limit: 1_000_000 }));
    }
    try {
      const random = new Random(6);
      const outcomes: string[] = [];
      const state = { isOver: false };
      const loading = load(fleet.servers, 12, (): Shot | undefined => {
        if (state.isOver) return undefined;
        const of = random.pick(users);
        const keys = Array.from({ length: 1 + random.below(5) }, (_, i) => `key ${i * 7 + random.below(7)}`);
        const kind = random.below(4);
        const heard = (reply: Reply): void => void outcomes.push(`${kind < 2 ? 'write' : 'delete'} ${reply.status}`);
        if (kind === 0) return { text: ask('PUT', keys[0]!, [random.below(1_000)], {}, of), heard };
        if (kind === 3)
          return { text: write('POST', '/v1/store/delete', as(fleet.admin()), { keys, owner: of }), heard };
        const entries = keys.map((key) => ({ key, value: random.below(1e6) }));
        return { text: writeBatch(fleet.admin(), { entries, owner: of, onConflict: 'replace' }), heard };
      });
      const heard = (answers: number): Promise<void> => {
        const before = outcomes.length;
        return until(() => outcomes.length >= before + answers, loading);
      };
      try {
        for (const [i, user] of users.entries()) {
          if (staying.includes(user)) continue;
          await heard(40);
          expectDone(await fleet.admin(i).delete(`/v1/users/${user}`));
        }
        await until(() => outcomes.includes('write 404'), loading);
        await heard(40);
      } finally {
        state.isOver = true;
      }
      await loading;
      expect(
        Object.keys(tally(outcomes)).filter((each) => !/^(write (200|201|404)|delete (200|204|404))$/.test(each)),
      ).toEqual([]);
      expect(outcomes).toContain('write 404');
      expect(await fleet.query('SELECT FROM store_entries WHERE owner_id = ANY($1)', [users.slice(2)])).toEqual([]);
      expect(await fleet.query('SELECT FROM gauges WHERE owner_id = ANY($1)', [users.slice(2)])).toEqual([]);
      const { owners, wrong } = await holdingsOf(fleet, staying);
      expect(wrong).toEqual([]);
      expect(owners).toHaveLength(2);
    } finally {
      for (const meter of ['store.entries', 'store.bytes']) {
        expectDone(await fleet.admin().delete(`/v1/platform/quotas/${meter}`));
      }
    }
  });
});

describe('server killed during writes', () => {
  test(`acknowledged batches are stored completely, and counters match the rows (SEED=${SEED})`, async () => {
    const random = new Random(SEED);
    /** For each key, the highest version that was acknowledged, with its value. */
    const told = new Map<string, { version: number; value: unknown }>();
    const outcomes: string[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = await TestServer.spawn({ DATABASE_URL: fleet.url });
      const before = outcomes.length;
      const state = { isKilled: false };
      const loading = load([fleet.servers[0]!, victim], 12, (): Shot | undefined => {
        if (state.isKilled) return undefined;
        const value = random.below(1e9);
        const keys = new Set(Array.from({ length: 4 }, () => `key ${random.below(60)}`));
        const entries = [...keys].map((key) => ({ key, value }));
        const heard = (reply: Reply): boolean => {
          outcomes.push(reply.status === 0 ? 'lost' : String(reply.status));
          if (reply.status !== 200) return false;
          for (const { key, version } of json(reply).results) {
            if (version > (told.get(key)?.version ?? 0)) told.set(key, { version, value });
          }
          return true;
        };
        return { text: batch({ entries, atomic: true, onConflict: 'replace' }), heard };
      });
      const enough = before + 200 + random.below(100);
      await until(() => outcomes.length >= enough, loading);
      await victim.kill();
      state.isKilled = true;
      await loading;
    }
    expect(Object.keys(tally(outcomes)).sort()).toEqual(['200', 'lost']);
    const { entries } = expectDone(await fleet.admin().post('/v1/store/read', { keys: [...told.keys()], owner })).body;
    const there = new Map<string, { version: number; value: unknown }>(entries.map((each: any) => [each.key, each]));
    const lost = [...told].filter(([key, { version, value }]) => {
      const found = there.get(key)!;
      return found.version < version || (found.version === version && found.value !== value);
    });
    expect(lost).toEqual([]);
    expect(await countWrong()).toEqual([]);
  }, 600_000);
});

test('server logs contain no error after these tests', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
});
