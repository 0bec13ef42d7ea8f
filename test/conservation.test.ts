import { NO_KEY } from '../src/quota/flow.entity.js';
import { Api } from './support/api.js';
import { Fleet, call, expectDone, outcomeOf, tally, verify, type Key } from './support/fleet.js';
import { load, write, type Reply, type Shot } from './support/load.js';
import { platformMetrics } from './support/metrics.js';
import { recounted } from './support/platform.js';
import { Random } from './support/random.js';
import { TestServer, type ServerProcess } from './support/server.js';
import { until } from './support/until.js';
import { SEED, sizesOf } from './support/sizes.js';

/**
 * Checks that metrics equal the stored rows and the ledger after a seeded mix of all requests on two processes. One of
 * the processes is killed half-way.
 */
const { UNITS } = sizesOf('conservation');
const CONNECTIONS = 16;
const USERS = 12;

const SLUGS = ['api1', 'api2', 'api3'] as const;

/** A user of the load. The load creates and deletes users. */
interface Owner {
  id: string;
  keys: Key[];
  tasks: string[];
  resources: string[];
}

/** What clients know about the units that were charged. */
class Books {
  /** Confirmed units and rejected requests. */
  granted = 0;
  denied = 0;
  /** Units and requests without a response. */
  unknownUnits = 0;
  unknownRequests = 0;
  readonly outcomes: string[] = [];
}

let fleet: Fleet<ServerProcess>;
let admin: Api;
let standIn: TestServer | undefined;

beforeAll(async () => {
  fleet = await Fleet.spawn(2);
  admin = fleet.admin();
});

afterAll(async () => {
  await standIn?.stop();
  await fleet.stop();
});

/** Generates the seeded mix of requests. */
class Mix {
  readonly books = new Books();
  private readonly owners: Owner[] = [];

  constructor(
    private readonly random: Random,
    private readonly credential: string,
  ) {}

  /** Adds a user with limits of all kinds, some of which are reached. */
  async addOwner(): Promise<void> {
    const { random } = this;
    const id = await fleet.makeUser();
    const keys = [await fleet.makeKey(id), await fleet.makeKey(id)];
    if (random.chance(60)) expectDone(await admin.patch(`/v1/users/${id}`, { credits: random.below(15) }));
    if (random.chance(50)) await fleet.setQuota(id, 'resources', random.below(15));
    if (random.chance(50)) await fleet.setQuota(id, 'store.entries', random.below(25));
    if (random.chance(50)) await fleet.setQuota(id, 'api:*', random.below(400), random.pick(['minute', 'lifetime']));
    if (random.chance(30)) expectDone(await admin.post(`/v1/users/${id}/credits`, { amount: 1 + random.below(5) }));
    this.owners.push({ id, keys, tasks: [], resources: [] });
  }

  next(): Shot {
    const { random } = this;
    const owner = random.pick(this.owners);
    const kind = random.below(100);
    if (kind < 30) return this.spend(call(random.pick(owner.keys), random.pick(SLUGS)), 1);
    if (kind < 40) {
      const cost = 1 + random.below(7);
      return this.spend(verify(random.pick(owner.keys), cost, random.pick(SLUGS)), cost);
    }
    if (kind < 52) return this.make('/v1/tasks', { owner: owner.id, completed: random.chance(30) }, owner.tasks);
    if (kind < 62) return this.make('/v1/resources', { owner: owner.id, value: 'x' }, owner.resources);
    if (kind < 69) return this.remove('/v1/tasks', owner.tasks);
    if (kind < 75) return this.remove('/v1/resources', owner.resources);
    if (kind < 85) return this.shoot('POST', '/v1/store/write', this.entries(owner));
    if (kind < 90) return this.shoot('POST', '/v1/store/delete', { owner: owner.id, keys: this.keys() });
    if (kind < 93) return this.shoot('PUT', `/v1/store/k${random.below(40)}?owner=${owner.id}`, { of: 'it' });
    if (kind < 95) return this.change(owner);
    if (kind < 96 && this.owners.length > USERS / 2) return this.dismiss(owner);
    if (kind < 98) return this.shoot('GET', '/v1/metrics/top?by=calls');
    return this.shoot('GET', random.pick(['/v1/metrics', '/nowhere', '/v1/users?limit=1']));
  }

  private shoot(method: string, path: string, body?: object, heard?: (reply: Reply) => void): Shot {
    const text = write(method, path, { authorization: `Bearer ${this.credential}` }, body);
    return { text, heard: (reply) => this.hear(reply, () => heard?.(reply)) };
  }

