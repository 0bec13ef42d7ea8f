import { uniqueName, type Api, type Answer } from './support/api.js';
import { Fleet, expectDone, tally, type Key } from './support/fleet.js';
import { sizesOf } from './support/sizes.js';
import { until } from './support/until.js';

/** Changes made on one server, which the other servers must apply to the next request. */
const { ROUNDS, REVOCATIONS } = sizesOf('nodes');
let fleet: Fleet;
/** Every key that a test received; the last test searches dumps and logs for them. */
const shown: Key[] = [];

beforeAll(async () => {
  fleet = await Fleet.start(3);
});

afterAll(async () => {
  await fleet.stop();
});

async function makeKey(owner: string, fields: object = {}): Promise<Key> {
  const made = await fleet.makeKey(owner, fields);
  shown.push(made);
  return made;
}

/** Returns the outcome of a call with a key at a server: `200`, or the status and the problem code. */
async function callAt(server: number, { key }: { key: string }): Promise<string> {
  return said(await fleet.admin(server).as({ accessToken: key }).get('/call/api1'));
}

function said({ status, body }: Answer): string {
  return status === 200 ? '200' : `${status} ${body.code}`;
}

/** Calls at the two servers after the given one. */
async function callElsewhere(server: number, key: { key: string }): Promise<string> {
  return (await Promise.all([callAt(server + 1, key), callAt(server + 2, key)])).join(', ');
}

const BOTH = '200, 200';
const TOO_MANY = '429 quota_exceeded, 429 quota_exceeded';
const INVALID = '401 invalid_api_key, 401 invalid_api_key';

/** Runs `round` `count` times, each time at the next server, and counts the outcomes. */
async function rounds(count: number, round: (server: number) => Promise<string>): Promise<Record<string, number>> {
  const outcomes: string[] = [];
  for (let i = 0; i < count; i++) outcomes.push(await round(i));
  return tally(outcomes);
}

describe('a changed limit applies to the next call on another server', () => {
  test.each(['user', 'key'])('quota of a %s, raised and lowered: exact to the unit', async (whose) => {
    const owner = await fleet.makeUser();
    const key = await makeKey(owner);
    const path = whose === 'user' ? `/v1/users/${owner}/quotas/api:api1` : `/v1/keys/${key.id}/quotas/api:api1`;
    let used = 0;
    const outcomes = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).put(path, { limit: ++used }));
      const first = await callAt(server + 1, key);
      const second = await callAt(server + 2, key);
      expectDone(await fleet.admin(server).put(path, { limit: 0 }));
      return [first, second, await callAt(server + 1, key)].join(', ');
    });
    expect(outcomes).toEqual({ '200, 429 quota_exceeded, 429 quota_exceeded': ROUNDS });
    expect(await fleet.ledger(owner)).toEqual({ granted: ROUNDS, denied: 2 * ROUNDS });
  });

  test('limits of a plan, changed or overridden by a quota of the user', async () => {
    const plan = await fleet.makePlan([{ meter: 'api:*', limit: 0 }]);
    const owner = await fleet.makeUser({ plan });
    const key = await makeKey(owner);
    const quota = `/v1/users/${owner}/quotas/api:*`;
    const allow = async (api: Api, limit: number | null): Promise<unknown> =>
      expectDone(await api.patch(`/v1/plans/${plan}`, { limits: [{ meter: 'api:*', limit }] }));
    const changes = await rounds(ROUNDS, async (server) => {
      await allow(fleet.admin(server), null);
      const allowed = await callElsewhere(server, key);
      await allow(fleet.admin(server), 0);
      return [allowed, await callElsewhere(server, key)].join(', ');
    });
    expect(changes).toEqual({ [`${BOTH}, ${TOO_MANY}`]: ROUNDS });
    const overrides = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).put(quota, { limit: null }));
      const allowed = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).delete(quota));
      return [allowed, await callElsewhere(server, key)].join(', ');
    });
    expect(overrides).toEqual({ [`${BOTH}, ${TOO_MANY}`]: ROUNDS });
  });

  test('PATCH /v1/users/{user} with another plan', async () => {
    const [none, all] = [await fleet.makePlan([{ meter: 'api:api1', limit: 0 }]), await fleet.makePlan([])];
    const owner = await fleet.makeUser({ plan: none });
    const key = await makeKey(owner);
    const outcomes = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).patch(`/v1/users/${owner}`, { plan: all }));
      const allowed = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).patch(`/v1/users/${owner}`, { plan: none }));
      return [allowed, await callElsewhere(server, key)].join(', ');
    });
    expect(outcomes).toEqual({ [`${BOTH}, ${TOO_MANY}`]: ROUNDS });
  });
});

