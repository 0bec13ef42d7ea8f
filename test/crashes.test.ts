import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedPostgres } from '../dist/src/embedded-postgres/embedded-postgres.js';
import { Api, expectProblem, uniqueName, type Answer } from './support/api.js';
import { Fleet, call, expectDone, outcomeOf, tally, verify, type Key } from './support/fleet.js';
import { headerOf, load, type Reply, type Shot } from './support/load.js';
import { Random } from './support/random.js';
import { TestServer, type ServerProcess } from './support/server.js';
import { holdingsOf } from './support/store.js';
import { until } from './support/until.js';
import { SEED, sizesOf } from './support/sizes.js';

/** How often the tests kill a server, and PostgreSQL. */
const { KILLS } = sizesOf('crashes');
const CONNECTIONS = 32;

/** What clients know about the charged units of an owner. */
class Books {
  /** Confirmed units. */
  told = 0;
  /** Units of requests without a definite response. */
  unknown = 0;

  constructor(
    readonly fleet: Fleet<ServerProcess>,
    readonly key: Key,
  ) {}
}

/** Checks that all confirmed units are recorded, plus at most the unknown ones, and that all counts agree. */
async function expectRight({ fleet, key, told, unknown }: Books): Promise<void> {
  const [{ ledger, counter, all }] = await fleet.query(
    `SELECT (SELECT sum(granted)::int FROM usage WHERE owner_id = $1) AS ledger,
       (SELECT sum(counts[1])::int FROM flows WHERE owner_id = $1 AND meter <> 'api:*') AS counter,
       (SELECT counts[1]::int FROM flows WHERE owner_id = $1 AND meter = 'api:*') AS all`,
    [key.owner],
  );
  expect({ counter, all }).toEqual({ counter: ledger, all: ledger });
  expect(ledger).toBeGreaterThanOrEqual(told);
  expect(ledger).toBeLessThanOrEqual(told + unknown);
}

/** Creates a key with a limit that is checked but never reached. */
async function openBooks(fleet: Fleet<ServerProcess>): Promise<Books> {
  const owner = await fleet.makeUser();
  await fleet.setQuota(owner, 'api:*', 1_000_000_000);
  return new Books(fleet, await fleet.makeKey(owner));
}

/** A random call, or a verification of 1 to 7 units. */
function shoot(books: Books, random: Random, heard: (reply: Reply, outcome: string, cost: number) => unknown): Shot {
  const cost = random.chance(50) ? 1 : 1 + random.below(7);
  const text = cost === 1 ? call(books.key) : verify(books.key, cost);
  return {
    text,
    heard: (reply: Reply) => {
      const outcome = outcomeOf(reply);
      if (outcome === 'ok') books.told += cost;
      return heard(reply, outcome, cost);
    },
  };
}

let folder: string;
let dataDir: string;
let postgres: EmbeddedPostgres;
let fleet: Fleet<ServerProcess>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quartermaster-crashes-'));
  await chmod(folder, 0o755);
  dataDir = join(folder, 'data');
  postgres = await EmbeddedPostgres.start({ dataDir });
  fleet = await Fleet.spawn(2, postgres.url);
});

