import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import pg from 'pg';
import { Api, expectProblem, sharedApi, uniqueName, type Account, type Answer } from './support/api.js';
import { TestServer, createDatabase, query, type ServerProcess } from './support/server.js';
import { Mailbox, tokenOf, type Received } from './support/smtp.js';
import { enableTotp } from './support/totp.js';
import { until } from './support/until.js';

const PUBLIC_URL = 'https://qm.example.com';
const PASSWORD = 'Unguessable-7';
const NEW_PASSWORD = 'Different-From-8';

const RESET = /new password/;
const CONFIRM = /Confirm/;
const PASSWORD_CHANGED = /password was changed/;
const EMAIL_CHANGED = /address was changed/;

interface Person extends Account {
  email: string;
}

let mailbox: Mailbox;
let database: Awaited<ReturnType<typeof createDatabase>>;
let servers: TestServer[];
let api: Api;
/** The same platform, another process. */
let other: Api;
let admin: Api;

const environment = (overrides: Record<string, string> = {}): Record<string, string> => ({
  ...{ DATABASE_URL: database.url, SMTP_URL: mailbox.url, PUBLIC_URL, MAIL_FROM: 'The Stores <qm@example.com>' },
  // Recovery is asked for from an address at a time: see `Api`.
  ...{ LOG_LEVEL: 'debug', TRUST_PROXY: '127.0.0.1', ...overrides },
});

/** In a process of its own, so that its log has what is said of e-mails, or so that it can be killed. */
const spawn = (overrides?: Record<string, string>): Promise<ServerProcess> => TestServer.spawn(environment(overrides));

const sql = (text: string, values: unknown[] = []): Promise<any[]> => query(database.url, text, values);

beforeAll(async () => {
  [mailbox, database] = await Promise.all([Mailbox.start(), createDatabase()]);
  servers = await Promise.all([1, 2].map(() => TestServer.start(environment())));
  [api, other] = servers.map(({ url }) => new Api(url)) as [Api, Api];
  admin = await api.admin();
});

afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await database.drop();
  await mailbox.close();
});

/** Somebody with an e-mail, made by an administrator: nothing was sent yet. */
async function createPerson(overrides: Record<string, unknown> = {}): Promise<Person> {
  const email = `${uniqueName()}@example.com`;
  return { email, ...(await api.createUser({ email, ...overrides })) };
}

/** Lets a minute pass since the last token of a kind, or longer. */
async function age({ id }: { id: string }, kind: string, interval = '1 minute'): Promise<void> {
  await sql(
    `UPDATE account_tokens SET made_at = made_at - $3::interval, hour_at = hour_at - $3::interval
     WHERE owner_id = $1 AND kind = $2`,
    [id, kind, interval],
  );
}

const ask = (login: string): Promise<Answer> => api.post('/v1/auth/recovery', { login });

const recover = (token: string, newPassword = NEW_PASSWORD, at = api): Promise<Answer> =>
  at.post('/v1/auth/recovery/confirm', { token, newPassword });

const confirm = (token: string, at = api): Promise<Answer> => at.post('/v1/auth/email-confirmation/confirm', { token });

const signIn = (login: string, password: string): Promise<Answer> => api.post('/v1/auth/login', { login, password });

const confirmedAt = async ({ id }: { id: string }): Promise<string | null> =>
  (await admin.get(`/v1/users/${id}/security`)).body.emailConfirmedAt;

async function resetToken(person: Person, count = 1): Promise<string> {
  expect((await ask(person.username)).status).toBe(202);
  return tokenOf(await mailbox.next(person.email, RESET, count));
}

/**
 * Waits until everything that was asked for so far is looked at, and everything that was sent to some accounts has
 * arrived. Other tests ask at the same time.
 */
async function settled(...accounts: { id: string }[]): Promise<void> {
  const [{ now }] = await sql(`SELECT clock_timestamp() + interval '1 ms' AS now`);
  const asked = 'SELECT FROM recovery_requests WHERE created_at <= $1';
  await until(async () => (await sql(asked, [now])).length === 0);
  await until(async () => (await waiting(...accounts)).length === 0);
}

/** What waits to be sent to some accounts. */
function waiting(...accounts: { id: string }[]): Promise<any[]> {
  return sql(
    `SELECT attempts, next_at > now() AS later, next_at < now() + interval '30 seconds' AS soon FROM mail_outbox
     WHERE owner_id = ANY($1)`,
    [accounts.map(({ id }) => id)],
  );
}

/** Has what waits for some accounts sent now. */
function sendNow(...accounts: { id: string }[]): Promise<any[]> {
  return sql('UPDATE mail_outbox SET next_at = now() WHERE owner_id = ANY($1)', [accounts.map(({ id }) => id)]);
}

/** The e-mails that name something, or go to it. */
const about = (text: string): Received[] =>
  mailbox.received.filter(({ mail, raw, recipients }) =>
    [mail.text ?? '', raw, ...recipients].some((each) => each.toLowerCase().includes(text.toLowerCase())),
  );

