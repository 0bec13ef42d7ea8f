import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import pg from 'pg';
import { Api, expectProblem, inOne } from './support/api.js';
import { Fleet, expectDone, type Key } from './support/fleet.js';
import { until } from './support/until.js';

/** More rows than fit into the buffers of a connection. */
const ROWS = 100_000;
const PATH = '/v1/metrics/usage';
const LARGE = '?from=2020-01-01T00:00:00Z&to=2020-01-01T10:00:00Z';

/** Limit of concurrent exports for each process. */
const MAX_AT_ONCE = 2;

interface Line {
  hour: string;
  owner: string;
  ownerName: string | null;
  key: string;
  keyName: string | null;
  meter: string;
  granted: number;
  denied: number;
}

let fleet: Fleet;
let admin: Api;

beforeAll(async () => {
  fleet = await Fleet.start(1);
  admin = fleet.admin();
  await fleet.query(
    `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied)
     SELECT md5((i % 1000)::text)::uuid, md5(i::text)::uuid, 'api:' || CASE WHEN i % 3 = 0 THEN 'api1' ELSE 'gone' END,
       timestamptz '2020-01-01 00:00Z' + i % 10 * interval '1 hour', i, i % 7
     FROM generate_series(1, $1::int) AS i`,
    [ROWS],
  );
});

afterAll(async () => {
  await fleet.stop();
});