  private spend(text: string, cost: number): Shot {
    const { books } = this;
    return {
      text,
      heard: (reply) =>
        this.hear(reply, (outcome) => {
          if (outcome === 'ok') books.granted += cost;
          else if (outcome === 'quota_exceeded') books.denied++;
          else if (outcome === 'lost') books.unknownUnits += cost;
        }),
    };
  }

  private hear(reply: Reply, then: (outcome: string) => void): boolean {
    const { books } = this;
    const outcome = reply.text.startsWith('{') ? this.codeOf(reply) : reply.status === 204 ? 'ok' : outcomeOf(reply);
    books.outcomes.push(outcome);
    if (outcome === 'lost') books.unknownRequests++;
    then(outcome);
    return outcome !== 'lost';
  }

  private codeOf({ status, text }: Reply): string {
    const { code, allowed } = JSON.parse(text);
    return allowed !== undefined || status >= 300 ? code : 'ok';
  }

  private make(path: string, body: object, ids: string[]): Shot {
    return this.shoot('POST', path, body, ({ status, text }) => {
      if (status === 201) ids.push(JSON.parse(text).id);
    });
  }

  private remove(path: string, ids: string[]): Shot {
    const id = ids.length > 0 ? ids.splice(this.random.below(ids.length), 1)[0]! : this.random.uuid();
    return this.shoot('DELETE', `${path}/${id}`);
  }

  private keys(): string[] {
    return [...new Set(Array.from({ length: 1 + this.random.below(5) }, () => `k${this.random.below(40)}`))];
  }

  private entries(owner: Owner): object {
    const { random } = this;
    const entries = this.keys().map((key) => ({
      key,
      value: 'x'.repeat(random.below(20)),
      ...(random.chance(20) ? { ttlSeconds: 1 + random.below(3) } : {}),
    }));
    return {
      owner: owner.id,
      entries,
      onConflict: random.pick(['skip', 'replace', 'fail']),
      atomic: random.chance(30),
    };
  }

  private change({ id, keys }: Owner): Shot {
    const { random } = this;
    const what = random.below(4);
    if (what === 0)
      return this.shoot('PATCH', `/v1/users/${id}`, { credits: random.chance(20) ? null : random.below(20) });
    if (what === 1) return this.shoot('POST', `/v1/users/${id}/credits`, { amount: 1 + random.below(3) });
    if (what === 2) return this.shoot('PUT', `/v1/users/${id}/quotas/api:api2`, { limit: random.below(200) });
    return keys.length > 1 ? this.shoot('DELETE', `/v1/keys/${keys.pop()!.id}`) : this.shoot('GET', `/v1/users/${id}`);
  }

  /** Deletes a user while other requests still use it, and adds another user. */
  private dismiss(owner: Owner): Shot {
    this.owners.splice(this.owners.indexOf(owner), 1);
    void this.addOwner().catch((error: unknown) => this.books.outcomes.push(String(error)));
    return this.shoot('DELETE', `/v1/users/${owner.id}`);
  }
}

/** Counts rows, without expired ones. */
const ROWS = `
  SELECT (SELECT count(*)::int FROM users) AS users, (SELECT count(*)::int FROM tasks) AS tasks,
    (SELECT count(*)::int FROM resources) AS resources,
    (SELECT count(*)::int FROM store_entries WHERE expires_at IS NULL OR expires_at > now()) AS "storeEntries"`;

async function metrics(path: string): Promise<any> {
  return path === '' ? platformMetrics(admin) : expectDone(await admin.get(`/v1/metrics${path}`)).body;
}

const total = (points: { granted: number; denied: number }[]): { granted: number; denied: number } => ({
  granted: points.reduce((sum, { granted }) => sum + granted, 0),
  denied: points.reduce((sum, { denied }) => sum + denied, 0),
});

/** Outcomes that must occur. */
const HEARD = ['ok', 'lost', 'quota_exceeded', 'credits_exhausted'];

