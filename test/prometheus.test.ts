import { setTimeout as sleep } from 'node:timers/promises';
import { Api, expectProblem, sendExactly, uniqueName } from './support/api.js';
import { Fleet, expectDone } from './support/fleet.js';
import { childrenOf } from './support/processes.js';
import { TestServer, createDatabase, type ServerProcess } from './support/server.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** A scrape: the type of each metric, and the samples. */
interface Scrape {
  types: Map<string, string>;
  samples: Sample[];
}

const { KILLS } = sizesOf('prometheus');

const LABELS = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)/y;

/** Parses the text exposition format; fails on an invalid line. */
function parse(text: string): Scrape {
  const scrape: Scrape = { types: new Map(), samples: [] };
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const type = /^# TYPE (\w+) (counter|gauge|histogram|summary|untyped)$/.exec(line);
    if (type) {
      if (scrape.types.has(type[1]!)) throw new Error(`A metric is declared twice: ${line}`);
      scrape.types.set(type[1]!, type[2]!);
    } else if (!/^# HELP \w+ \S/.test(line)) {
      const [, name, labels = '', value] =
        /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (NaN|[+-]Inf|[+-]?[\d.]+(?:e[+-]?\d+)?)$/i.exec(line) ?? fail(line);
      scrape.samples.push({ name: name!, labels: labelsOf(labels), value: Number(value!.replace('Inf', 'Infinity')) });
    }
  }
  return scrape;
}

function fail(line: string): never {
  throw new Error(`No line of the text format: ${line}`);
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABELS.lastIndex = 0;
  while (LABELS.lastIndex < text.length) {
    const at = LABELS.lastIndex;
    const [, name, value] = LABELS.exec(text) ?? fail(text.slice(at));
    if (Object.hasOwn(labels, name!)) throw new Error(`A label is repeated: ${text}`);
    labels[name!] = value!;
  }
  return labels;
}

async function scrape(api: Api): Promise<Scrape> {
  // Uses a new connection, which may reach another worker.
  const answer = await sendExactly(api, 'GET', '/metrics');
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4; charset=utf-8$/);
  return parse(answer.text);
}

const identity = ({ name, labels }: Sample): string =>
  `${name} ${JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))}`;

/** Returns the metric family of a sample. */
const familyOf = ({ types }: Scrape, name: string): string =>
  types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');

/** Returns the values that never decrease: those of counters and histograms. */
function rising(scrape: Scrape): Map<string, number> {
  return new Map(
    scrape.samples
      .filter(({ name }) => ['counter', 'histogram'].includes(scrape.types.get(familyOf(scrape, name)) ?? ''))
      .map((sample) => [identity(sample), sample.value]),
  );
}

/** Returns the monotonic series that decreased or disappeared. */
function fallen(before: Scrape, after: Scrape): string[] {
  const now = rising(after);
  return [...rising(before)].flatMap(([name, value]) => {
    const current = now.get(name);
    return current === undefined || current < value ? [`${name}: ${value} → ${String(current)}`] : [];
  });
}

function valueOf({ samples }: Scrape, name: string, labels: Record<string, string> = {}): number {
  return samples
    .filter(
      (each) => each.name === name && Object.entries(labels).every(([label, value]) => each.labels[label] === value),
    )
    .reduce((sum, { value }) => sum + value, 0);
}

/** Checks that every histogram is well formed. */
function expectHistograms(scrape: Scrape): void {
  const series = new Map<string, { buckets: [le: number, count: number][]; count?: number; sum?: number }>();
  for (const { name, labels, value } of scrape.samples) {
    const family = familyOf(scrape, name);
    if (scrape.types.get(family) !== 'histogram') continue;
    const { le, ...others } = labels;
    const key = identity({ name: family, labels: others, value });
    const known = series.get(key) ?? { buckets: [] };
    series.set(key, known);
    if (name.endsWith('_bucket')) known.buckets.push([Number(le!.replace('Inf', 'Infinity')), value]);
    else if (name.endsWith('_count')) known.count = value;
    else if (name.endsWith('_sum')) known.sum = value;
    else fail(name);
  }
  expect(series.size).toBeGreaterThan(3);
  // One `expect`, because a scrape has hundreds of histograms, and each `expect` takes CPU time.
  const malformed = [...series].filter(([, { buckets, count, sum }]) => {
    const isRising = buckets.every(
      ([le, value], i) => i === 0 || (le > buckets[i - 1]![0] && value >= buckets[i - 1]![1]),
    );
    const [le, all] = buckets.at(-1) ?? [];
    return !(isRising && le === Infinity && all === count && sum! >= 0);
  });
  expect(malformed).toEqual([]);
}