/** All that is in the database, as text: bytes as they are, in hexadecimal, and as UTF-8. */
async function dump(url: string): Promise<string> {
  const tables = await query(url, `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'`);
  const rows = await Promise.all(tables.map(({ name }) => query(url, `SELECT * FROM ${name}`)));
  const text = JSON.stringify(rows, (_key, value) =>
    value?.type === 'Buffer' ? [Buffer.from(value).toString('hex'), Buffer.from(value).toString('utf8')] : value,
  );
  return text;
}

/** A secret as it is, and as bytes are written. */
function spellingsOf(secret: string): string[] {
  const bytes = [Buffer.from(secret), Buffer.from(secret.replace(/^qmt_/, ''), 'base64url')];
  return [
    secret,
    secret.replace(/^qmt_/, ''),
    ...bytes.flatMap((each) => (['hex', 'base64', 'base64url'] as const).map((encoding) => each.toString(encoding))),
    // Without the id of the account, which is no secret.
    bytes[1]!.subarray(16).toString('hex'),
    bytes[1]!.subarray(18).toString('base64url'),
  ];
}

// First, since it takes longest: a server is started, and killed.
describe('without a mail server that answers', () => {
  test.concurrent(
    'nothing is lost: what was asked for comes when it is back, and what waits is no secret told',
    async () => {
      const own = await createDatabase();
      const post = await Mailbox.start();
      await post.close();
      const server = await spawn({ DATABASE_URL: own.url, SMTP_URL: post.url });
      const there = new Api(server.url);
      const email = `${uniqueName()}@example.com`;
      const username = uniqueName();
      const registered = await there.post('/v1/auth/register', { username, email, password: PASSWORD });
      expect(registered.status).toBe(201);
      expect((await there.post('/v1/auth/recovery', { login: username })).status).toBe(202);
      const refused = `SELECT FROM mail_outbox WHERE attempts > 0 AND next_at < now() + interval '30 seconds'`;
      await until(async () => (await query(own.url, refused)).length === 2);
      const [before, lines] = [await dump(own.url), server.output];
      expect(lines).toMatch(/An e-mail \((reset|confirm)\) was not sent: E\w+\. Next attempt in \d+ s\./);

      await post.open();
      await query(own.url, 'UPDATE mail_outbox SET next_at = now()');
      const tokens = [tokenOf(await post.next(email, RESET)), tokenOf(await post.next(email, CONFIRM))];
      await until(async () => (await query(own.url, 'SELECT FROM mail_outbox')).length === 0);
      expect((await confirm(tokens[1]!, there)).status).toBe(204);
      expect((await recover(tokens[0]!, NEW_PASSWORD, there)).status).toBe(204);
      const after = await dump(own.url);
      const nobody = `${uniqueName()}@example.com`;
      post.refusals.set(nobody, 550);
      await there.post('/v1/auth/register', { username: uniqueName(), email: nobody, password: PASSWORD });
      await until(() => server.output.includes('discarded: EENVELOPE 550'));
      expect(await server.stop()).toBe(0);

      // The search finds what is there.
      const [hash] = tokens.map((token) => createHash('sha256').update(token).digest('hex'));
      expect(before).toContain(hash);
      expect(before).toContain(email);
      for (const text of [before, after, server.output]) {
        for (const secret of tokens.flatMap(spellingsOf)) expect(text.includes(secret)).toBe(false);
      }
      expect(server.output).not.toContain(email);
      await post.close();
      await own.drop();
    },
  );

  test.concurrent('what was changed before a crash is told after it', async () => {
    const own = await createDatabase();
    const post = await Mailbox.start();
    await post.close();
    const first = await spawn({ DATABASE_URL: own.url, SMTP_URL: post.url });
    const there = new Api(first.url);
    const email = `${uniqueName()}@example.com`;
    const username = uniqueName();
    await there.post('/v1/auth/register', { username, email, password: PASSWORD });
    const me = there.as(await there.signIn(username, PASSWORD));
    const change = { currentPassword: PASSWORD, newPassword: NEW_PASSWORD };
    expect((await me.post('/v1/auth/password', change)).status).toBe(204);
    await first.kill();
    await post.open();
    // As if its time had come; else somebody would wait for it.
    await query(own.url, 'UPDATE mail_outbox SET next_at = now()');
    const second = await TestServer.start(environment({ DATABASE_URL: own.url, SMTP_URL: post.url }));
    await post.next(email, PASSWORD_CHANGED);
    await post.next(email, CONFIRM);
    expect(await second.stop()).toBe(0);
    await post.close();
    await own.drop();
  });

  test.concurrent('an answer waits for none: it takes connections and says nothing', async () => {
    const { createServer } = await import('node:net');
    const connections: Socket[] = [];
    const silent = createServer((socket) => connections.push(socket.on('error', () => undefined))).listen(
      0,
      '127.0.0.1',
    );
    await until(() => silent.listening);
    const { port } = silent.address() as { port: number };
    const own = await createDatabase();
    const server = await TestServer.start(environment({ DATABASE_URL: own.url, SMTP_URL: `smtp://127.0.0.1:${port}` }));
    const there = new Api(server.url);
    const username = uniqueName();
    const email = `${username}@example.com`;
    expect((await there.post('/v1/auth/register', { username, email, password: PASSWORD })).status).toBe(201);
    expect((await there.post('/v1/auth/recovery', { login: username })).status).toBe(202);
    await until(async () => (await query(own.url, 'SELECT FROM mail_outbox WHERE attempts > 0')).length > 0);
    expect((await there.signIn(username, PASSWORD)).user.id).toBeDefined();
    // No transaction is open meanwhile; those of other work are over soon.
    const open = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`;
    let isOpen = true;
    await until(async () => {
      const isTrying = connections[0]?.closed === false;
      isOpen = (await query(own.url, open)).length > 0;
      return !isOpen || !isTrying;
    });
    expect(isOpen).toBe(false);
    expect(await server.stop()).toBe(0);
    for (const each of connections) each.destroy();
    silent.close();
    await own.drop();
  });
});

const REQUESTS = 'SELECT login_hash AS hash, login FROM recovery_requests WHERE';

/** Has a person ask four times, in two spellings. Returns the row of the request, which a transaction locks meanwhile. */
async function heldRequest(holder: pg.Client): Promise<{ person: Person; hashes: Buffer[]; row: any }> {
  for (;;) {
    const person = await createPerson();
    await holder.query('BEGIN');
    const [{ now }] = await sql(`SELECT clock_timestamp() - interval '1 ms' AS now`);
    const answers = [await ask(person.email)];
    // The servers skip rows that are locked, but can update them.
    const { rows: held } = await holder.query(`${REQUESTS} created_at >= $1 FOR KEY SHARE SKIP LOCKED`, [now]);
    const logins = [person.email, person.email.toUpperCase(), person.email];
    answers.push(...(await Promise.all(logins.map(ask))));
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202, 202]);
    const hashes = held.map(({ hash }) => hash as Buffer);
    const after = await sql(`${REQUESTS} login_hash = ANY($1)`, [hashes]);
    const [row] = after.filter(({ hash, login }) =>
      held.some((before) => hash.equals(before.hash) && !login.equals(before.login)),
    );
    if (row) return { person, hashes, row };
    // A server took the request before its row was locked.
    await holder.query('ROLLBACK');
  }
}

describe('a forgotten password', () => {
  test.concurrent.each(['username', 'email', 'EMAIL'])(
    'is replaced by a link to the e-mail, asked for by %s',
    async (by) => {
      const person = await createPerson();
      const login = by === 'username' ? person.username : by === 'email' ? person.email : person.email.toUpperCase();
      expect((await ask(login)).status).toBe(202);
      const token = tokenOf(await mailbox.next(person.email, RESET));
      expect(await recover(token)).toMatchObject({ status: 204, text: '' });
      expect((await signIn(person.username, NEW_PASSWORD)).status).toBe(200);
      expectProblem(await signIn(person.username, PASSWORD), 401, 'invalid_credentials');
    },
  );

  test.concurrent('is replaced on one process, and every session ends on all', async () => {
    const person = await createPerson();
    const second = await api.signIn(person.username, PASSWORD);
    const token = await resetToken(person);
    expect((await recover(token, NEW_PASSWORD, other)).status).toBe(204);
    for (const { accessToken } of [person, second]) {
      for (const each of [api, other]) {
        expectProblem(await each.as({ accessToken }).get('/v1/users/me'), 401, 'invalid_token');
      }
    }
    const { refreshToken } = second;
    expectProblem(await api.post('/v1/auth/refresh', { refreshToken }), 401, 'invalid_token');
  });

  test.concurrent('replaced by e-mail confirms the e-mail, and its holder is told', async () => {
    const person = await createPerson();
    expect(await confirmedAt(person)).toBeNull();
    expect((await recover(await resetToken(person))).status).toBe(204);
    expect(await confirmedAt(person)).toMatch(/^\d{4}-.*Z$/);
    const { mail } = await mailbox.next(person.email, PASSWORD_CHANGED);
    expect(mail.text).toContain(`account ${person.username}`);
    expect(mail.text).not.toContain('token=');
  });

  test.concurrent('has a token that is good once', async () => {
    const token = await resetToken(await createPerson());
    expect((await recover(token)).status).toBe(204);
    expectProblem(await recover(token, 'Yet-Another-9'), 401, 'invalid_token');
  });

  test.concurrent('has a token that one of a hundred at once can use', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    const passwords = Array.from({ length: 100 }, (_, n) => `Difference-${n}`);
    const answers = await Promise.all(passwords.map((password, n) => recover(token, password, n % 2 ? api : other)));
    const won = answers.flatMap(({ status }, n) => (status === 204 ? [passwords[n]!] : []));
    expect(won).toHaveLength(1);
    for (const answer of answers.filter(({ status }) => status !== 204)) expectProblem(answer, 401, 'invalid_token');
    expect((await signIn(person.username, won[0]!)).status).toBe(200);
    await settled(person);
    expect(mailbox.to(person.email, PASSWORD_CHANGED)).toHaveLength(1);
  });

  test.concurrent('has a token that is good for half an hour', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    const [row] = await sql(
      `SELECT extract(epoch FROM expires_at - made_at)::int AS seconds FROM account_tokens WHERE owner_id = $1`,
      [person.id],
    );
    expect(row).toEqual({ seconds: 1_800 });
    await sql(`UPDATE account_tokens SET expires_at = now() WHERE owner_id = $1`, [person.id]);
    expectProblem(await recover(token), 401, 'invalid_token');
    expect((await signIn(person.username, PASSWORD)).status).toBe(200);
  });

  test.concurrent('has one token: a newer one is in its place', async () => {
    const person = await createPerson();
    const first = await resetToken(person);
    await age(person, 'reset');
    const second = await resetToken(person, 2);
    expectProblem(await recover(first), 401, 'invalid_token');
    expect((await recover(second)).status).toBe(204);
  });

  test.concurrent('is mailed once a minute and five times an hour at most, and the answer is the same', async () => {
    const person = await createPerson();
    const tokens = [await resetToken(person)];
    const again = async (): Promise<void> => {
      expect(await ask(person.email)).toMatchObject({ status: 202, text: '' });
      await settled(person);
    };
    await again();
    expect(mailbox.to(person.email)).toHaveLength(1);
    for (let n = 2; n <= 5; n++) {
      await age(person, 'reset');
      tokens.push(await resetToken(person, n));
    }
    await age(person, 'reset');
    await again();
    expect(mailbox.to(person.email)).toHaveLength(5);
    // What was not sent took nothing from what was.
    await age(person, 'reset', '1 hour');
    await sql(`UPDATE account_tokens SET expires_at = now() + interval '1 minute' WHERE owner_id = $1`, [person.id]);
    tokens.push(await resetToken(person, 6));
    for (const token of tokens.slice(0, -1)) expectProblem(await recover(token), 401, 'invalid_token');
    expect((await recover(tokens.at(-1)!)).status).toBe(204);
  });

  test.concurrent(
    'is answered alike whether there is such an account or not, and mailed only where there is',
    async () => {
      // Nobody asks for the last.
      const [person, disabled, silent] = [await createPerson(), await createPerson(), await createPerson()];
      const withoutEmail = await api.createUser();
      expect((await admin.patch(`/v1/users/${disabled.id}`, { status: 'disabled' })).status).toBe(200);
      const unknown = `${uniqueName()}@example.com`;
      const logins = [
        ...[person.username, person.email, disabled.username, disabled.email, withoutEmail.username],
        ...[uniqueName(), unknown, 'me', person.id, 'ﷺ'.repeat(254), `' OR 1=1 --`, '%'],
      ];
      const answers = await Promise.all(logins.map(ask));
      const visible = answers.map(({ status, text, headers }) => {
        const names = [...headers.entries()].filter(([name]) => !['date', 'x-request-id'].includes(name));
        return JSON.stringify({ status, text, names });
      });
      expect(answers[0]!.status).toBe(202);
      expect([...new Set(visible)]).toHaveLength(1);
      await mailbox.next(person.email, RESET);
      await settled(person, disabled, silent, withoutEmail);
      const sent = [person.email, disabled.email, silent.email, withoutEmail.username, unknown].flatMap(about);
      expect(sent.map(({ recipients }) => recipients)).toEqual([[person.email]]);
    },
  );

  test.concurrent('is asked for by one row, sealed, however often and by whichever spelling', async () => {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    try {
      const { person, hashes, row } = await heldRequest(holder);
      expect(row.login.toString('latin1')).not.toContain(person.email);
      // There is no other row of the person: the servers have taken all others.
      await until(async () => (await sql(`${REQUESTS} login_hash <> ALL($1)`, [hashes])).length === 0);
      expect([...(await waiting(person)), ...mailbox.to(person.email)]).toEqual([]);
      await holder.query('COMMIT');
      await settled(person);
      expect(mailbox.to(person.email, RESET)).toHaveLength(1);
    } finally {
      await holder.end();
    }
  });

  test.concurrent('tells of the policy only whoever has a good token, and leaves it good', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    expectProblem(await recover(token, 'short'), 400, 'validation_failed');
    const common = await recover(token, 'Password1!');
    expectProblem(common, 400, 'validation_failed');
    expect(common.body.errors).toEqual([{ pointer: '/newPassword', detail: 'must not be a common password' }]);
    expectProblem(await recover(`${token.slice(0, -4)}AAAA`, 'short'), 401, 'invalid_token');
    expect((await recover(token)).status).toBe(204);
  });

  test.concurrent('is set by no token that is altered, of another, of another kind, or made up', async () => {
    const [person, stranger] = await Promise.all([createPerson(), createPerson()]);
    const token = await resetToken(person);
    const strangers = await resetToken(stranger);
    expect((await api.as(person).post('/v1/auth/email-confirmation')).status).toBe(202);
    const confirming = tokenOf(await mailbox.next(person.email, CONFIRM));
    // Owner of the one, secret of the other: 16 bytes are not a whole number of digits, so by bytes.
    const bytesOf = (text: string): Buffer => Buffer.from(text.slice(4), 'base64url');
    const mixed = Buffer.concat([bytesOf(token).subarray(0, 16), bytesOf(strangers).subarray(16)]);
    const altered = bytesOf(token);
    altered[47]! ^= 1;
    const wrong = [
      confirming,
      `qmt_${mixed.toString('base64url')}`,
      `qmt_${altered.toString('base64url')}`,
      `${token} `,
      token.slice(0, -1),
      token.toUpperCase(),
      person.refreshToken,
      person.accessToken.slice(0, 1_000),
      createHash('sha256').update(token).digest('hex'),
      '',
      '\0',
      'é'.repeat(1_000),
    ];
    for (const text of wrong) expectProblem(await recover(text), 401, 'invalid_token');
    for (const text of [token, ...wrong.slice(1)]) expectProblem(await confirm(text), 401, 'invalid_token');
    expect((await signIn(person.username, PASSWORD)).status).toBe(200);
    expect((await recover(token)).status).toBe(204);
  });

  test.concurrent.each([
    [
      'its user changes the password',
      (person: Person) =>
        api.as(person).post('/v1/auth/password', { currentPassword: PASSWORD, newPassword: 'Changed-Since-9' }),
    ],
    [
      'an administrator sets one',
      (person: Person) => admin.patch(`/v1/users/${person.id}`, { password: 'Changed-Since-9' }),
    ],
    [
      'the e-mail changes',
      (person: Person) => api.as(person).patch('/v1/users/me', { email: `${uniqueName()}@example.com` }),
    ],
    ['the e-mail is removed', (person: Person) => api.as(person).patch('/v1/users/me', { email: null })],
    ['the account is deleted', (person: Person) => admin.delete(`/v1/users/${person.id}`)],
  ] as const)('has no good token any more when %s', async (_what, change) => {
    const person = await createPerson();
    const token = await resetToken(person);
    const link = (await admin.post(`/v1/users/${person.id}/reset-link`)).body.token;
    expect((await change(person)).status).toBeLessThan(300);
    for (const each of [token, link]) expectProblem(await recover(each), 401, 'invalid_token');
  });

  test.concurrent('keeps its token when something else changes, or the e-mail only in case', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    const changes = { firstName: 'Ada', username: uniqueName(), email: person.email.toUpperCase() };
    expect((await api.as(person).patch('/v1/users/me', changes)).status).toBe(200);
    expect((await recover(token)).status).toBe(204);
  });

  test.concurrent('that is replaced leaves the second factor: the new one alone lets nobody in', async () => {
    const person = await createPerson();
    const { recoveryCodes } = await enableTotp(api, person);
    expect((await recover(await resetToken(person))).status).toBe(204);
    expectProblem(await signIn(person.username, NEW_PASSWORD), 401, 'totp_required');
    const credentials = { login: person.username, password: NEW_PASSWORD };
    expect((await api.post('/v1/auth/login', { ...credentials, code: recoveryCodes[0] })).status).toBe(200);
  });

  test.concurrent('of a disabled account cannot be replaced while it is', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    await admin.patch(`/v1/users/${person.id}`, { status: 'disabled' });
    expectProblem(await recover(token), 403, 'account_disabled');
    await admin.patch(`/v1/users/${person.id}`, { status: 'active' });
    expect((await recover(token)).status).toBe(204);
  });
});

