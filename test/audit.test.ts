import pg from 'pg';
import { Api, expectProblem, uniqueName } from './support/api.js';
import { Fleet, expectDone } from './support/fleet.js';
import { codeOf, enableTotp } from './support/totp.js';
import { until } from './support/until.js';

/** An audited change, and how to make it. */
interface Change {
  action: string;
  make: (admin: Api) => Promise<{ target: string; changes: object }>;
}

let fleet: Fleet;
let adminId: string;

beforeAll(async () => {
  fleet = await Fleet.start(2);
  adminId = (await fleet.admin().get('/v1/users/me')).body.id;
});

afterAll(async () => {
  await fleet.stop();
});

describe('Audit log', () => {
  const listed = async (search: string): Promise<any[]> =>
    expectDone(await fleet.admin(1).get(`/v1/audit?${search}`)).body.data;

  const newUser = async (fields: object = {}): Promise<any> => {
    const account = { username: uniqueName(), password: 'Unguessable-7', ...fields };
    return expectDone(await fleet.admin().post('/v1/users', account)).body;
  };

  const CHANGES: Change[] = [
    {
      action: 'user.create',
      make: async () => {
        const { id, username } = await newUser({ credits: 3 });
        const to = { username, role: 'user', status: 'active', credits: 3 };
        return {
          target: id,
          changes: Object.fromEntries(Object.entries(to).map(([name, value]) => [name, { to: value }])),
        };
      },
    },
    {
      action: 'user.update',
      make: async (admin) => {
        const { id } = await newUser({ firstName: 'Ada' });
        await admin.patch(`/v1/users/${id}`, {
          role: 'admin',
          firstName: null,
          lastName: 'King',
          credits: 7,
          status: 'active',
          password: 'Unguessable-8',
        });
        return {
          target: id,
          changes: {
            role: { from: 'user', to: 'admin' },
            firstName: { from: 'Ada', to: null },
            lastName: { from: null, to: 'King' },
            credits: { from: null, to: 7 },
            password: {},
            endedSessions: { to: 0 },
          },
        };
      },
    },
    {
      action: 'user.delete',
      make: async (admin) => {
        const { id, username } = await newUser();
        await admin.signIn(username, 'Unguessable-7');
        const session = await admin.signIn(username, 'Unguessable-7');
        await admin.createKey({ owner: id });
        await admin.as(session).post('/v1/auth/signing-keys', { name: 'x' });
        await admin.delete(`/v1/users/${id}`);
        return {
          target: id,
          changes: {
            ...{ username: { from: username }, role: { from: 'user' }, status: { from: 'active' } },
            ...{ endedSessions: { to: 2 }, endedKeys: { to: 1 }, endedSigningKeys: { to: 1 } },
          },
        };
      },
    },
    {
      action: 'quota.set',
      make: async (admin) => {
        const { id } = await newUser();
        await admin.put(`/v1/users/${id}/quotas/resources`, { limit: 5 });
        await admin.put(`/v1/users/${id}/quotas/resources`, { limit: null });
        return {
          target: id,
          changes: { meter: { to: 'resources' }, window: { to: 'lifetime' }, limit: { from: 5, to: null } },
        };
      },
    },
    {
      action: 'quota.unset',
      make: async (admin) => {
        const { id } = await newUser();
        await admin.put(`/v1/users/${id}/quotas/api:api1`, { limit: 5, window: 'day' });
        await admin.delete(`/v1/users/${id}/quotas/api:api1?window=day`);
        return { target: id, changes: { meter: { to: 'api:api1' }, window: { to: 'day' }, limit: { from: 5 } } };
      },
    },
    {
      action: 'credits.grant',
      make: async (admin) => {
        const { id } = await newUser();
        const grant = expectDone(await admin.post(`/v1/users/${id}/credits`, { amount: 5, reason: 'Thanks' })).body;
        return { target: id, changes: { id: { to: grant.id }, amount: { to: 5 }, reason: { to: 'Thanks' } } };
      },
    },
    {
      action: 'platform.update',
      make: async (admin) => {
        await admin.patch('/v1/platform', { creditOverprovisioning: true });
        await admin.patch('/v1/platform', { creditOverprovisioning: false });
        return { target: 'platform', changes: { creditOverprovisioning: { from: true, to: false } } };
      },
    },
    {
      action: 'plan.create',
      make: async (admin) => {
        const slug = uniqueName();
        await admin.post('/v1/plans', { slug, name: 'Free', limits: [{ meter: 'resources', limit: 3 }] });
        const limits = [{ meter: 'resources', window: 'lifetime', limit: 3 }];
        return { target: slug, changes: { slug: { to: slug }, name: { to: 'Free' }, limits: { to: limits } } };
      },
    },
    {
      action: 'plan.update',
      make: async (admin) => {
        const slug = await fleet.makePlan([]);
        const now = uniqueName();
        await admin.patch(`/v1/plans/${slug}`, { slug: now, name: 'Renamed' });
        return { target: slug, changes: { slug: { from: slug, to: now }, name: { from: 'A plan', to: 'Renamed' } } };
      },
    },
    {
      action: 'plan.delete',
      make: async (admin) => {
        const slug = await fleet.makePlan([]);
        await admin.delete(`/v1/plans/${slug}`);
        return { target: slug, changes: { slug: { from: slug }, name: { from: 'A plan' }, limits: { from: [] } } };
      },
    },
    {
      action: 'api.create',
      make: async (admin) => {
        const slug = uniqueName();
        await admin.post('/v1/apis', { slug, name: 'Maps', answer: 'x'.repeat(2_000) });
        const answer = { to: `${'x'.repeat(1_000)}…` };
        return { target: slug, changes: { slug: { to: slug }, name: { to: 'Maps' }, answer } };
      },
    },
    {
      action: 'api.update',
      make: async (admin) => {
        const slug = await admin.createApi();
        await admin.patch(`/v1/apis/${slug}`, { answer: null, upstream: 'http://127.0.0.1:9/' });
        return {
          target: slug,
          changes: { answer: { from: slug, to: null }, upstream: { from: null, to: 'http://127.0.0.1:9/' } },
        };
      },
    },
    {
      action: 'api.delete',
      make: async (admin) => {
        const slug = await admin.createApi();
        await admin.delete(`/v1/apis/${slug}`);
        return { target: slug, changes: { slug: { from: slug }, name: { from: slug }, answer: { from: slug } } };
      },
    },
    {
      action: 'key.create',
      make: async (admin) => {
        const limits = [{ meter: 'api:api1', window: 'day', limit: 3 }];
        const { id, hint } = await admin.createKey({ limits });
        return {
          target: id,
          changes: {
            ownerId: { to: adminId },
            name: { to: 'a key' },
            hint: { to: hint },
            scopes: { to: ['*'] },
            disabled: { to: false },
            limits: { to: limits },
          },
        };
      },
    },
    {
      action: 'key.update',
      make: async (admin) => {
        const { id } = await admin.createKey();
        await admin.patch(`/v1/keys/${id}`, { name: 'b', disabled: true, scopes: ['*'] });
        return { target: id, changes: { name: { from: 'a key', to: 'b' }, disabled: { from: false, to: true } } };
      },
    },
    {
      action: 'key.rotate',
      make: async (admin) => {
        const { id } = await admin.createKey();
        await admin.post(`/v1/keys/${id}/rotate`, { graceSeconds: 60 });
        return { target: id, changes: { secret: {}, graceSeconds: { to: 60 } } };
      },
    },
    {
      action: 'key.delete',
      make: async (admin) => {
        const { id, hint } = await admin.createKey();
        await admin.delete(`/v1/keys/${id}`);
        return {
          target: id,
          changes: {
            ownerId: { from: adminId },
            name: { from: 'a key' },
            hint: { from: hint },
            scopes: { from: ['*'] },
            disabled: { from: false },
          },
        };
      },
    },
  ];

  test.each(CHANGES)('$action: records actor, target, changes, request id and IP address', async ({ action, make }) => {
    const admin = fleet.admin();
    const { target, changes } = await make(admin);
    const [entry] = await listed(`target=${target}&action=${action}&limit=1`);
    expect(entry).toEqual({
      id: expect.any(String),
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      actor: adminId,
      action,
      target,
      changes,
      requestId: expect.stringMatching(/./),
      ip: expect.stringMatching(/127\.0\.0\.1|::1/),
    });
  });

  test('quota.set and quota.unset of a key or the platform: the target is the key or `platform`', async () => {
    const admin = fleet.admin();
    const { id } = await admin.createKey();
    await admin.put(`/v1/keys/${id}/quotas/api:api1`, { limit: 5 });
    const limit = { meter: { to: 'api:api1' }, window: { to: 'lifetime' } };
    const [ofKey] = await listed(`target=${id}&action=quota.set`);
    expect(ofKey.changes).toEqual({ ...limit, limit: { to: 5 } });
    await admin.put('/v1/platform/quotas/api:api1', { limit: 5_000 });
    await admin.delete('/v1/platform/quotas/api:api1');
    const ofPlatform = await listed('target=platform&action=quota.*&limit=2');
    expect(ofPlatform.map(({ changes }) => changes)).toEqual([
      { ...limit, limit: { from: 5_000 } },
      { ...limit, limit: { to: 5_000 } },
    ]);
  });

  test('registration, sign-in, refresh, password, TOTP and sign-out: recorded with the user as actor, without secrets', async () => {
    const api = new Api(fleet.servers[0]!.url);
    const account = { username: uniqueName(), password: 'Unguessable-7' };
    const { id } = expectDone(await api.post('/v1/auth/register', account)).body;
    const { accessToken, refreshToken } = await api.signIn(account.username, account.password);
    const user = api.as({ accessToken });
    const sessionId = (await user.get('/v1/auth/sessions')).body.data[0].id;
    const refreshed = expectDone(await api.post('/v1/auth/refresh', { refreshToken })).body;
    const other = await api.signIn(account.username, account.password);
    const otherId = (await api.as(other).get('/v1/auth/sessions')).body.data[0].id;
    await user.post('/v1/auth/password', { currentPassword: account.password, newPassword: 'Unguessable-8' });
    const changed = { ...account, id, password: 'Unguessable-8', accessToken, refreshToken };
    const { secret } = await enableTotp(api, changed);
    const credentials = { login: account.username, password: 'Unguessable-8' };
    const third = expectDone(await api.post('/v1/auth/login', { ...credentials, code: codeOf(secret, 1) })).body;
    await api.post('/v1/auth/refresh', { refreshToken: third.refreshToken });
    await fleet.query(`UPDATE sessions SET rotated_at = now() - interval '1 minute' WHERE owner_id = $1`, [id]);
    await api.post('/v1/auth/refresh', { refreshToken: third.refreshToken });
    await api.as(refreshed).post('/v1/auth/logout');
    const done = (await listed(`actor=${account.username}&limit=100`)).reverse();
    expect(done.map(({ action }) => action)).toEqual([
      ...['user.create', 'session.create', 'session.refresh', 'session.create', 'password.change'],
      ...['totp.prepare', 'totp.enable', 'session.create', 'session.refresh', 'session.revoke', 'session.end'],
    ]);
    expect(done[0]).toMatchObject({ target: id, actor: id });
    expect(done.slice(1, 4).map(({ target }) => target)).toEqual([sessionId, sessionId, otherId]);
    expect(done[4].changes).toEqual({ password: {}, endedSessions: { to: 1 } });
    expect(done[9].target).toBe(done[7].target);
    expect(done[10].target).toBe(sessionId);
    const all = JSON.stringify(done);
    for (const text of [account.password, 'Unguessable-8', accessToken, refreshToken, secret]) {
      expect(all).not.toContain(text);
    }
  });

  test('signing keys, reset links and password resets: recorded without secrets', async () => {
    const api = new Api(fleet.servers[0]!.url);
    const user = await api.createUser();
    const key = expectDone(await api.as(user).post('/v1/auth/signing-keys', { name: 'mine' })).body;
    await api.as(user).delete(`/v1/auth/signing-keys/${key.id}`);
    const { token } = expectDone(await fleet.admin().post(`/v1/users/${user.id}/reset-link`)).body;
    await api.post('/v1/auth/recovery/confirm', { token, newPassword: 'Unguessable-9' });
    const ofKey = await listed(`target=${key.id}`);
    expect(ofKey).toMatchObject([
      { action: 'signing_key.delete', actor: user.id, changes: { name: { from: 'mine' } } },
      { action: 'signing_key.create', actor: user.id, changes: { name: { to: 'mine' } } },
    ]);
    const ofUser = await listed(`target=${user.id}&action=password.*`);
    expect(ofUser).toMatchObject([
      {
        action: 'password.reset',
        actor: user.id,
        changes: { password: {}, with: { to: 'link' }, endedSessions: { to: 1 } },
      },
      { action: 'password.link', actor: adminId },
    ]);
    const told = JSON.stringify([ofKey, ofUser]);
    for (const secret of [token, 'Unguessable-9', key.privateKey.split('\n')[1]]) expect(told).not.toContain(secret);
  });

  test('creation of the first administrator: recorded without an actor', async () => {
    const first = (await listed(`target=${adminId}&action=user.create`))[0];
    expect(first).toMatchObject({ actor: null, requestId: null, ip: null, changes: { role: { to: 'admin' } } });
  });

  test('a rejected request, or one that changes nothing: no entry', async () => {
    const admin = fleet.admin();
    const { id, username } = await newUser({ firstName: 'Ada' });
    const count = async (): Promise<number> =>
      (await fleet.query('SELECT count(*)::int AS count FROM audit_entries'))[0].count;
    const before = await count();
    await admin.patch(`/v1/users/${id}`, {});
    await admin.patch(`/v1/users/${id}`, { firstName: 'Ada', username });
    await admin.patch(`/v1/users/${id}`, { username: 'admin' });
    await admin.post('/v1/users', { username, password: 'Unguessable-7' });
    await admin.delete(`/v1/users/${id}/quotas/resources`);
    await admin.patch('/v1/platform', { creditOverprovisioning: false });
    await admin.delete(`/v1/plans/${uniqueName()}`);
    expect(await count()).toBe(before);
  });

  test('GET /v1/audit by actor, action and target: pages of matching entries, newest first', async () => {
    const admin = fleet.admin();
    const { id, username } = await newUser();
    for (let i = 0; i < 5; i++) await admin.patch(`/v1/users/${id}`, { firstName: `Ada ${'abcde'.charAt(i)}` });
    const pages: any[][] = [];
    let path: string | undefined = `/v1/audit?target=${username.toUpperCase()}&limit=2`;
    while (path !== undefined) {
      const answer = expectDone(await admin.get(path));
      pages.push(answer.body.data);
      expect(answer.headers.get('link') === null).toBe(answer.body.nextCursor === null);
      path =
        answer.body.nextCursor === null
          ? undefined
          : `/v1/audit?target=${username.toUpperCase()}&limit=2&cursor=${answer.body.nextCursor}`;
    }
    expect(pages.map((page) => page.length)).toEqual([2, 2, 2]);
    expect(pages.flat().map(({ action }) => action)).toEqual([...Array<string>(5).fill('user.update'), 'user.create']);
    const ids = pages.flat().map((entry) => entry.id);
    expect(ids).toEqual([...ids].sort().reverse());
    expect(await listed(`target=${id}&action=user.*`)).toHaveLength(6);
    expect(await listed(`target=${id}&action=user.update&actor=me`)).toHaveLength(5);
    expect(await listed(`target=${id}&action=user.update&actor=admin`)).toHaveLength(5);
    expect(await listed(`target=${id}&actor=${id}`)).toEqual([]);
    expect(await listed(`target=${id}&actor=${uniqueName()}`)).toEqual([]);
    expect(await listed(`target=${id}&action=user`)).toEqual([]);
    expect((await listed(`target=${id}&action=-user.update`)).map(({ action }) => action)).toEqual(['user.create']);
    expect(await listed(`target=${id}&action=-user.*`)).toEqual([]);
    expectProblem(await admin.get(`/v1/audit?action=${encodeURIComponent("' OR 1=1")}`), 400, 'validation_failed');
    const { nextCursor } = (await admin.get('/v1/audit?limit=1')).body;
    expectProblem(await admin.get(`/v1/audit?actor=me&cursor=${nextCursor}`), 400, 'validation_failed');
  });

  test('GET /v1/audit after DELETE of a user: keeps the entries about and by the user', async () => {
    const { id, username } = await newUser({ role: 'admin' });
    const api = new Api(fleet.servers[1]!.url);
    const second = api.as(await api.signIn(username, 'Unguessable-7'));
    const slug = uniqueName();
    await second.post('/v1/plans', { slug, name: 'x' });
    await fleet.admin().delete(`/v1/users/${id}`);
    expect((await listed(`actor=${id}`)).map(({ action }) => action)).toEqual(['plan.create', 'session.create']);
    expect((await listed(`target=${id}`)).map(({ action }) => action)).toEqual(['user.delete', 'user.create']);
  });

  test('160 concurrent changes: one entry each, in an unbroken sequence of values', async () => {
    const ids = await Promise.all(Array.from({ length: 8 }, async () => (await newUser()).id as string));
    const answers = await Promise.all(
      Array.from({ length: 160 }, (_, i) =>
        fleet.admin(i).put(`/v1/users/${ids[i % 8]!}/quotas/resources`, { limit: i }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    for (const id of ids) {
      const entries = (await listed(`target=${id}&action=quota.set&limit=100`)).map(({ changes }) => changes.limit);
      expect(entries).toHaveLength(20);
      // Each `from` is the `to` of another entry, so the entries form one path from no limit to the current limit.
      const [gauge] = await fleet.query(
        `SELECT amount::int AS now FROM gauges WHERE owner_id = $1 AND meter = 'resources'`,
        [id],
      );
      const next = new Map(entries.map(({ from, to }) => [from, to]));
      expect(next.size).toBe(20);
      let at: number | undefined;
      for (let i = 0; i < 20; i++) at = next.get(at);
      expect(at).toBe(gauge.now);
    }
  });
});

describe('Audit chain', () => {
  const verify = async (turn = 0, search = ''): Promise<any> =>
    expectDone(await fleet.admin(turn).get(`/v1/audit/verify${search}`)).body;

  /** Waits until every entry is sealed. */
  const sealed = (): Promise<void> => until(async () => (await unsealed()).length === 0);

  /** Age of the oldest unsealed entry at the server's last attempt to seal. */
  async function unsealedSeconds(turn: number): Promise<number> {
    const { text } = expectDone(await fleet.admin(turn).get('/metrics'));
    return Number(/^quartermaster_audit_unsealed_seconds (\S+)$/m.exec(text)?.[1]);
  }

  /** Waits until each server has tried to seal. A second attempt shows that the first has ended. */
  async function triedToSeal(): Promise<void> {
    const tried = [0, 1].map(async (turn) => {
      let seen = await unsealedSeconds(turn);
      for (let looks = 0; looks < 2; looks++) {
        let next = seen;
        await until(async () => (next = await unsealedSeconds(turn)) !== seen && next > 0);
        seen = next;
      }
    });
    await Promise.all(tried);
  }

  const unsealed = (): Promise<any[]> => fleet.query('SELECT FROM audit_entries WHERE position IS NULL');

  const entries = (): Promise<{ id: string; position: number }[]> =>
    fleet.query('SELECT e.id, e.position::int FROM audit_entries e ORDER BY e.position');

  // Takes some seconds, so it runs concurrently with the tests before it.
  test.concurrent('sealing while another session holds the advisory lock: entries are sealed', async () => {
    const reader = new pg.Client({ connectionString: fleet.url });
    await reader.connect();
    await reader.query('SELECT pg_advisory_lock(1902993781)');
    const user = await fleet.makeUser();
    const open = 'SELECT FROM audit_entries WHERE target = $1 AND position IS NULL';
    await until(async () => (await fleet.query(open, [user])).length === 0);
    await reader.end();
    for (const turn of [0, 1]) expect(await verify(turn)).toMatchObject({ ok: true });
  });

  test('sealing by two processes: each entry is sealed once', async () => {
    await sealed();
    const verdict = await verify();
    const all = await entries();
    expect(all.map(({ position }) => position)).toEqual(all.map((_, i) => i + 1));
    const [head] = await fleet.query(
      `SELECT encode(hash, 'hex') AS hash FROM audit_seals s ORDER BY s.position DESC LIMIT 1`,
    );
    expect(verdict).toEqual({ ok: true, sealed: all.length, head: head.hash, unsealed: 0 });
    await Promise.all(Array.from({ length: 50 }, () => fleet.makeUser()));
    await sealed();
    expect(await verify(1)).toMatchObject({ ok: true, sealed: all.length + 50 });
    // Concurrent requests share one pass over the chain, which includes all entries from before the requests.
    const verdicts = await Promise.all(Array.from({ length: 40 }, () => verify()));
    expect(new Set(verdicts.map(({ head: at }) => at)).size).toBe(1);
    // A head that was noted earlier is found in the chain; an unknown head is not.
    expect(await verify(0, `?head=${verdict.head}`)).toMatchObject({ ok: true });
    expect(await verify(0, `?head=${'0'.repeat(64)}`)).toMatchObject({ ok: false, first: { fault: 'removed' } });
  });

  test('sealing after a forged seal: stops, and resumes when the seal is removed', async () => {
    await sealed();
    await fleet.query(
      `INSERT INTO audit_seals (position, entry_id, hash) VALUES (9223372036854775807, gen_random_uuid(), '\\x00')`,
    );
    await fleet.makeUser();
    await triedToSeal();
    expect(await unsealed()).not.toHaveLength(0);
    expect(await verify()).toMatchObject({ ok: false });
    await fleet.query('DELETE FROM audit_seals WHERE position = 9223372036854775807');
    await sealed();
    for (const turn of [0, 1]) expect(await verify(turn)).toMatchObject({ ok: true });
  });

  describe('GET /v1/audit/verify after tampering', () => {
    const TABLES = ['audit_entries', 'audit_seals'];

    beforeEach(async () => {
      await sealed();
      for (const table of TABLES) await fleet.query(`CREATE TABLE kept_${table} AS TABLE ${table}`);
    });

    afterEach(async () => {
      for (const table of TABLES) {
        await fleet.query(`TRUNCATE ${table}; INSERT INTO ${table} TABLE kept_${table}; DROP TABLE kept_${table}`);
      }
    });

    const FIELDS = {
      at: `at + interval '1 ms'`,
      'at, to before Christ,': `(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') || '+00 BC')::timestamptz`,
      actor_id: 'gen_random_uuid()',
      action: `action || 's'`,
      target: `'somebody else'`,
      changes: `replace(changes::text, 'user', 'admin')::json`,
      request_id: `request_id || 'x'`,
      ip: `'192.0.2.1'`,
    };

    test.each(Object.entries(FIELDS))('an entry with altered %s: reported as altered', async (field, value) => {
      const victim = (await entries())[6]!;
      await fleet.query(`UPDATE audit_entries SET ${field.split(',')[0]} = ${value} WHERE id = $1`, [victim.id]);
      for (const turn of [0, 1]) {
        expect(await verify(turn)).toMatchObject({ ok: false, first: { ...victim, fault: 'altered' } });
      }
    });

    test('entries removed at the end, in the middle or at the start: the first is reported as removed', async () => {
      const all = await entries();
      for (const victim of [all.at(-1)!, all[5]!, all[0]!]) {
        await fleet.query('DELETE FROM audit_entries WHERE id = $1', [victim.id]);
        expect(await verify()).toMatchObject({ ok: false, first: { ...victim, fault: 'removed' } });
      }
    });

    test('seals that are removed or moved: reported as removed or altered', async () => {
      const all = await entries();
      const victim = all[4]!;
      await fleet.query('DELETE FROM audit_seals WHERE position = $1', [victim.position]);
      expect(await verify()).toMatchObject({ ok: false, first: { ...victim, fault: 'removed' } });
      await fleet.query('DELETE FROM audit_entries WHERE id = $1', [victim.id]);
      expect(await verify()).toMatchObject({ ok: false, first: { id: null, position: 5, fault: 'removed' } });
      // Closes the gap in the positions.
      await fleet.query(`
      UPDATE audit_seals s SET position = s.position - 1 + 1000000 WHERE s.position > 5;
      UPDATE audit_seals s SET position = s.position - 1000000 WHERE s.position > 1000000`);
      expect(await verify()).toMatchObject({ ok: false, first: { position: 5, fault: 'altered' } });
    });

    test('a truncated chain: reported by processes that saw the end, and for a head that was noted', async () => {
      const { head } = await verify(0);
      await verify(1);
      const all = await entries();
      const cut = all.slice(-3);
      await fleet.query('DELETE FROM audit_entries WHERE id = ANY($1)', [cut.map(({ id }) => id)]);
      await fleet.query('DELETE FROM audit_seals WHERE position >= $1', [cut[0]!.position]);
      const first = { id: null, position: cut[0]!.position, fault: 'removed' };
      for (const turn of [0, 1]) expect(await verify(turn)).toMatchObject({ ok: false, first });
      // A process that started later has not seen the end, and detects the fault only by the noted head.
      const late = await Fleet.start(1, fleet.url);
      expect((await late.admin().get('/v1/audit/verify')).body.ok).toBe(true);
      expect((await late.admin().get(`/v1/audit/verify?head=${head}`)).body).toMatchObject({ ok: false });
      await late.stop();
    });

    test('an altered entry that the server seals again: still reported', async () => {
      for (const turn of [0, 1]) expect(await verify(turn)).toMatchObject({ ok: true });
      const all = await entries();
      const [victim, before] = [all.at(-3)!, all.at(-5)!];
      const launder = (alter: string): Promise<unknown> =>
        fleet.query(`
          DELETE FROM audit_seals WHERE position >= ${before.position};
          ${alter};
          UPDATE audit_entries SET position = NULL WHERE position >= ${before.position}`);
      await launder(`UPDATE audit_entries SET target = 'x' WHERE id = '${victim.id}'`);
      // Both processes saw the end, so neither seals over the gap.
      await triedToSeal();
      expect(await unsealed()).not.toHaveLength(0);
      for (const turn of [0, 1]) expect(await verify(turn)).toMatchObject({ ok: false, first: { fault: 'removed' } });
      // A new process seals it. Verify still reports the entry, because its MAC does not match.
      const late = await Fleet.start(1, fleet.url);
      await sealed();
      const { body } = await late.admin().get('/v1/audit/verify');
      expect(body).toMatchObject({ ok: false, first: { id: victim.id, fault: 'altered' } });
      await late.stop();
    });

    test('forged entries and wrong positions: reported', async () => {
      const [template] = await fleet.query('SELECT * FROM audit_entries e ORDER BY e.position LIMIT 1');
      const forge = async (position: number | null): Promise<string> => {
        const [{ id }] = await fleet.query(
          `INSERT INTO audit_entries (id, at, actor_id, action, target, changes, mac, position)
           SELECT gen_random_uuid(), at, actor_id, action, target, changes, mac, $2 FROM audit_entries WHERE id = $1 RETURNING id`,
          [template.id, position],
        );
        return id;
      };
      for (const position of [3, -5, 1_000_000]) {
        const id = await forge(position);
        expect(await verify()).toMatchObject({ ok: false, first: { id, position } });
        await fleet.query('DELETE FROM audit_entries WHERE id = $1', [id]);
      }
      const moved = (await entries())[4]!;
      await fleet.query('UPDATE audit_entries SET position = 999999 WHERE id = $1', [moved.id]);
      expect(await verify()).toMatchObject({ ok: false, first: { ...moved, fault: 'altered' } });
      await fleet.query('UPDATE audit_entries SET position = $2 WHERE id = $1', [moved.id, moved.position]);
      expect(await verify()).toMatchObject({ ok: true });
      const forged = await forge(null);
      await sealed();
      expect(await verify()).toMatchObject({ ok: false, first: { id: forged, fault: 'altered' } });
      // A new seal does not hide an altered entry. Part of this test, because the cleanup cuts off these seals, and a
      // process that has seen them then stops sealing.
      const victim = (await entries())[3]!;
      await fleet.query(`UPDATE audit_entries SET target = 'x', position = NULL WHERE id = $1`, [victim.id]);
      await sealed();
      expect(await verify()).toMatchObject({ ok: false, first: { ...victim, fault: 'altered' } });
    });
  });
});

describe('Audit log that cannot be written', () => {
  let url: string;
  const role = `writer_${uniqueName()}`;

  beforeAll(async () => {
    // Uses a separate role, because REVOKE has no effect on superusers and can be undone by table owners.
    await fleet.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`);
    await fleet.query(`GRANT ALL ON ALL TABLES IN SCHEMA public TO ${role}`);
    await fleet.query(`GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ${role}`);
    const address = new URL(fleet.url);
    address.username = role;
    address.password = 'x';
    url = address.href;
  });

  afterAll(async () => {
    await fleet.query(`DROP OWNED BY ${role}`);
    await fleet.query(`DROP ROLE ${role}`);
  });

  test('audited changes without INSERT on the table: 503, and nothing changes', async () => {
    const narrow = await Fleet.start(1, url);
    const admin = narrow.admin();
    const id = await narrow.makeUser();
    const { id: keyId } = await admin.createKey();
    const slug = await narrow.makePlan([]);
    const api = await admin.createApi();
    await admin.put(`/v1/users/${id}/quotas/resources`, { limit: 3 });
    const session = await admin.signIn('admin', 'Quarter-Master-1');
    const sessionId = (await admin.as(session).get('/v1/auth/sessions')).body.data[0].id;
    const snapshot = () =>
      fleet.query(`SELECT (SELECT json_agg(u ORDER BY id) FROM users u) AS users, (SELECT json_agg(k ORDER BY id) FROM api_keys k) AS keys,
        (SELECT json_agg(p ORDER BY slug) FROM plans p) AS plans, (SELECT json_agg(a ORDER BY slug) FROM apis a) AS apis,
        (SELECT json_agg(g.amount ORDER BY owner_id, meter) FROM gauges g) AS gauges,
        (SELECT json_agg(f.limits ORDER BY owner_id, key_id, meter) FROM flows f) AS flows, (SELECT json_agg(s) FROM platform_settings s) AS settings,
        (SELECT json_agg(s ORDER BY id) FROM sessions s) AS sessions, (SELECT count(*) FROM credit_grants) AS grants,
        (SELECT json_agg(q) FROM platform_quotas q) AS platform, (SELECT json_agg(x.hash ORDER BY hash) FROM api_key_secrets x) AS secrets`);
    const before = await snapshot();
    await fleet.query(`REVOKE INSERT ON audit_entries FROM ${role}`);
    const name = uniqueName();
    const tried = {
      'user.create': await admin.post('/v1/users', { username: name, password: 'Unguessable-7' }),
      register: await admin.post('/v1/auth/register', { username: name, password: 'Unguessable-7' }),
      login: await admin.post('/v1/auth/login', { login: 'admin', password: 'Quarter-Master-1' }),
      refresh: await admin.post('/v1/auth/refresh', { refreshToken: session.refreshToken }),
      logout: await admin.as(session).post('/v1/auth/logout'),
      'session.end': await admin.delete(`/v1/auth/sessions/${sessionId}`),
      password: await admin.post('/v1/auth/password', {
        currentPassword: 'Quarter-Master-1',
        newPassword: 'Unguessable-8',
      }),
      totp: await admin.post('/v1/auth/totp', { password: 'Quarter-Master-1' }),
      'user.update': await admin.patch(`/v1/users/${id}`, { role: 'admin' }),
      'user.delete': await admin.delete(`/v1/users/${id}`),
      'quota.set': await admin.put(`/v1/users/${id}/quotas/resources`, { limit: 5 }),
      'quota.unset': await admin.delete(`/v1/users/${id}/quotas/resources`),
      'credits.grant': await admin.post(`/v1/users/${id}/credits`, { amount: 5 }),
      'platform.update': await admin.patch('/v1/platform', { registration: 'closed' }),
      'platform.quota': await admin.put('/v1/platform/quotas/resources', { limit: 5_000 }),
      'plan.create': await admin.post('/v1/plans', { slug: name, name }),
      'plan.update': await admin.patch(`/v1/plans/${slug}`, { name: 'x' }),
      'plan.delete': await admin.delete(`/v1/plans/${slug}`),
      'api.create': await admin.post('/v1/apis', { slug: name, name, answer: 'x' }),
      'api.update': await admin.patch(`/v1/apis/${api}`, { name: 'x' }),
      'api.delete': await admin.delete(`/v1/apis/${api}`),
      'key.create': await admin.post('/v1/keys', { name, scopes: ['*'] }),
      'key.update': await admin.patch(`/v1/keys/${keyId}`, { name: 'x' }),
      'key.rotate': await admin.post(`/v1/keys/${keyId}/rotate`, {}, { headers: { 'idempotency-key': name } }),
      'key.quota': await admin.put(`/v1/keys/${keyId}/quotas/api:api1`, { limit: 5 }),
      'key.delete': await admin.delete(`/v1/keys/${keyId}`),
    };
    for (const [what, answer] of Object.entries(tried)) {
      expect({ what, status: answer.status }).toEqual({ what, status: 503 });
      expectProblem(answer, 503, 'database_unavailable');
      expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    }
    expect(await snapshot()).toEqual(before);
    // Requests that write no audit entry still succeed.
    expect((await admin.get('/v1/users/me')).status).toBe(200);
    expect((await admin.post('/v1/resources', { value: 'x' })).status).toBe(201);
    await fleet.query(`GRANT INSERT ON audit_entries TO ${role}`);
    expect((await admin.patch(`/v1/users/${id}`, { role: 'admin' })).status).toBe(200);
    await narrow.stop();
  });

  test('PATCH /v1/users/{user} while a trigger drops the entry: 503, and nothing changes', async () => {
    const id = await fleet.makeUser();
    await fleet.query(`CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`);
    await fleet.query('CREATE TRIGGER swallow BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION swallow()');
    const answer = await fleet.admin().patch(`/v1/users/${id}`, { role: 'admin' });
    await fleet.query('DROP TRIGGER swallow ON audit_entries; DROP FUNCTION swallow');
    expectProblem(answer, 503, 'database_unavailable');
    expect((await fleet.admin().get(`/v1/users/${id}`)).body.role).toBe('user');
  });
});