test(`GET /v1/metrics after a seeded load with a killed process: equal to the rows and the ledger (SEED=${SEED})`, async () => {
  const mix = new Mix(new Random(SEED), String(admin.token));
  for (let i = 0; i < USERS; i++) await mix.addOwner();
  const { books } = mix;
  const [survivor, victim] = fleet.servers as [ServerProcess, ServerProcess];
  const state = { isOver: false, isKilled: false };
  const loading = load([survivor, victim], CONNECTIONS, (server) =>
    state.isOver || (server === 1 && state.isKilled) ? undefined : mix.next(),
  );
  const during = (holds: () => boolean): Promise<void> => until(holds, loading);
  await during(() => books.granted >= UNITS / 2);
  await victim.kill();
  state.isKilled = true;
  await during(() => books.granted >= UNITS && HEARD.every((outcome) => books.outcomes.includes(outcome)));
  state.isOver = true;
  await loading;
  const outcomes = tally(books.outcomes);
  // No other outcomes occur.
  const heard = [
    ...[...HEARD, 'not_found', 'invalid_api_key'],
    ...['version_mismatch', 'conflict', 'key_exists', 'keys_not_found'],
  ];
  expect(Object.keys(outcomes).filter((outcome) => !heard.includes(outcome))).toEqual([]);
  // Statements of the killed process continue after its exit.
  await until(async () => (await busy()) === 0);

  // Calls: the confirmed ones, and at most those in flight besides.
  const said = await metrics('');
  expect(said.calls.granted).toBeGreaterThanOrEqual(books.granted);
  expect(said.calls.granted).toBeLessThanOrEqual(books.granted + books.unknownUnits);
  expect(said.calls.denied).toBeGreaterThanOrEqual(books.denied);
  expect(said.calls.denied).toBeLessThanOrEqual(books.denied + books.unknownRequests);

  // Objects: equal to the rows, when nothing expires in between.
  await until(async () => {
    const [[before], { objects }, [after]] = [await fleet.query(ROWS), await metrics(''), await fleet.query(ROWS)];
    if (JSON.stringify(before) !== JSON.stringify(after)) return false;
    const { total: all, ...kinds } = objects;
    expect(kinds).toEqual(before);
    expect(all).toBe(Object.values<number>(before).reduce((sum, count) => sum + count, 0));
    return true;
  });

  // Users: each equals its rows, and their sum equals the totals. The ledger also includes deleted users.
  const users = await fleet.query('SELECT id FROM users ORDER BY id');
  const each: any[] = [];
  for (const { id } of users) {
    const numbers = await metrics(`/users/${id}`);
    const [rows] = await fleet.query(
      `SELECT (SELECT count(*)::int FROM tasks WHERE owner_id = $1) AS tasks,
           (SELECT count(*)::int FROM tasks WHERE owner_id = $1 AND completed) AS completed,
           (SELECT count(*)::int FROM resources WHERE owner_id = $1) AS resources`,
      [id],
    );
    expect({ tasks: numbers.tasks.total, completed: numbers.tasks.completed, resources: numbers.resources }).toEqual(
      rows,
    );
    const ledger = await fleet.ledger(id);
    expect({ granted: numbers.calls.granted, denied: numbers.calls.denied }).toEqual(ledger);
    expect(total(Object.values(numbers.calls.byApi))).toEqual(ledger);
    expect(total((await metrics(`/series?user=${id}`)).data)).toEqual(ledger);
    each.push({ id, ...numbers });
  }
  const [all] = await fleet.query('SELECT sum(granted)::int AS granted, sum(denied)::int AS denied FROM usage');
  expect(said.calls).toEqual(all);
  const { objects } = await metrics('');
  expect(each.reduce((sum, { tasks }) => sum + tasks.total, 0)).toBe(objects.tasks);
  expect(each.reduce((sum, { resources }) => sum + resources, 0)).toBe(objects.resources);

  // Series: sum up to the totals, by hour and by day, for each API and for all.
  for (const step of ['hour', 'day']) {
    expect(total((await metrics(`/series?step=${step}`)).data)).toEqual(said.calls);
    const byApi = [];
    for (const slug of SLUGS) byApi.push(total((await metrics(`/series?step=${step}&meter=api:${slug}`)).data));
    expect(total(byApi)).toEqual(said.calls);
  }
  const requests = (await metrics('')).requests;
  const series = total((await metrics('/series?meter=requests&step=day')).data);
  // Plus the request that read the totals.
  expect(series).toEqual({ granted: requests.total - requests.errors + 1, denied: requests.errors });

  // Top users by calls: also include calls to the killed process.
  const byCalls = (): unknown[] =>
    each
      .filter(({ calls }) => calls.granted > 0)
      .sort((a, b) => b.calls.granted - a.calls.granted || (a.id < b.id ? -1 : 1))
      .slice(0, 5)
      .map(({ id, calls }, i) => ({ rank: i + 1, id, value: calls.granted }));
  standIn = await TestServer.start({ DATABASE_URL: fleet.url });
  const top = async (api: Api): Promise<unknown[]> =>
    (await platformMetrics(api, '/top?by=calls&limit=5')).data.map(({ rank, user, value }: any) => ({
      ...{ rank, id: user.id, value },
    }));
  expect(await top(admin)).toEqual(byCalls());
  expect(await top(new Api(standIn.url, admin.token))).toEqual(byCalls());

  // Stored sums equal a recount.
  const { kept, made } = await recounted(fleet);
  expect(made).toEqual(kept);
  expect(survivor.output).not.toMatch(/"level":(50|60)/);
  expect(standIn.output).not.toMatch(/"level":(50|60)/);
});