describe('a link of an administrator’s', () => {
  test.concurrent('sets a password, and says nothing of the e-mail', async () => {
    const person = await createPerson();
    const made = await admin.post(`/v1/users/${person.username}/reset-link`);
    expect(made).toMatchObject({
      status: 201,
      body: { url: `${PUBLIC_URL}/recovery#token=${made.body.token}`, expiresAt: expect.stringMatching(/Z$/) },
    });
    expect((await recover(made.body.token)).status).toBe(204);
    expect((await signIn(person.username, NEW_PASSWORD)).status).toBe(200);
    expectProblem(await api.as(person).get('/v1/users/me'), 401, 'invalid_token');
    expect(await confirmedAt(person)).toBeNull();
    await mailbox.next(person.email, PASSWORD_CHANGED);
  });

  test.concurrent('takes the place of the one before, but of none that was mailed, nor the other way', async () => {
    const person = await createPerson();
    const link = async (): Promise<string> => (await admin.post(`/v1/users/${person.id}/reset-link`)).body.token;
    const [mailed, first, second] = [await resetToken(person), await link(), await link()];
    expectProblem(await recover(first), 401, 'invalid_token');
    // Whoever asks for e-mails in somebody's name cannot void what an administrator handed over.
    await age(person, 'reset');
    const later = await resetToken(person, 2);
    expectProblem(await recover(mailed), 401, 'invalid_token');
    expect((await recover(second)).status).toBe(204);
    expectProblem(await recover(later), 401, 'invalid_token');
  });

  test.concurrent('is for administrators to make, of accounts that exist', async () => {
    const [person, stranger] = await Promise.all([createPerson(), createPerson()]);
    for (const each of [person, stranger]) {
      expectProblem(await api.as(each).post(`/v1/users/${person.id}/reset-link`), 403, 'forbidden');
    }
    expectProblem(await admin.post(`/v1/users/${uniqueName()}/reset-link`), 404, 'not_found');
    expect(await sql('SELECT FROM account_tokens WHERE owner_id = $1', [person.id])).toEqual([]);
  });

  test.concurrent('works where there is no mail server, and then nothing is written to be mailed', async () => {
    const shared = sharedApi();
    const email = `${uniqueName()}@example.com`;
    const registered = await shared.post('/v1/auth/register', { username: uniqueName(), email, password: PASSWORD });
    expect(registered.status).toBe(201);
    const { id, username } = registered.body;
    const me = shared.as(await shared.signIn(username, PASSWORD));
    expect((await shared.post('/v1/auth/recovery', { login: email })).status).toBe(202);
    expect((await me.post('/v1/auth/email-confirmation')).status).toBe(202);
    expect((await me.patch('/v1/users/me', { email: `x${email}` })).status).toBe(200);
    const { token, url } = (await (await shared.admin()).post(`/v1/users/${id}/reset-link`)).body;
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/recovery#token=/);
    expect((await recover(token, NEW_PASSWORD, shared)).status).toBe(204);
    expect((await shared.signIn(username, NEW_PASSWORD)).user.id).toBe(id);
    const rows = await query(
      process.env.TEST_SERVER_DATABASE ?? '',
      `SELECT kind FROM mail_outbox WHERE owner_id = $1 UNION ALL SELECT kind FROM account_tokens WHERE owner_id = $1
       UNION ALL SELECT 'request' FROM recovery_requests`,
      [id],
    );
    expect(rows).toEqual([{ kind: 'link' }]);
  });
});

