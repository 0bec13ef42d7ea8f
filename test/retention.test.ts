import { Api } from './support/api.js';
import { Fleet, expectDone } from './support/fleet.js';
import { TestServer, createDatabase, query } from './support/server.js';
import { until } from './support/until.js';

/** More rows than one statement deletes. */
const ROWS = 20_000;

const TABLES = ['usage_hours', 'platform_hours', 'request_hours', 'request_routes'] as const;

/** Inserts rows for consecutive hours into each table, ending some days ago. */
async function putRows(url: string, owner: string, daysAgo: number, count: number): Promise<void> {
  const hour = `date_trunc('hour', now(), 'UTC') - make_interval(days => ${daysAgo}, hours => i)`;
  const each = `FROM generate_series(1, ${count}) AS i`;
  await query(url, `INSERT INTO usage_hours SELECT $1::uuid, $1::uuid, 'api:old', ${hour}, 1, 0 ${each}`, [owner]);
  await query(url, `INSERT INTO platform_hours SELECT 'api:old', ${hour}, 1, 0 ${each}`);
  await query(url, `INSERT INTO request_hours SELECT $1::uuid, ${hour}, 1, 0 ${each}`, [owner]);
  await query(url, `INSERT INTO request_routes SELECT ${hour}, 'GET', '/old', 2, 1, 1 ${each}`);
}

/** Counts the remaining test rows in each table. */
async function rowsLeft(url: string): Promise<Record<string, number>> {
  const [row] = await query(
    url,
    `SELECT (SELECT count(*)::int FROM usage_hours WHERE meter = 'api:old') AS usage_hours,
      (SELECT count(*)::int FROM platform_hours WHERE meter = 'api:old') AS platform_hours,
      (SELECT count(*)::int FROM request_hours) AS request_hours,
      (SELECT count(*)::int FROM request_routes WHERE route = '/old') AS request_routes`,
  );
  return row;
}

test('server start: deletes rows older than the retention, keeps newer rows and all totals', async () => {
  const database = await createDatabase();
  const fleet = await Fleet.start(1, database.url);
  let next: TestServer | undefined;
  try {
    const owner = await fleet.makeUser();
    const key = await fleet.makeKey(owner);
    for (let i = 0; i < 3; i++) expect((await new Api(fleet.admin().url).call('api1', key)).status).toBe(200);
    await fleet.stop();
    const [totals] = await query(database.url, 'SELECT total::int AS total, errors::int AS errors FROM request_totals');
    const days: Record<string, number> = { usage_hours: 50, platform_hours: 50, request_hours: 30, request_routes: 30 };
    // Rows around the retention limit, to the hour, and rows far beyond it.
    await putRows(database.url, owner, 0, 60 * 24);
    await putRows(database.url, owner, 1_000, ROWS);
    next = await TestServer.start({ DATABASE_URL: database.url, USAGE_RETENTION_DAYS: '50' });
    const kept = Object.fromEntries(TABLES.map((table) => [table, (days[table] ?? 0) * 24]));
    await until(async () => isGone(await rowsLeft(database.url), kept));
    const left = await rowsLeft(database.url);
    // An hour may end during the test, so the counts can differ by up to two.
    for (const table of TABLES) {
      expect(left[table]).toBeGreaterThanOrEqual(kept[table]! - 2);
      expect(left[table]).toBeLessThanOrEqual(kept[table]!);
    }
    for (const table of TABLES) {
      const [{ oldest }] = await query(
        database.url,
        `SELECT max(now() - hour) < make_interval(days => $1, hours => 1) AS oldest FROM ${table}`,
        [days[table]],
      );
      expect({ table, oldest }).toEqual({ table, oldest: true });
    }
    const admin = new Api(next.url, fleet.admin().token);
    const { calls, requests } = expectDone(await admin.get('/v1/metrics')).body;
    expect({ calls, requests }).toEqual({ calls: { granted: 3, denied: 0 }, requests: totals });
    expect((await admin.get(`/v1/metrics/users/${owner}`)).body.calls.byApi).toEqual({
      api1: { granted: 3, denied: 0 },
    });
    expect(next.output).not.toMatch(/"level":(50|60)/);
  } finally {
    await next?.stop();
    await database.drop();
  }
});

function isGone(left: Record<string, number>, kept: Record<string, number>): boolean {
  return TABLES.every((table) => left[table]! <= kept[table]!);
}