describe('a changed key is rejected by the next call on another server', () => {
  test('key revoked, also while it is in use: 401', async () => {
    const owner = await fleet.makeUser();
    const keys = await Promise.all(Array.from({ length: REVOCATIONS }, () => makeKey(owner)));
    const outcomes = await rounds(REVOCATIONS, async (server) => {
      const key = keys[server]!;
      const before = await callAt(server + 1, key);
      const meanwhile = [callAt(server, key), callAt(server + 1, key)];
      expectDone(await fleet.admin(server).delete(`/v1/keys/${key.id}`));
      const after = await callElsewhere(server, key);
      const { body } = await fleet.admin(server + 1).post('/v1/verify', { key: key.key, api: 'api1' });
      for (const each of await Promise.all(meanwhile)) expect(['200', '401 invalid_api_key']).toContain(each);
      return [before, after, body.code].join(', ');
    });
    expect(outcomes).toEqual({ [`200, ${INVALID}, invalid_api_key`]: REVOCATIONS });
  });

  test('key disabled: 401; enabled again: 200', async () => {
    const key = await makeKey(await fleet.makeUser());
    const outcomes = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).patch(`/v1/keys/${key.id}`, { disabled: true }));
      const refused = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).patch(`/v1/keys/${key.id}`, { disabled: false }));
      return [refused, await callElsewhere(server, key)].join(', ');
    });
    expect(outcomes).toEqual({ [`${INVALID}, ${BOTH}`]: ROUNDS });
  });

  test('scopes removed: 403; restored: 200', async () => {
    const key = await makeKey(await fleet.makeUser());
    const outcomes = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).patch(`/v1/keys/${key.id}`, { scopes: ['api2'] }));
      const refused = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).patch(`/v1/keys/${key.id}`, { scopes: ['api*'] }));
      return [refused, await callElsewhere(server, key)].join(', ');
    });
    expect(outcomes).toEqual({ [`403 scope_denied, 403 scope_denied, ${BOTH}`]: ROUNDS });
  });

  test('key rotated without grace: 401 for the old secret; the new one keeps limits and counts', async () => {
    const owner = await fleet.makeUser();
    let key = await makeKey(owner, { limits: [{ meter: 'api:api1', limit: 2 * ROUNDS }] });
    const outcomes = await rounds(ROUNDS, async (server) => {
      const old = key;
      key = expectDone(await fleet.admin(server).post(`/v1/keys/${key.id}/rotate`, {})).body;
      shown.push(key);
      const secrets = await fleet.query('SELECT FROM api_key_secrets WHERE key_id = $1', [key.id]);
      return [await callElsewhere(server, old), await callElsewhere(server, key), secrets.length].join(', ');
    });
    expect(outcomes).toEqual({ [`${INVALID}, ${BOTH}, 1`]: ROUNDS });
    expect(await callElsewhere(0, key)).toBe(TOO_MANY);
    expect(await fleet.ledger(owner)).toEqual({ granted: 2 * ROUNDS, denied: 2 });
  });

  test('key expired: 401', async () => {
    const owner = await fleet.makeUser();
    const outcomes = await Promise.all(
      Array.from({ length: ROUNDS }, async (_, i) => {
        const key = await makeKey(owner, { expiresAt: new Date(Date.now() + 3_600_000) });
        const before = await callAt(i, key);
        const soon = `UPDATE api_key_secrets SET expires_at = now() + interval '500 ms' WHERE key_id = $1
          RETURNING expires_at AS at`;
        const [{ at }] = await fleet.query(soon, [key.id]);
        // Keeps calling until the database clock has passed the expiry.
        const meanwhile = new Set<string>();
        await until(async () => {
          meanwhile.add(await callAt(i, key));
          return (await fleet.query('SELECT clock_timestamp() >= $1 AS past', [at]))[0].past;
        });
        expect([...meanwhile].filter((each) => !['200', '401 invalid_api_key'].includes(each))).toEqual([]);
        return [before, await callElsewhere(i, key)].join(', ');
      }),
    );
    expect(tally(outcomes)).toEqual({ [`200, ${INVALID}`]: ROUNDS });
    expect((await fleet.ledger(owner)).granted).toBeGreaterThan(0);
  });

  test('owner disabled: 403; enabled again: 200', async () => {
    const owner = await fleet.makeUser();
    const key = await makeKey(owner);
    const outcomes = await rounds(ROUNDS, async (server) => {
      expectDone(await fleet.admin(server).patch(`/v1/users/${owner}`, { status: 'disabled' }));
      const refused = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).patch(`/v1/users/${owner}`, { status: 'active' }));
      return [refused, await callElsewhere(server, key)].join(', ');
    });
    expect(outcomes).toEqual({ [`403 account_disabled, 403 account_disabled, ${BOTH}`]: ROUNDS });
  });

  test('owner deleted: 401; the ledger keeps the usage', async () => {
    const outcomes = await rounds(ROUNDS, async (server) => {
      const owner = await fleet.makeUser();
      const key = await makeKey(owner);
      const before = await callElsewhere(server, key);
      expectDone(await fleet.admin(server).delete(`/v1/users/${owner}`));
      const after = await callElsewhere(server, key);
      return [before, after, (await fleet.ledger(owner)).granted].join(', ');
    });
    expect(outcomes).toEqual({ [`${BOTH}, ${INVALID}, 2`]: ROUNDS });
  });
});