describe('an e-mail address', () => {
  async function register(email: string): Promise<Person> {
    const username = uniqueName();
    const made = await api.post('/v1/auth/register', { username, email, password: PASSWORD });
    expect(made.status).toBe(201);
    return { email, password: PASSWORD, ...made.body, ...(await api.signIn(username, PASSWORD)) };
  }

  test.concurrent('is confirmed with the token that comes at registration, once', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    expect(await confirmedAt(person)).toBeNull();
    expect(await confirm(token)).toMatchObject({ status: 204, text: '' });
    const at = await confirmedAt(person);
    expect(at).not.toBeNull();
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect((await api.as(person).get('/v1/users/me/security')).body).toMatchObject({ emailConfirmedAt: at });
    // Nothing of it shows where the contract has no place for it, and no session ended.
    expect((await api.as(person).get('/v1/users/me')).body).not.toHaveProperty('emailConfirmedAt');
  });

  test.concurrent('is confirmed by one of a hundred at once', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => confirm(token, n % 2 ? api : other)));
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(99);
  });

  test.concurrent('is not confirmed after a day', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    await sql(`UPDATE account_tokens SET expires_at = now() WHERE owner_id = $1`, [person.id]);
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect(await confirmedAt(person)).toBeNull();
  });

  test.concurrent('that is changed is not confirmed, its tokens are void, and the old one hears of it', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    expect((await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)))).status).toBe(204);
    const email = `${uniqueName()}@example.com`;
    expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
    expect(await confirmedAt(person)).toBeNull();
    const { mail } = await mailbox.next(person.email, EMAIL_CHANGED);
    expect(`${mail.text} ${mail.html}`).not.toContain(email);
    const token = tokenOf(await mailbox.next(email, CONFIRM));
    // And back: the token that went to the other address is of no use.
    expect((await api.as(person).patch('/v1/users/me', { email: person.email })).status).toBe(200);
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect((await confirm(tokenOf(await mailbox.next(person.email, CONFIRM, 2)))).status).toBe(204);
    await mailbox.next(email, EMAIL_CHANGED);
  });

  test.concurrent(
    'that is changed to one that only looks the same is another mailbox, and the old one hears of it',
    async () => {
      const person = await register(`owner${uniqueName()}@example.com`);
      await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)));
      const email = person.email.replace('o', '\uff4f');
      expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
      expect(await confirmedAt(person)).toBeNull();
      await mailbox.next(person.email, EMAIL_CHANGED);
    },
  );

  test.concurrent('that changes only in case stays confirmed, and nobody is told', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)));
    const at = await confirmedAt(person);
    const email = person.email.toUpperCase();
    expect((await api.as(person).patch('/v1/users/me', { email })).body).toMatchObject({ email });
    expect(await confirmedAt(person)).toBe(at);
    await settled(person);
    expect(mailbox.to(person.email)).toHaveLength(1);
  });

  test.concurrent('is asked for again at most once a minute, and only where there is one to confirm', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const first = tokenOf(await mailbox.next(person.email, CONFIRM));
    const me = api.as(person);
    const refused = await me.post('/v1/auth/email-confirmation');
    expectProblem(refused, 429, 'too_many_attempts');
    const wait = Number(refused.headers.get('retry-after'));
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(60);
    await age(person, 'confirm');
    expect((await me.post('/v1/auth/email-confirmation')).status).toBe(202);
    const second = tokenOf(await mailbox.next(person.email, CONFIRM, 2));
    expectProblem(await confirm(first), 401, 'invalid_token');
    expect((await confirm(second)).status).toBe(204);
    expectProblem(await me.post('/v1/auth/email-confirmation'), 409, 'nothing_to_confirm');
    const nobody = await api.createUser();
    expectProblem(await api.as(nobody).post('/v1/auth/email-confirmation'), 409, 'nothing_to_confirm');
  });

  test.concurrent('of strangers is mailed five times an hour at most by whoever changes to it and away', async () => {
    const person = await createPerson();
    const strangers = Array.from({ length: 12 }, () => `${uniqueName()}@example.com`);
    for (const email of [...strangers, person.email]) {
      expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
    }
    await settled(person);
    const told = strangers.map((email) => mailbox.to(email, EMAIL_CHANGED).length);
    expect(told).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Those that were still to be sent when the address changed again are not.
    const asked = strangers.map((email) => mailbox.to(email, CONFIRM).length);
    expect(Math.max(...asked.slice(0, 5))).toBeLessThanOrEqual(1);
    expect(asked.slice(5)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    const again = await api.as(person).post('/v1/auth/email-confirmation');
    expectProblem(again, 429, 'too_many_attempts');
    expect(Number(again.headers.get('retry-after'))).toBeGreaterThan(3_000);
  });

  test.concurrent('that an administrator gave is not written to unasked', async () => {
    const person = await createPerson();
    await settled(person);
    expect(mailbox.to(person.email)).toEqual([]);
  });
});