describe('GET /metrics', () => {
  let fleet: Fleet<ServerProcess>;
  let admin: Api;

  beforeAll(async () => {
    // The metrics of a process cover all servers in it.
    fleet = await Fleet.spawn(1);
    admin = fleet.admin();
  });

  afterAll(async () => {
    await fleet.stop();
  });

  test('valid text format; every metric is declared and named quartermaster_*', async () => {
    const said = await scrape(admin);
    expect(said.samples.length).toBeGreaterThan(50);
    expect([...said.types.keys()].filter((name) => !/^quartermaster_[a-z0-9_]+$/.test(name))).toEqual([]);
    expect(said.samples.filter(({ name }) => !said.types.has(familyOf(said, name)))).toEqual([]);
    const identities = said.samples.map(identity);
    expect(new Set(identities).size).toBe(identities.length);
    expectHistograms(said);
    // Only counters end in `_total`, as `promtool check metrics` requires.
    const misnamed = [...said.types].filter(([name, type]) => (type === 'counter') !== name.endsWith('_total'));
    expect(misnamed).toEqual([]);
    const reserved = [...said.types].filter(([name]) => /_(bucket|count|sum)$/.test(name));
    expect(reserved).toEqual([]);
    for (const name of [
      'http_requests_total',
      'http_request_duration_seconds',
      'spends_total',
      'usage_pending',
      'usage_dropped_total',
      'coalescer_batch_size',
      'coalescer_wait_seconds',
      'coalescer_waiting',
      'coalescer_capacity',
      'coalescer_refused_total',
      'database_connections',
      'database_connections_max',
      'database_waiting',
      'audit_unsealed_seconds',
      'build_info',
      'nodejs_eventloop_lag_seconds',
      'process_cpu_seconds_total',
      'process_resident_memory_bytes',
    ]) {
      expect([...said.types.keys()]).toContain(`quartermaster_${name}`);
    }
  });

  test('counters increase exactly by the requests and spends', async () => {
    const owner = await fleet.makeUser();
    const key = await fleet.makeKey(owner);
    await fleet.setQuota(owner, 'api:api2', 1);
    await fleet.setQuota(owner, 'resources', 1);
    await fleet.setQuota(owner, 'store.entries', 2);
    expectDone(await admin.patch(`/v1/users/${owner}`, { credits: 2 }));
    const before = await scrape(admin);
    const anybody = new Api(admin.url);
    for (const slug of ['api1', 'api2', 'api2', 'api2']) await anybody.call(slug, key);
    expectDone(await admin.post('/v1/verify', { key: key.key, api: 'api1', cost: 100 }));
    for (let i = 0; i < 3; i++) await admin.post('/v1/tasks', { owner });
    for (let i = 0; i < 3; i++) await admin.post('/v1/resources', { owner, value: 'x' });
    for (const entry of ['a', 'b', 'c'])
      await admin.post('/v1/store/write', { owner, entries: [{ key: entry, value: 1 }] });
    expect((await admin.get('/v1/users?limit=0')).status).toBe(400);
    const after = await scrape(admin);
    const risen = (name: string, labels: Record<string, string>): number =>
      valueOf(after, `quartermaster_${name}`, labels) - valueOf(before, `quartermaster_${name}`, labels);
    const spends = (kind: string): number[] =>
      ['granted', 'denied'].map((outcome) => risen('spends_total', { kind, outcome }));
    expect({
      calls: spends('calls'),
      tasks: spends('tasks'),
      resources: spends('resources'),
      store: spends('store'),
    }).toEqual({
      calls: [3, 2],
      tasks: [2, 1],
      resources: [1, 2],
      store: [2, 1],
    });
    const requests = (method: string, route: string): number[] =>
      ['2xx', '4xx', '5xx'].map((status) => risen('http_requests_total', { method, route, status }));
    expect(requests('GET', '/call/:slug')).toEqual([2, 2, 0]);
    expect(requests('POST', '/v1/tasks')).toEqual([2, 1, 0]);
    expect(requests('GET', '/v1/users')).toEqual([0, 1, 0]);
    expect(risen('http_request_duration_seconds_count', { method: 'GET', route: '/call/:slug' })).toBe(4);
    expect(risen('http_request_duration_seconds_sum', { method: 'GET', route: '/call/:slug' })).toBeGreaterThan(0);
    expect(fallen(before, after)).toEqual([]);
    expectHistograms(after);
    // The duration histogram counts the same requests as the request counter.
    for (const { labels, value } of after.samples.filter(
      ({ name }) => name === 'quartermaster_http_request_duration_seconds_count',
    )) {
      expect({ labels, value: valueOf(after, 'quartermaster_http_requests_total', labels) }).toEqual({ labels, value });
    }
    const size = after.samples.filter(({ name }) => name === 'quartermaster_coalescer_batch_size_sum');
    expect(size.length).toBeGreaterThan(2);
    // Each statement of a coalescer records one wait and one batch size.
    for (const { labels } of size) {
      expect(valueOf(after, 'quartermaster_coalescer_wait_seconds_count', labels)).toBe(
        valueOf(after, 'quartermaster_coalescer_batch_size_count', labels),
      );
    }
    const [active, idle, most] = [
      valueOf(after, 'quartermaster_database_connections', { state: 'active' }),
      valueOf(after, 'quartermaster_database_connections', { state: 'idle' }),
      valueOf(after, 'quartermaster_database_connections_max'),
    ];
    expect(active + idle).toBeGreaterThan(0);
    expect(active + idle).toBeLessThanOrEqual(most);
  });

  test('labels contain no user data, and more requests create no new series', async () => {
    const email = `${uniqueName()}@example.com`;
    const user = await admin.createUser({ email });
    const mine = admin.as(user);
    const key = await mine.createKey();
    const slug = await admin.createApi();
    const plan = await admin.createPlan();
    const stored = uniqueName();
    const ask = async (turn: number): Promise<void> => {
      const junk = `${stored}${turn}`;
      for (const api of [mine, admin]) {
        for (const name of [user.id, user.username, email, 'me']) {
          await api.get(`/v1/users/${name}`);
          await api.get(`/v1/metrics/users/${name}`);
          await api.get(`/v1/users/${name}/quotas`);
          await api.get(`/v1/metrics/series?user=${name}&meter=api:${slug}`);
        }
        await api.put(`/v1/store/${junk}`, junk);
        await api.get(`/v1/store/${junk}`);
        await api.get(`/v1/plans/${plan}`);
        await api.get(`/v1/apis/${slug}`);
        await api.get(`/v1/resources/${user.id}`);
        await api.get(`/v1/tasks/${junk}`);
      }
      for (const path of [slug, `${slug}/${junk}`, junk]) await new Api(admin.url).call(path, key);
      for (const path of [
        `/${junk}`,
        `/v1/${junk}`,
        `/v1/users/${user.id}/${junk}`,
        `/call`,
        `/${user.username}/${email}`,
      ]) {
        await mine.get(path);
        await mine.delete(path);
      }
      await sendExactly(admin, 'PROPFIND', `/${junk}`).catch(() => undefined);
      await sendExactly(admin, 'GET', `/%zz${junk}`);
      await sendExactly(admin, 'GET', `/v1/users/${'x'.repeat(5_000)}${junk}`);
    };
    await ask(0);
    const before = await scrape(admin);
    await ask(1);
    await ask(2);
    const after = await scrape(admin);
    const text = JSON.stringify([before, after].map(({ samples }) => samples.map(({ labels }) => labels)));
    for (const secret of [user.id, user.username, email, key.id, key.key, key.hint, slug, plan, stored]) {
      expect(text.toLowerCase()).not.toContain(secret.toLowerCase());
    }
    const names = (scrape: Scrape): string[] =>
      scrape.samples.map(identity).filter((name) => !/gc_duration|active_(resources|handles|requests)/.test(name));
    const known = new Set(names(before));
    expect(names(after).filter((name) => !known.has(name))).toEqual([]);
    expect(fallen(before, after)).toEqual([]);
  });
});