describe('50 concurrent requests with one Idempotency-Key, to three servers', () => {
  const REQUESTS = 50;

  /** Sends all requests, retries those that get `idempotency_in_progress`, and returns the final responses. */
  async function sendAll(send: (server: number, init: object) => Promise<Answer>): Promise<Answer[]> {
    const init = { headers: { 'idempotency-key': uniqueName() } };
    const answers = await Promise.all(Array.from({ length: REQUESTS }, (_, i) => send(i, init)));
    for (const [i, answer] of answers.entries()) {
      if (answer.body.code !== 'idempotency_in_progress') continue;
      expect(answer.status).toBe(409);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      // Sequential, because concurrent retries would get `idempotency_in_progress` again.
      answers[i] = await send(i, init);
    }
    return answers;
  }

  /** Checks that all responses are identical and that all but one are replays. */
  function expectAlike(answers: Answer[], status: number): void {
    const seen = answers.map((answer) =>
      [answer.status, answer.headers.get('ratelimit'), answer.headers.get('content-type'), answer.text].join('\n'),
    );
    expect(new Set(seen).size).toBe(1);
    expect(answers[0]?.status).toBe(status);
    const replayed = answers.map((answer) => answer.headers.get('idempotency-replayed') ?? 'first');
    expect(tally(replayed)).toEqual({ first: 1, true: REQUESTS - 1 });
  }

  test.each(['/call/api1', '/v1/verify'])('%s: charges once', async (path) => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'api:api1', 1_000);
    const key = await makeKey(owner);
    const body = path === '/v1/verify' ? { key: key.key, api: 'api1', cost: 5 } : undefined;
    const cost = body?.cost ?? 1;
    for (let time = 1; time <= 2; time++) {
      const answers = await sendAll((server, init) =>
        fleet.admin(server).as({ accessToken: key.key }).post(path, body, init),
      );
      expectAlike(answers, 200);
      expect(await fleet.ledger(owner)).toEqual({ granted: time * cost, denied: 0 });
      expect(await fleet.counter(owner, 'api:api1')).toBe(time * cost);
    }
  });

  test('/call/api1 beyond the limit: charges nothing, and is judged again after the limit is raised', async () => {
    const owner = await fleet.makeUser();
    await fleet.setQuota(owner, 'api:*', 0);
    const key = await makeKey(owner);
    const init = { headers: { 'idempotency-key': 'once' } };
    const send = (server: number): Promise<Answer> =>
      fleet.admin(server).as({ accessToken: key.key }).post('/call/api1', undefined, init);
    expect(said(await send(0))).toBe('429 quota_exceeded');
    await fleet.setQuota(owner, 'api:*', 1);
    expect([said(await send(1)), said(await send(2)), said(await send(0))]).toEqual(['200', '200', '200']);
    expect((await fleet.ledger(owner)).granted).toBe(1);
  });

  test('POST /v1/resources: creates one resource', async () => {
    const user = await fleet.admin().createUser();
    const answers = await sendAll((server, init) =>
      fleet.admin(server).as(user).post('/v1/resources', { value: 'x' }, init),
    );
    expectAlike(answers, 201);
    expect(await fleet.query('SELECT id FROM resources WHERE owner_id = $1', [user.id])).toEqual([
      { id: answers[0]?.body.id },
    ]);
    expect(await fleet.counter(user.id, 'resources')).toBe(1);
  });

  test('POST /v1/keys and its rotation: one key, one secret', async () => {
    const owner = await fleet.makeUser();
    const body = { name: 'a key', scopes: ['*'], owner };
    const made = await sendAll((server, init) => fleet.admin(server).post('/v1/keys', body, init));
    expectAlike(made, 201);
    const [{ body: key }] = made as [Answer];
    expect(await fleet.query('SELECT id FROM api_keys WHERE owner_id = $1', [owner])).toEqual([{ id: key.id }]);
    expect(await callElsewhere(0, key)).toBe(BOTH);
    const rotated = await sendAll((server, init) => fleet.admin(server).post(`/v1/keys/${key.id}/rotate`, {}, init));
    expectAlike(rotated, 201);
    const [{ body: next }] = rotated as [Answer];
    shown.push(key, next);
    expect(await callElsewhere(0, next)).toBe(BOTH);
    expect(await callElsewhere(0, key)).toBe(INVALID);
  });
});