describe('a notice', () => {
  test.concurrent('comes when the user or an administrator changes the password', async () => {
    const person = await createPerson();
    const newPassword = 'Changed-Since-9';
    const me = api.as(person);
    expect((await me.post('/v1/auth/password', { currentPassword: PASSWORD, newPassword })).status).toBe(204);
    await mailbox.next(person.email, PASSWORD_CHANGED);
    expect((await admin.patch(`/v1/users/${person.id}`, { password: PASSWORD })).status).toBe(200);
    await mailbox.next(person.email, PASSWORD_CHANGED, 2);
  });

  test.concurrent('of both goes to the address that the account had', async () => {
    const person = await createPerson();
    const email = `${uniqueName()}@example.com`;
    expect((await admin.patch(`/v1/users/${person.id}`, { password: NEW_PASSWORD, email })).status).toBe(200);
    await mailbox.next(person.email, PASSWORD_CHANGED);
    await mailbox.next(person.email, EMAIL_CHANGED);
    await mailbox.next(email, CONFIRM);
    expect(mailbox.to(email, PASSWORD_CHANGED)).toEqual([]);
  });

  test.concurrent('does not come of what did not happen', async () => {
    const [person, taken] = await Promise.all([createPerson(), createPerson()]);
    const change = { password: NEW_PASSWORD, email: taken.email };
    expectProblem(await admin.patch(`/v1/users/${person.id}`, change), 409, 'email_taken');
    const wrong = { currentPassword: 'Not-My-Password-1', newPassword: NEW_PASSWORD };
    expectProblem(await api.as(person).post('/v1/auth/password', wrong), 401, 'invalid_credentials');
    await settled(person, taken);
    expect(mailbox.to(person.email)).toEqual([]);
  });
});