function parse(text: string): Line[] {
  expect(text === '' || text.endsWith('\n')).toBe(true);
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

async function exported(query = ''): Promise<Line[]> {
  const answer = expectDone(await admin.get(`${PATH}${query}`, { headers: { 'accept-encoding': 'identity' } }));
  expect(answer.headers.get('content-type')).toBe('application/x-ndjson');
  return parse(answer.text);
}

const HEAD = 'hour,owner,ownerName,key,keyName,meter,granted,denied';

const LEDGER = `
  SELECT to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS hour, owner_id AS owner,
    (SELECT coalesce(username, email) FROM users WHERE id = owner_id) AS "ownerName", key_id AS key,
    (SELECT name FROM api_keys WHERE id = key_id) AS "keyName",
    meter, granted::int AS granted, denied::int AS denied
  FROM usage WHERE hour >= $1 AND hour < $2 ORDER BY usage.hour, owner_id, key_id, meter`;

/** Counts open transactions of exports, recognized by their cursor; housekeeping has transactions too. */
async function openTransactions(): Promise<number> {
  const [{ count }] = await fleet.query(`SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'quartermaster' AND xact_start IS NOT NULL
      AND query LIKE '%streamed%'`);
  return count;
}

/** Starts an export whose client reads nothing until it resumes the response. */
async function pausedExport(query = LARGE): Promise<{ sent: ClientRequest; response: IncomingMessage }> {
  const sent = request(`${admin.url}${PATH}${query}`, {
    headers: { authorization: `Bearer ${String(admin.token)}` },
    agent: false,
  });
  sent.on('error', () => undefined);
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.pause();
  response.on('error', () => undefined);
  return { sent, response };
}

async function readAll(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += chunk as string;
  return text;
}

/** Creates a key and makes calls with it. */
async function use(fields: { plan?: string } = {}): Promise<Key> {
  const key = await fleet.makeKey(await fleet.makeUser(fields));
  await fleet.setQuota(key.owner, 'api:api2', 2);
  for (const slug of ['api1', 'api2', 'api2', 'api2', 'api3']) {
    await new Api(admin.url).call(slug, key);
  }
  return key;
}

describe('GET /v1/metrics/usage', () => {
  test('one line for each hour, owner, key and API, as JSON and CSV', () =>
    inOne('hour', async () => {
      const key = await use();
      const other = await fleet.makeKey(key.owner);
      expectDone(await admin.post('/v1/verify', { key: other.key, api: 'api1', cost: 7 }));
      const [{ hour }] = await fleet.query(`SELECT date_trunc('hour', now(), 'UTC') AS hour`);
      const [{ username }] = await fleet.query('SELECT username FROM users WHERE id = $1', [key.owner]);
      const names = new Map(
        (await admin.get(`/v1/keys?owner=${key.owner}`)).body.data.map(({ id, name }: any) => [id, name]),
      );
      const line = {
        ...{ hour: hour.toISOString(), owner: key.owner, ownerName: username, key: key.id },
        keyName: names.get(key.id),
      };
      const wanted = [
        { ...line, meter: 'api:api1', granted: 1, denied: 0 },
        { ...line, meter: 'api:api2', granted: 2, denied: 1 },
        { ...line, meter: 'api:api3', granted: 1, denied: 0 },
        { ...line, key: other.id, keyName: names.get(other.id), meter: 'api:api1', granted: 7, denied: 0 },
      ];
      const lines = await exported();
      expect(lines.filter(({ owner }) => owner === key.owner)).toEqual(wanted);

      const csv = expectDone(await admin.get('/v1/metrics/usage?format=csv'));
      expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
      const [head, ...rows] = csv.text.split('\n');
      expect(head).toBe(HEAD);
      expect(rows.pop()).toBe('');
      expect(rows).toEqual(lines.map((each) => Object.values(each).join(',')));
    }));

  test('equals the ledger in its order, including deleted keys, APIs and users', async () => {
    const [kept, revoked, gone, passing] = [await use(), await use(), await use(), await admin.createApi()];
    expect((await new Api(admin.url).call(passing, kept)).status).toBe(200);
    expectDone(await admin.delete(`/v1/keys/${revoked.id}`));
    expectDone(await admin.delete(`/v1/users/${gone.owner}`));
    expectDone(await admin.delete(`/v1/apis/${passing}`));
    const from = new Date(Date.now() - 3_600_000).toISOString();
    const lines = await exported(`?from=${from}`);
    expect(lines).toEqual(await fleet.query(LEDGER, [from, 'infinity']));
    for (const key of [kept, revoked, gone]) {
      const units = lines.filter((line) => line.key === key.id).reduce((sum, { granted }) => sum + granted, 0);
      expect(units).toBe(key === kept ? 5 : 4);
    }
    expect(lines.some(({ meter }) => meter === `api:${passing}`)).toBe(true);
    for (const { owner, ownerName, key, keyName } of lines) {
      expect(ownerName === null).toBe(owner === gone.owner);
      expect(keyName === null).toBe([gone.id, revoked.id].includes(key));
    }
    // Lists only ledger rows, not every existing API.
    expect(lines.every(({ meter }) => /^api:[a-z0-9-]+$/.test(meter))).toBe(true);
  });

  test('names of owners and keys: escaped in CSV, also against formula injection', async () => {
    const owner = await fleet.makeUser();
    const names = ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', 'a, b', 'say "a"', 'two\nlines', 'plain'];
    for (const name of names) {
      const { id, key } = (await admin.post('/v1/keys', { name, scopes: ['*'], owner })).body;
      expectDone(await new Api(admin.url).call('api1', { key }));
      // Names that were stored before they were trimmed can begin with a tabulator.
      await fleet.query('UPDATE api_keys SET name = $2 WHERE id = $1', [id, name]);
    }
    const named = (await exported()).filter((line) => line.owner === owner).map(({ keyName }) => keyName);
    expect(named.sort()).toEqual([...names].sort());
    const { text } = await admin.get(`${PATH}?format=csv`);
    for (const cell of [
      ...["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\t=1", '"a, b"', '"say ""a"""', '"two\nlines"', 'plain'],
    ]) {
      expect(text).toContain(`,${cell},api:api1,1,0\n`);
    }
  });

  test('ownerName of a user without a username: the e-mail', async () => {
    const email = `${crypto.randomUUID()}@example.com`;
    const made = expectDone(await admin.post('/v1/users', { email, password: 'Unguessable-7' }));
    const key = await fleet.makeKey(made.body.id);
    expectDone(await new Api(admin.url).call('api1', key));
    expect((await exported()).find((line) => line.key === key.id)?.ownerName).toBe(email);
  });

  test('file name: contains the range of hours', async () => {
    const query = '?from=2020-01-01T03:59:59Z&to=2020-01-01T05:00:00Z';
    const nameOf = async (more: string): Promise<string | null> =>
      (await admin.get(`${PATH}${query}${more}`)).headers.get('content-disposition');
    expect(await nameOf('')).toBe('attachment; filename="usage-2020-01-01T03-2020-01-01T05.ndjson"');
    expect(await nameOf('&format=csv')).toBe('attachment; filename="usage-2020-01-01T03-2020-01-01T05.csv"');
  });

  test('range: includes hours that overlap it, excludes the end', async () => {
    for (const query of [
      '?from=2020-01-01T03:59:59Z&to=2020-01-01T05:00:00Z',
      '?from=2020-01-01T03:00:00Z&to=2020-01-01T04:00:01Z',
      '?from=2020-01-01T05:30:00%2B02:00&to=2020-01-01T06:30:00%2b02:00',
    ]) {
      const hours = new Set((await exported(query)).map(({ hour }) => hour));
      expect([...hours]).toEqual(['2020-01-01T03:00:00.000Z', '2020-01-01T04:00:00.000Z']);
    }
    expect(await exported('?from=2019-01-01&to=2020-01-01')).toEqual([]);
    expect((await admin.get('/v1/metrics/usage?from=2019-01-01&to=2019-01-02&format=csv')).text).toBe(`${HEAD}\n`);
  });

  test('default range: the current month', () =>
    inOne('month', async () => {
      const key = await use();
      const [{ start, before }] = await fleet.query(
        `SELECT date_trunc('month', now(), 'UTC') AS start, date_trunc('month', now(), 'UTC') - interval '1 hour' AS before`,
      );
      const put = `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied) VALUES ($1, $2, $3, $4, 1, 0)`;
      await fleet.query(put, [key.owner, key.id, 'api:first', start]);
      await fleet.query(put, [key.owner, key.id, 'api:before', before]);
      const meters = (await exported()).filter((line) => line.key === key.id).map(({ meter }) => meter);
      expect(meters).toEqual(expect.arrayContaining(['api:first', 'api:api1']));
      expect(meters).not.toContain('api:before');
    }));

  test('100,000 rows: each exactly once, as NDJSON and CSV', async () => {
    const expected = await fleet.query(LEDGER, ['2020-01-01T00:00:00Z', '2020-01-01T10:00:00Z']);
    expect(expected).toHaveLength(ROWS);
    // Compares line by line, because the diff of 100,000 lines is not readable.
    const lines = parse(await readAll((await pausedExport()).response));
    expect(lines).toHaveLength(ROWS);
    expect(lines.find((line, i) => JSON.stringify(line) !== JSON.stringify(expected[i]))).toBeUndefined();
    const csv = (await readAll((await pausedExport(`${LARGE}&format=csv`)).response)).split('\n').slice(1, -1);
    expect(csv).toHaveLength(ROWS);
    expect(csv.find((line, i) => line !== Object.values(expected[i]).join(','))).toBeUndefined();
  });

  test('snapshot: includes rows deleted during the export', async () => {
    const key = '99999999-9999-4999-8999-999999999999';
    const put = `INSERT INTO usage_hours (owner_id, key_id, meter, hour, granted, denied)
      SELECT $1::uuid, $1::uuid, 'api:' || i, '2021-01-01 00:00Z', 1, 0 FROM generate_series(1, 30000) AS i`;
    await fleet.query(put, [key]);
    const { response } = await pausedExport('?from=2021-01-01&to=2021-01-02');
    await fleet.query('DELETE FROM usage_hours WHERE key_id = $1', [key]);
    expect(parse(await readAll(response))).toHaveLength(30_000);
    expect(await exported('?from=2021-01-01&to=2021-01-02')).toEqual([]);
  });
});

describe('GET /v1/metrics/usage: access and limits', () => {
  test('403 for users, 401 without credentials', async () => {
    const user = await admin.createUser();
    expectProblem(await admin.as(user).get(PATH), 403, 'forbidden');
    const nobody = await fetch(`${admin.url}${PATH}`);
    expect(nobody.status).toBe(401);
  });

  test.each([
    ['from after to', '?from=2026-02-02&to=2026-02-01', '/from'],
    ['from in the future', '?from=2100-01-01', '/from'],
    ['from as to', '?from=2026-02-02&to=2026-02-02', '/from'],
    ['100 years', '?from=1976-01-01&to=2076-01-01', '/from'],
    ['no date', '?from=yesterday', '/from'],
    ['no time zone', '?to=2026-02-02T00:00:00', '/to'],
    ['a time zone by name', '?to=2026-02-02T00:00:00Europe/Berlin', '/to'],
    ['a time zone that does not exist', '?to=2026-02-02T00:00:00%2B99:99', '/to'],
    ['a day that does not exist', '?from=2026-02-30', '/from'],
    ['an unknown format', '?format=xml', '/format'],
    ['two formats', '?format=csv&format=json', '/format'],
    ['an unknown parameter', '?user=me', '/user'],
  ])('400 for %s', async (_what, query, pointer) => {
    const answer = await admin.get(`${PATH}${query}`);
    expectProblem(answer, 400, 'validation_failed');
    expect(answer.body.errors[0].pointer).toBe(pointer);
  });

  test('streams rows: waits for a slow client with a bounded buffer', async () => {
    const { sent, response } = await pausedExport();
    await until(async () => (await openTransactions()) > 0);
    // The client reads nothing, so the server must not fetch further rows.
    let looks = 0;
    let last = '';
    await until(async () => {
      const [{ state, since }] = await fleet.query(`SELECT state, state_change::text AS since FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'quartermaster' AND query LIKE '%streamed%'`);
      looks = state === 'idle in transaction' && since === last ? looks + 1 : 0;
      last = since;
      // The event loop of the server runs between two checks, so the export would continue if the client read.
      await admin.get('/v1/users/me');
      return looks >= 5;
    });
    expect(await openTransactions()).toBe(1);
    const text = await readAll(response);
    expect(text.split('\n')).toHaveLength(ROWS + 1);
    await until(async () => (await openTransactions()) === 0);
    sent.destroy();
  });

  test(`503 for more than ${MAX_AT_ONCE} concurrent exports, until one ends`, async () => {
    const running = await Promise.all(Array.from({ length: MAX_AT_ONCE }, () => pausedExport()));
    for (let i = 0; i < 3; i++) {
      const refused = await admin.get(PATH);
      expectProblem(refused, 503, 'overloaded');
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    }
    // Invalid parameters are still rejected with 400.
    expectProblem(await admin.get(`${PATH}?from=2100-01-01`), 400, 'validation_failed');
    await until(async () => (await openTransactions()) === MAX_AT_ONCE);
    const [first, ...others] = running;
    await readAll(first!.response);
    await until(async () => (await admin.get(PATH)).status === 200);
    for (const { sent } of others) sent.destroy();
    expect((await exported('?from=2019-01-01&to=2019-01-02')).length).toBe(0);
    await until(async () => (await openTransactions()) === 0);
  });

  test('client disconnects, ten times: every connection returns to the pool', async () => {
    for (let i = 0; i < 10; i++) {
      await until(async () => (await openTransactions()) < MAX_AT_ONCE);
      const { sent, response } = await pausedExport();
      if (i % 2 === 0) await once(response.resume(), 'data');
      sent.destroy();
    }
    await until(async () => (await openTransactions()) === 0);
    expect(await exported('?from=2020-01-01T00:00:00Z&to=2020-01-01T01:00:00Z')).toHaveLength(ROWS / 10);
  });
});

async function waiting(): Promise<number> {
  const [{ count }] = await fleet.query(`SELECT count(*)::int AS count FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'quartermaster' AND wait_event_type = 'Lock'`);
  return count;
}

describe('GET /v1/metrics/usage: unread exports', () => {
  test('HEAD: releases the connection', async () => {
    for (let i = 0; i < 3; i++) {
      const answer = await admin.send('HEAD', `${PATH}${LARGE}`);
      expect({ status: answer.status, text: answer.text }).toEqual({ status: 200, text: '' });
    }
    await until(async () => (await openTransactions()) === 0);
  });

  test('client disconnects before the first row: releases the connection', async () => {
    const locking = new pg.Client({ connectionString: fleet.url });
    await locking.connect();
    try {
      await locking.query('BEGIN');
      await locking.query('LOCK TABLE usage_hours IN ACCESS EXCLUSIVE MODE');
      const readers = Array.from({ length: MAX_AT_ONCE }, () => {
        const sent = request(`${admin.url}${PATH}${LARGE}`, {
          headers: { authorization: `Bearer ${String(admin.token)}` },
          agent: false,
        });
        sent.on('error', () => undefined);
        return sent.end();
      });
      await until(async () => (await waiting()) === MAX_AT_ONCE);
      for (const reader of readers) reader.destroy();
      // Responses to later requests prove that the server has seen the disconnect.
      for (let i = 0; i < 3; i++) await admin.get('/livez');
      await locking.query('COMMIT');
      await until(async () => (await waiting()) === 0);
    } finally {
      await locking.end();
    }
    await until(async () => (await openTransactions()) === 0);
    expect(await exported('?from=2019-01-01&to=2019-01-02')).toEqual([]);
  });
});

test('server logs contain no error after these tests', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60).*"code":"internal_error"/);
});