describe('METRICS_TOKEN', () => {
  test('GET /metrics: 200 only with the token, 400 or 401 otherwise', async () => {
    const token = 'a token of Prometheus’ own'.replace('’', '');
    const database = await createDatabase();
    const server = await TestServer.start({ DATABASE_URL: database.url, METRICS_TOKEN: token });
    try {
      const anybody = new Api(server.url);
      const admin = await anybody.admin();
      const as = (authorization: string): Promise<any> => anybody.get('/metrics', { headers: { authorization } });
      for (const answer of [
        await anybody.get('/metrics'),
        await admin.get('/metrics'),
        await as(`Bearer ${token}x`),
        await as(`Bearer ${token.slice(0, -1)}`),
        await as(`Basic ${token}`),
        await as(token),
        await as('Bearer '),
        await anybody.get(`/metrics?token=${encodeURIComponent(token)}`),
        await anybody.get('/metrics', { headers: { 'x-api-key': token } }),
      ]) {
        expect(answer.text).not.toContain('quartermaster_');
        expect([400, 401]).toContain(answer.status);
      }
      expectProblem(await anybody.get('/metrics'), 401, 'invalid_token');
      expectProblem(await as(`Bearer ${token}x`), 401, 'invalid_token');
      const answer = await as(`Bearer ${token}`);
      expect(answer.status).toBe(200);
      expect(parse(answer.text).samples.length).toBeGreaterThan(50);
      // The token is not valid on other routes.
      expect((await new Api(server.url, token).get('/v1/metrics')).status).toBe(401);
    } finally {
      await server.stop();
      await database.drop();
    }
  });
});