test('database dump and logs contain no API key', async () => {
  // Makes its own keys, so that it does not depend on which tests ran before.
  const holder = await fleet.makeUser();
  const own = await Promise.all(Array.from({ length: REVOCATIONS + 1 }, () => makeKey(holder)));
  const init = { headers: { 'idempotency-key': uniqueName() } };
  shown.push(expectDone(await fleet.admin().post(`/v1/keys/${own[0]!.id}/rotate`, {}, init)).body);
  expect(await callElsewhere(0, own[1]!)).toBe(BOTH);
  const tables = await fleet.query(`SELECT quote_ident(relname) AS name FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace`);
  let dump = '';
  for (const { name } of tables) {
    // The text form of a bytea is hexadecimal.
    const rows = await fleet.query(`SELECT t::text AS row FROM ${name} t`);
    dump += rows.map(({ row }) => `${name}${row}\n`).join('');
  }
  const logs = fleet.servers.map((server) => server.output).join('');
  const forms = ({ key }: Key): string[] => {
    const secret = key.slice(3, -6);
    return [
      secret,
      ...[key, secret].flatMap((text) =>
        (['hex', 'base64'] as const).map((form) => Buffer.from(text).toString(form).replace(/=+$/, '')),
      ),
    ];
  };
  expect(shown.length).toBeGreaterThan(REVOCATIONS);
  expect(shown.filter((each) => forms(each).some((form) => dump.includes(form) || logs.includes(form)))).toEqual([]);
  // Checks that the dump is complete: it contains key hints, idempotency records and secret hashes.
  expect(shown.some(({ key }) => dump.includes(key.slice(0, 7)))).toBe(true);
  expect(dump).toMatch(/^idempotency_keys\(/m);
  expect(dump).toMatch(/^api_key_secrets\("\\\\x[0-9a-f]{64}"/m);
});

test('server logs contain no error after these tests', () => {
  for (const server of fleet.servers) expect(server.output).not.toMatch(/"level":(50|60)/);
});