afterAll(async () => {
  await fleet.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

describe('SIGKILL of a server under load', () => {
  test(`confirmed units are all recorded, with at most those in flight besides; with an Idempotency-Key exactly once (SEED=${SEED})`, async () => {
    const books = await openBooks(fleet);
    /** For requests with an Idempotency-Key, which are retried until they succeed. */
    const repeated = await openBooks(fleet);
    const random = new Random(SEED);
    const outcomes: string[] = [];
    const again: { text: string; cost: number }[] = [];
    const start = (): Promise<ServerProcess> => TestServer.spawn({ DATABASE_URL: fleet.url });
    const shootOnce = (): Shot => {
      const cost = 1 + random.below(7);
      const text = verify(repeated.key, cost, 'api1', { 'idempotency-key': uniqueName() });
      const heard = (reply: Reply): boolean => {
        const outcome = outcomeOf(reply);
        outcomes.push(outcome);
        if (outcome === 'ok') repeated.told += cost;
        else again.push({ text, cost });
        return outcome === 'ok';
      };
      return { text, heard };
    };
    for (let kill = 0, next = start(); kill < KILLS; kill++) {
      const victim = await next;
      if (kill + 1 < KILLS) next = start();
      const state = { before: books.told, isKilled: false };
      const loading = load([fleet.servers[0]!, victim], CONNECTIONS, () => {
        if (state.isKilled) return undefined;
        if (random.chance(25)) return shootOnce();
        return shoot(books, random, (_reply, outcome, cost) => {
          outcomes.push(outcome);
          if (outcome === 'lost') books.unknown += cost;
          return outcome === 'ok';
        });
      });
      const enough = state.before + 500 + random.below(500);
      await until(() => books.told > enough, loading);
      await victim.kill();
      state.isKilled = true;
      await loading;
      await expectRight(books);
      // The first attempt can still run, because its statement continues after the server was killed.
      await load(fleet.servers, 4, () => {
        const each = again.shift();
        if (!each) return undefined;
        const heard = async (reply: Reply): Promise<void> => {
          const outcome = outcomeOf(reply);
          if (outcome === 'ok') repeated.told += each.cost;
          else again.push(each);
          if (outcome === 'idempotency_in_progress') await sleep(5);
          else outcomes.push(outcome);
        };
        return { text: each.text, heard };
      });
      expect(again).toEqual([]);
      await expectRight(repeated);
    }
    expect(Object.keys(tally(outcomes)).sort()).toEqual(['lost', 'ok']);
    for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
  }, 600_000);
});

describe('Two servers under load', () => {
  /** Runs the load until `end`. After a 503 a connection waits until its server is ready again. */
  function loading(
    books: Books,
    random: Random,
    outcomes: string[],
  ): { done: Promise<void>; end: () => Promise<void> } {
    const state = { isOver: false };
    const wait = async (server: number): Promise<void> => {
      const api = new Api(fleet.servers[server]!.url);
      await until(async () => (await api.get('/readyz')).status === 200);
    };
    const done = load(fleet.servers, CONNECTIONS, (server) => {
      if (state.isOver) return undefined;
      return shoot(books, random, async (reply, outcome, cost) => {
        outcomes.push(outcome);
        if (outcome === 'ok') return;
        books.unknown += cost;
        if (Number(headerOf(reply, 'retry-after')) < 1) outcomes.push('no Retry-After');
        await wait(server);
      });
    });
    return {
      done,
      end: () => {
        state.isOver = true;
        return done;
      },
    };
  }

  test(`SIGKILL of PostgreSQL or one of its processes: every confirmed unit is recorded (SEED=${SEED})`, async () => {
    const books = await openBooks(fleet);
    const outcomes: string[] = [];
    const load = loading(books, new Random(SEED), outcomes);
    for (let kill = 0; kill < KILLS; kill++) {
      const before = books.told;
      await until(() => books.told > before + 500, load.done);
      const refusals = outcomes.length - (tally(outcomes).ok ?? 0);
      if (kill % 2 === 0) {
        process.kill(
          Number.parseInt(await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8'), 10),
          'SIGKILL',
        );
      } else {
        const busy = `SELECT pid FROM pg_stat_activity WHERE application_name = 'quartermaster' AND state = 'active' LIMIT 1`;
        let rows: { pid: number }[] = [];
        await until(async () => (rows = await fleet.query(busy)).length > 0, load.done);
        process.kill(rows[0]!.pid, 'SIGKILL');
      }
      await until(() => outcomes.length - (tally(outcomes).ok ?? 0) > refusals, load.done);
      const after = books.told;
      await until(() => books.told > after + 100, load.done);
    }
    await load.end();
    expect(Object.keys(tally(outcomes)).sort()).toEqual(['database_unavailable', 'ok']);
    await expectRight(books);
    expect(fleet.servers.map((server) => server.child.exitCode)).toEqual([null, null]);
  }, 300_000);

  test('stop of PostgreSQL: 503 until it runs again, then 200', async () => {
    const books = await openBooks(fleet);
    const outcomes: string[] = [];
    const load = loading(books, new Random(0), outcomes);
    await until(() => books.told > 200, load.done);
    expectDone(await fleet.admin().put('/v1/store/kept', { of: 'before' }));
    const { url } = postgres;
    await postgres.stop();
    const { key } = books.key;
    const expectAway = (answer: Answer): void => {
      expectProblem(answer, 503, 'database_unavailable');
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    };
    const replace = { entries: [{ key: 'kept', value: 'lost' }], onConflict: 'replace' };
    const ofStore = fleet.admins.flatMap((admin) => [
      admin.post('/v1/store/write', replace),
      admin.post('/v1/store/write', replace, { headers: { 'idempotency-key': 'c' } }),
      admin.post('/v1/store/read', { keys: ['kept'] }),
      admin.post('/v1/store/delete', { keys: ['kept'] }),
      admin.get('/v1/store'),
      admin.get('/v1/store/kept'),
      admin.put('/v1/store/kept', 'lost'),
      admin.delete('/v1/store/kept'),
    ]);
    for (const answer of await Promise.all(ofStore)) expectAway(answer);
    for (const server of fleet.servers) {
      const api = new Api(server.url);
      expectAway(await api.get('/call/api1', { headers: { 'x-api-key': key } }));
      expectAway(await api.post('/call/api1', undefined, { headers: { 'x-api-key': key, 'idempotency-key': 'a' } }));
      const forward = { headers: { 'x-api-key': key } };
      expectAway(await api.get('/v1/forward-auth?api=api1', forward));
      expectAway(await api.get('/v1/forward-auth?api=api1&denyStatus=403', forward));
      expectAway(await api.post('/v1/verify', { key, api: 'api1' }));
      expectAway(await api.post('/v1/verify', { key, api: 'api1' }, { headers: { 'idempotency-key': 'b' } }));
      // A key with a wrong checksum is rejected without the database.
      const typo = `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`;
      expectProblem(await api.get('/call/api1', { headers: { 'x-api-key': typo } }), 401, 'invalid_api_key');
    }
    postgres = await EmbeddedPostgres.start({ dataDir });
    expect(postgres.url).toBe(url);
    const before = books.told;
    await until(() => books.told > before + 200, load.done);
    await load.end();
    expect(Object.keys(tally(outcomes)).sort()).toEqual(['database_unavailable', 'ok']);
    await expectRight(books);
    for (const server of fleet.servers) {
      const again = { headers: { 'x-api-key': key, 'idempotency-key': 'a' } };
      const answer = await new Api(server.url).post('/call/api1', undefined, again);
      expect({ status: answer.status, text: answer.text }).toEqual({ status: 200, text: 'API1' });
    }
    for (const [i, admin] of fleet.admins.entries()) {
      expect((await admin.get('/v1/store/kept')).body).toEqual({ of: 'before' });
      const again = { headers: { 'idempotency-key': `c${i}` } };
      const entries = [{ key: 'new', value: i }];
      expect((await admin.post('/v1/store/write', { entries }, again)).body).toMatchObject({
        written: 1 - i,
        skipped: i,
      });
    }
    expect((await holdingsOf(fleet, [])).wrong).toEqual([]);
    expect(fleet.servers.map((server) => server.child.exitCode)).toEqual([null, null]);
  });
});