describe('WORKERS=2', () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let server: ServerProcess;
  let anybody: Api;

  beforeAll(async () => {
    database = await createDatabase();
    server = await TestServer.spawn({ DATABASE_URL: database.url, DATABASE_POOL: '10', WORKERS: '2' });
    anybody = new Api(server.url);
  });

  afterAll(async () => {
    await server.stop();
    await database.drop();
  });

  /** Returns the worker processes of the primary. */
  const workers = (): Promise<number[]> => childrenOf(server.child.pid ?? 0);

  const unmatched = (scrape: Scrape): number =>
    valueOf(scrape, 'quartermaster_http_requests_total', { route: '(unmatched)' });

  /** Gauges cover live workers only: 20 is the sum of the connection limits of both. */
  const bothServe = async (): Promise<boolean> =>
    valueOf(await scrape(anybody), 'quartermaster_database_connections_max') === 20;

  /** Sends requests on new connections, so that both workers get some. */
  async function ask(count: number): Promise<void> {
    for (let i = 0; i < count; i++) expect((await sendExactly(anybody, 'GET', '/nowhere')).status).toBe(404);
  }

  test('GET /metrics: sums over both workers, which never decrease, even after a worker is killed', async () => {
    await until(bothServe);
    let last = await scrape(anybody);
    /** Sends requests and scrapes until they are counted: the sums omit a worker that does not answer in time. */
    const expectRisen = async (count: number): Promise<void> => {
      const expected = unmatched(last) + count;
      await ask(count);
      do {
        const next = await scrape(anybody);
        expect(fallen(last, next)).toEqual([]);
        expectHistograms(next);
        last = next;
      } while (unmatched(last) < expected);
      expect(unmatched(last)).toBe(expected);
    };
    expect(unmatched(last)).toBe(0);
    await expectRisen(20);
    for (let i = 1; i <= 5; i++) await expectRisen(4);
    for (let kill = 0; kill < KILLS; kill++) {
      const [victim] = (await workers()) as [number];
      process.kill(victim, 'SIGKILL');
      await until(async () => !(await workers()).includes(victim));
      for (let i = 0; i < 3; i++) {
        const next = await scrape(anybody);
        expect(fallen(last, next)).toEqual([]);
        expect(unmatched(next)).toBe(unmatched(last));
        last = next;
      }
      await until(bothServe);
      await expectRisen(6);
    }
  });

  test('GET /metrics: 30 concurrent scrapes return the same sum', async () => {
    const before = unmatched(await scrape(anybody));
    await ask(10);
    let count = 0;
    await until(async () => (count = unmatched(await scrape(anybody))) >= before + 10);
    const scrapes = await Promise.all(Array.from({ length: 30 }, () => scrape(anybody)));
    expect(scrapes.map(unmatched)).toEqual(Array(30).fill(count));
  });

  test('GET /metrics during shutdown: 200 or a closed connection, and the server exits with 0', async () => {
    const outcomes: string[] = [];
    const state = { isOver: false };
    const asking = Array.from({ length: 6 }, async () => {
      while (!state.isOver) {
        const outcome = await sendExactly(anybody, 'GET', '/metrics').then(
          ({ status }) => String(status),
          (error: unknown) => (error as NodeJS.ErrnoException).code ?? (error as Error).message,
        );
        outcomes.push(outcome);
        if (outcome !== '200') await sleep(10);
      }
    });
    const all = Promise.all(asking);
    try {
      await until(() => outcomes.length > 20, all);
      expect(await server.stop()).toBe(0);
    } finally {
      state.isOver = true;
    }
    await all;
    expect(
      outcomes.filter((outcome) => !['200', 'ECONNREFUSED', 'ECONNRESET', 'socket hang up'].includes(outcome)),
    ).toEqual([]);
  });
});