test(`calls while the hour changes every second: each is counted exactly once (SEED=${SEED})`, async () => {
  const servers = [fleet.servers[0]!, standIn!];
  const owners = await Promise.all(Array.from({ length: 6 }, () => fleet.makeUser()));
  const keys = await Promise.all(owners.map((owner) => fleet.makeKey(owner)));
  for (const owner of owners.slice(0, 3)) await fleet.setQuota(owner, 'api:api1', 50);
  const before = await counted();
  await fleet.setWindows({ hour: 1 });
  try {
    const random = new Random(SEED);
    const told = { granted: 0, denied: 0 };
    let sent = 0;
    let deleted = false;
    let isOver = false;
    const loading = load(servers, CONNECTIONS, () => {
      if (isOver) return undefined;
      sent++;
      if (sent > 500 && !deleted) {
        deleted = true;
        const text = write('DELETE', `/v1/users/${owners[5]!}`, { authorization: `Bearer ${String(admin.token)}` });
        return { text, heard: () => true };
      }
      const heard = (reply: Reply): void => {
        const outcome = outcomeOf(reply);
        if (outcome === 'ok') told.granted++;
        else if (outcome === 'quota_exceeded') told.denied++;
        else if (outcome !== 'invalid_api_key') throw new Error(outcome);
      };
      return { text: call(random.pick(keys), random.pick(SLUGS)), heard };
    });
    try {
      await until(() => sent >= 1_000 && told.denied > 0, loading);
      // Waits until the window changes at least twice.
      await until(async () => (await counted()).turns > before.turns + 1, loading);
    } finally {
      isOver = true;
    }
    await loading;
    await until(async () => (await counted()).requests >= before.requests + sent);
    await fleet.query('SELECT sum_hours()');
    expect(await fleet.query('SELECT FROM platform_hours')).not.toEqual([]);
    const after = await counted();
    expect(after.turns).toBeGreaterThan(before.turns);
    const calls = [after.ever, after.byHour, after.ledger].map(({ granted, denied }, i) => {
      const earlier = [before.ever, before.byHour, before.ledger][i]!;
      return { granted: granted - earlier.granted, denied: denied - earlier.denied };
    });
    expect(calls).toEqual([told, told, told]);
    expect(told.denied).toBeGreaterThan(0);
    // The same holds for the requests of each user.
    expect(
      await fleet.query(`
      WITH c AS MATERIALIZED (SELECT owner_id, total, errors, hour_total, hour_errors FROM request_counts),
        h AS MATERIALIZED (SELECT owner_id, sum(total) AS total, sum(errors) AS errors FROM request_hours GROUP BY owner_id)
      SELECT owner_id FROM c LEFT JOIN h USING (owner_id)
      WHERE c.total <> c.hour_total + coalesce(h.total, 0) OR c.errors <> c.hour_errors + coalesce(h.errors, 0)`),
    ).toEqual([]);
  } finally {
    await fleet.query(`
      CREATE OR REPLACE FUNCTION window_start(period text, moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT CASE period WHEN 'lifetime' THEN '-infinity'::timestamptz ELSE date_trunc(period, moment, 'UTC') END
      $$`);
  }
});

interface Counted {
  ever: { granted: number; denied: number };
  byHour: { granted: number; denied: number };
  ledger: { granted: number; denied: number };
  requests: number;
  /** Past hours on record. */
  turns: number;
}

/** Counted calls: of the platform in total, of the platform by hour, and in the ledger. */
async function counted(): Promise<Counted> {
  const sumOf = (rows: string): string =>
    `(SELECT json_build_object('granted', sum(granted), 'denied', sum(denied)) FROM ${rows})`;
  const ever = `(SELECT counts[1] AS granted, denied FROM flows WHERE meter <> 'api:*' AND key_id <> '${NO_KEY}'
    UNION ALL SELECT granted, denied FROM departed_calls) e`;
  const byHour = `(SELECT granted, denied FROM platform_hours
    UNION ALL SELECT granted, denied FROM usage WHERE hour >= (SELECT usage_until FROM platform_settings)) h`;
  const [row] = await fleet.query(`SELECT ${sumOf(ever)} AS ever, ${sumOf(byHour)} AS "byHour",
    ${sumOf('usage')} AS ledger, (SELECT total::int FROM request_totals) AS requests,
    (SELECT count(DISTINCT hour)::int FROM usage_hours) AS turns`);
  return row;
}

/** Number of running statements. */
async function busy(): Promise<number> {
  const [{ count }] = await fleet.query(`SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'quartermaster' AND state <> 'idle'`);
  return count;
}