describe('an e-mail', () => {
  test.concurrent('is text and HTML that say the same, from whom it should be, and nothing else', async () => {
    const person = await createPerson();
    await resetToken(person);
    const { mail, raw, recipients } = await mailbox.next(person.email, RESET);
    expect(recipients).toEqual([person.email]);
    expect(mail).toMatchObject({
      from: { name: 'The Stores', address: 'qm@example.com' },
      to: [{ address: person.email }],
      subject: 'Set a new password',
      messageId: expect.stringMatching(/^<[0-9a-f-]{36}@qm\.example\.com>$/),
      attachments: [],
    });
    expect(mail.cc).toBeUndefined();
    expect(raw).toMatch(/^Auto-Submitted: auto-generated$/m);
    expect(raw).toMatch(/^Content-Type: multipart\/alternative/m);
    const link = /https:\S+token=\S+/.exec(mail.text ?? '')?.[0] ?? '';
    expect(link).toMatch(new RegExp(`^${PUBLIC_URL}/recovery#token=qmt_[\\w-]{64}$`));
    expect(mail.html).toContain(`href="${link}"`);
  });

  test.concurrent('holds what an account is named by as text only', async () => {
    const email = `o'neil&co@${uniqueName()}.example.com`;
    expect((await admin.post('/v1/users', { email, password: PASSWORD })).status).toBe(201);
    expect((await ask(email)).status).toBe(202);
    const { mail } = await mailbox.next(email, RESET);
    expect(mail.text).toContain(`the account ${email} at`);
    expect(mail.html).toContain(`the account ${email.replace("'", '&#39;').replace('&co', '&amp;co')} at`);
  });

  test.concurrent.each(['"eve@evil.example,x"', '"eve@evil.example> x"', '"x<eve@evil.example>"', '"x@evil.example "'])(
    'goes to nobody else, whatever an address looks like: %s',
    async (name) => {
      const domain = `${uniqueName()}.example.com`;
      const email = `${name}@${domain}`;
      // Either it is no address, or it is that one.
      const { status, body } = await admin.post('/v1/users', { email, password: PASSWORD });
      expect([201, 400]).toContain(status);
      expect((await ask(email)).status).toBe(202);
      await settled(...(status === 201 ? [body] : []));
      // Its text names the account, whoever gets it.
      const recipients = about(domain).flatMap((received) => received.recipients);
      expect(recipients.filter((recipient) => recipient !== email)).toEqual([]);
    },
  );

  test.concurrent('goes to an address of another script as it is', async () => {
    const email = `ädä.${uniqueName()}@exämple.com`;
    expect((await admin.post('/v1/users', { email, password: PASSWORD })).status).toBe(201);
    await ask(email);
    expect((await mailbox.next(email, RESET)).mail.to).toMatchObject([{ address: email }]);
  });

  test.concurrent('is sent once, by whichever process comes first', async () => {
    const people = await Promise.all(Array.from({ length: 10 }, () => createPerson()));
    await Promise.all(people.flatMap(({ username, email }) => [ask(username), ask(email)]));
    await Promise.all(people.map(({ email }) => mailbox.next(email, RESET)));
    await settled(...people);
    const sent = people.flatMap(({ email }) => mailbox.to(email)).map(({ recipients }) => recipients[0]);
    expect(sent.sort()).toEqual(people.map(({ email }) => email).sort());
  });

  test.concurrent('that is refused for now is tried again; one to nobody is given up', async () => {
    const [busy, gone] = await Promise.all([createPerson(), createPerson()]);
    mailbox.refusals.set(busy.email, 450).set(gone.email, 550);
    await Promise.all([ask(busy.username), ask(gone.username)]);
    // Refused: while it is tried it is not due for a minute.
    await until(async () => (await waiting(busy)).some(({ attempts, later, soon }) => attempts > 0 && later && soon));
    await until(async () => (await waiting(gone)).length === 0);
    expect(await waiting(busy, gone)).toHaveLength(1);
    for (const { email } of [busy, gone]) mailbox.refusals.delete(email);
    await sendNow(busy);
    await mailbox.next(busy.email, RESET);
    await settled(busy, gone);
    expect(mailbox.to(gone.email)).toEqual([]);
  });

  test.concurrent('that is of no use any more is not sent', async () => {
    const people = await Promise.all(Array.from({ length: 3 }, () => createPerson()));
    const [late, changed, deleted] = people as [Person, Person, Person];
    for (const { email } of people) mailbox.refusals.set(email, 450);
    await Promise.all(people.map(({ username }) => ask(username)));
    // Refused, each: while one is tried it is not due for a minute.
    await until(
      async () => (await waiting(...people)).filter(({ attempts, soon }) => attempts > 0 && soon).length === 3,
    );
    await sql('UPDATE mail_outbox SET expires_at = now() WHERE owner_id = $1', [late.id]);
    await admin.patch(`/v1/users/${changed.id}`, { email: null });
    expect((await admin.delete(`/v1/users/${deleted.id}`)).status).toBe(204);
    for (const { email } of people) mailbox.refusals.delete(email);
    await sendNow(...people);
    await settled(...people);
    for (const { email } of people) expect(mailbox.to(email, RESET)).toEqual([]);
  });
});

describe('the pages that links lead to', () => {
  test.concurrent.each(['/recovery', '/email-confirmation'])(
    '%s is whole, runs only its own script, and tells nobody',
    async (path) => {
      const answer = await api.get(path);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      const policy = answer.headers.get('content-security-policy') ?? '';
      expect(policy).toMatch(/default-src 'none'.*form-action 'none'.*frame-ancestors 'none'/);
      expect(policy).not.toMatch(/unsafe|https?:|\*/);
      for (const element of ['script', 'style']) {
        const [, text = ''] = new RegExp(`<${element}>([^]*?)</${element}>`).exec(answer.text) ?? [];
        expect(text.length).toBeGreaterThan(100);
        expect(policy).toContain(`'sha256-${createHash('sha256').update(text).digest('base64')}'`);
      }
      expect(answer.text).not.toMatch(/https?:\/\/|\ssrc=|\son\w+=|\sstyle=/);
    },
  );
});
