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
/** A second process of the same platform. */
let other: Api;
let admin: Api;

const environment = (overrides: Record<string, string> = {}): Record<string, string> => ({
  ...{ DATABASE_URL: database.url, SMTP_URL: mailbox.url, PUBLIC_URL, MAIL_FROM: 'The Stores <qm@example.com>' },
  // Recovery requests are limited by client address; `Api` sends its own address for each user.
  ...{ LOG_LEVEL: 'debug', TRUST_PROXY: '127.0.0.1', ...overrides },
});

/** Starts a server in its own process, so that its log contains only its e-mails, or so that it can be killed. */
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

/** Creates a user with an e-mail through an administrator, which sends no e-mail. */
async function createPerson(overrides: Record<string, unknown> = {}): Promise<Person> {
  const email = `${uniqueName()}@example.com`;
  return { email, ...(await api.createUser({ email, ...overrides })) };
}

/** Moves the last token of a kind into the past, by a minute unless told otherwise. */
async function age({ id }: { id: string }, kind: string, interval = '1 minute'): Promise<void> {
  await sql(
    `WITH aged AS MATERIALIZED (
       SELECT made_at - $3::interval AS made_at, hour_at - $3::interval AS hour_at FROM account_tokens
       WHERE owner_id = $1 AND kind = $2
     )
     UPDATE account_tokens t SET made_at = aged.made_at, hour_at = aged.hour_at FROM aged WHERE t.owner_id = $1 AND t.kind = $2`,
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
 * Waits until all recovery requests made so far are processed and all e-mails to the given accounts are sent. Other
 * tests send requests at the same time.
 */
async function settled(...accounts: { id: string }[]): Promise<void> {
  const [{ now }] = await sql(`SELECT clock_timestamp() + interval '1 ms' AS now`);
  const asked = 'SELECT FROM recovery_requests WHERE created_at <= $1';
  await until(async () => (await sql(asked, [now])).length === 0);
  await until(async () => (await waiting(...accounts)).length === 0);
}

/** Returns the e-mails in the outbox for the given accounts. */
function waiting(...accounts: { id: string }[]): Promise<any[]> {
  return sql(
    `SELECT attempts, next_at > now() AS later, next_at < now() + interval '30 seconds' AS soon FROM mail_outbox
     WHERE owner_id = ANY($1)`,
    [accounts.map(({ id }) => id)],
  );
}

/** Makes the e-mails in the outbox for the given accounts due now. */
function sendNow(...accounts: { id: string }[]): Promise<any[]> {
  return sql('UPDATE mail_outbox SET next_at = now() WHERE owner_id = ANY($1)', [accounts.map(({ id }) => id)]);
}

/** Returns the received e-mails that contain a text or are addressed to it. */
const about = (text: string): Received[] =>
  mailbox.received.filter(({ mail, raw, recipients }) =>
    [mail.text ?? '', raw, ...recipients].some((each) => each.toLowerCase().includes(text.toLowerCase())),
  );

/** Dumps the database as text. Bytes appear in hexadecimal and as UTF-8. */
async function dump(url: string): Promise<string> {
  const tables = await query(url, `SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'`);
  const rows = await Promise.all(tables.map(({ name }) => query(url, `SELECT * FROM ${name}`)));
  const text = JSON.stringify(rows, (_key, value) =>
    value?.type === 'Buffer' ? [Buffer.from(value).toString('hex'), Buffer.from(value).toString('utf8')] : value,
  );
  return text;
}

/** Returns the encodings in which a secret could appear. */
function spellingsOf(secret: string): string[] {
  const bytes = [Buffer.from(secret), Buffer.from(secret.replace(/^qmt_/, ''), 'base64url')];
  return [
    secret,
    secret.replace(/^qmt_/, ''),
    ...bytes.flatMap((each) => (['hex', 'base64', 'base64url'] as const).map((encoding) => each.toString(encoding))),
    // Without the account id, which is not secret.
    bytes[1]!.subarray(16).toString('hex'),
    bytes[1]!.subarray(18).toString('base64url'),
  ];
}

// First, because it takes longest: it starts and kills servers.
describe('mail server unavailable', () => {
  test.concurrent(
    'unreachable: e-mails are sent when it returns, and neither outbox nor logs contain a token',
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

      // Proves that the dump contains stored values, so that the search below can find tokens.
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

  test.concurrent('process killed after a password change: the notice is sent after the restart', async () => {
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
    // Makes the e-mails due now, instead of waiting for the retry.
    await query(own.url, 'UPDATE mail_outbox SET next_at = now()');
    const second = await TestServer.start(environment({ DATABASE_URL: own.url, SMTP_URL: post.url }));
    await post.next(email, PASSWORD_CHANGED);
    await post.next(email, CONFIRM);
    expect(await second.stop()).toBe(0);
    await post.close();
    await own.drop();
  });

  test.concurrent(
    'accepts connections but never answers: requests get their responses, and no transaction stays open',
    async () => {
      const { createServer } = await import('node:net');
      const connections: Socket[] = [];
      const silent = createServer((socket) => connections.push(socket.on('error', () => undefined))).listen(
        0,
        '127.0.0.1',
      );
      await until(() => silent.listening);
      const { port } = silent.address() as { port: number };
      const own = await createDatabase();
      const server = await TestServer.start(
        environment({ DATABASE_URL: own.url, SMTP_URL: `smtp://127.0.0.1:${port}` }),
      );
      const there = new Api(server.url);
      const username = uniqueName();
      const email = `${username}@example.com`;
      expect((await there.post('/v1/auth/register', { username, email, password: PASSWORD })).status).toBe(201);
      expect((await there.post('/v1/auth/recovery', { login: username })).status).toBe(202);
      await until(async () => (await query(own.url, 'SELECT FROM mail_outbox WHERE attempts > 0')).length > 0);
      expect((await there.signIn(username, PASSWORD)).user.id).toBeDefined();
      // No transaction stays open during the attempt; transactions of other work end soon.
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
    },
  );
});

const REQUESTS = 'SELECT login_hash AS hash, login FROM recovery_requests WHERE';

/** Sends four recovery requests of one person in two spellings, while a transaction locks the row. Returns the row. */
async function heldRequest(holder: pg.Client): Promise<{ person: Person; hashes: Buffer[]; row: any }> {
  for (;;) {
    const person = await createPerson();
    await holder.query('BEGIN');
    const [{ now }] = await sql(`SELECT clock_timestamp() - interval '1 ms' AS now`);
    const answers = [await ask(person.email)];
    // The servers skip locked rows when they claim requests, but can still update them.
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
    // A server claimed the request before the row was locked; tries again.
    await holder.query('ROLLBACK');
  }
}

describe('password recovery', () => {
  test.concurrent.each(['username', 'email', 'EMAIL'])(
    'requested by %s: the e-mailed token sets a new password',
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

  test.concurrent('confirmed on one process: every session ends on both', async () => {
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

  test.concurrent('confirms the e-mail address and sends a notice', async () => {
    const person = await createPerson();
    expect(await confirmedAt(person)).toBeNull();
    expect((await recover(await resetToken(person))).status).toBe(204);
    expect(await confirmedAt(person)).toMatch(/^\d{4}-.*Z$/);
    const { mail } = await mailbox.next(person.email, PASSWORD_CHANGED);
    expect(mail.text).toContain(`account ${person.username}`);
    expect(mail.text).not.toContain('token=');
  });

  test.concurrent('token used again: 401', async () => {
    const token = await resetToken(await createPerson());
    expect((await recover(token)).status).toBe(204);
    expectProblem(await recover(token, 'Yet-Another-9'), 401, 'invalid_token');
  });

  test.concurrent('token used by 100 concurrent requests: exactly one succeeds', async () => {
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

  test.concurrent('token after 30 minutes: 401', async () => {
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

  test.concurrent('newer token: the older one gets 401', async () => {
    const person = await createPerson();
    const first = await resetToken(person);
    await age(person, 'reset');
    const second = await resetToken(person, 2);
    expectProblem(await recover(first), 401, 'invalid_token');
    expect((await recover(second)).status).toBe(204);
  });

  test.concurrent('repeated requests: at most one e-mail a minute and five an hour, always 202', async () => {
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
    // Requests over the limit leave the tokens and the limit of the next hour unchanged.
    await age(person, 'reset', '1 hour');
    await sql(`UPDATE account_tokens SET expires_at = now() + interval '1 minute' WHERE owner_id = $1`, [person.id]);
    tokens.push(await resetToken(person, 6));
    for (const token of tokens.slice(0, -1)) expectProblem(await recover(token), 401, 'invalid_token');
    expect((await recover(tokens.at(-1)!)).status).toBe(204);
  });

  test.concurrent('account unknown, disabled or without an e-mail: the same 202, but no e-mail is sent', async () => {
    // No recovery is requested for the last account.
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
  });

  test.concurrent('repeated requests in any spelling: one encrypted row, one e-mail', async () => {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    try {
      const { person, hashes, row } = await heldRequest(holder);
      expect(row.login.toString('latin1')).not.toContain(person.email);
      // Only the locked row is left: the servers have processed all others.
      await until(async () => (await sql(`${REQUESTS} login_hash <> ALL($1)`, [hashes])).length === 0);
      expect([...(await waiting(person)), ...mailbox.to(person.email)]).toEqual([]);
      await holder.query('COMMIT');
      await settled(person);
      expect(mailbox.to(person.email, RESET)).toHaveLength(1);
    } finally {
      await holder.end();
    }
  });

  test.concurrent('password against the policy: 400 only with a valid token, which remains valid', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    expectProblem(await recover(token, 'short'), 400, 'validation_failed');
    const common = await recover(token, 'Password1!');
    expectProblem(common, 400, 'validation_failed');
    expect(common.body.errors).toEqual([{ pointer: '/newPassword', detail: 'must not be a common password' }]);
    expectProblem(await recover(`${token.slice(0, -4)}AAAA`, 'short'), 401, 'invalid_token');
    expect((await recover(token)).status).toBe(204);
  });

  test.concurrent('altered, foreign or invented token, or token of another kind: 401', async () => {
    const [person, stranger] = await Promise.all([createPerson(), createPerson()]);
    const token = await resetToken(person);
    const strangers = await resetToken(stranger);
    expect((await api.as(person).post('/v1/auth/email-confirmation')).status).toBe(202);
    const confirming = tokenOf(await mailbox.next(person.email, CONFIRM));
    // Owner of one token and secret of the other. Combined as bytes, because 16 bytes do not end on a base64 digit.
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
  ] as const)('token after this change: 401: %s', async (_what, change) => {
    const person = await createPerson();
    const token = await resetToken(person);
    const link = (await admin.post(`/v1/users/${person.id}/reset-link`)).body.token;
    expect((await change(person)).status).toBeLessThan(300);
    for (const each of [token, link]) expectProblem(await recover(each), 401, 'invalid_token');
  });

  test.concurrent('token after another change, or a change of case in the e-mail: remains valid', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    const changes = { firstName: 'Ada', username: uniqueName(), email: person.email.toUpperCase() };
    expect((await api.as(person).patch('/v1/users/me', changes)).status).toBe(200);
    expect((await recover(token)).status).toBe(204);
  });

  test.concurrent('second factor: remains required after the password is replaced', async () => {
    const person = await createPerson();
    const { recoveryCodes } = await enableTotp(api, person);
    expect((await recover(await resetToken(person))).status).toBe(204);
    expectProblem(await signIn(person.username, NEW_PASSWORD), 401, 'totp_required');
    const credentials = { login: person.username, password: NEW_PASSWORD };
    expect((await api.post('/v1/auth/login', { ...credentials, code: recoveryCodes[0] })).status).toBe(200);
  });

  test.concurrent('account disabled: 403; enabled again: the token is valid', async () => {
    const person = await createPerson();
    const token = await resetToken(person);
    await admin.patch(`/v1/users/${person.id}`, { status: 'disabled' });
    expectProblem(await recover(token), 403, 'account_disabled');
    await admin.patch(`/v1/users/${person.id}`, { status: 'active' });
    expect((await recover(token)).status).toBe(204);
  });
});

describe('POST /v1/users/{user}/reset-link', () => {
  test.concurrent('its token sets a password and does not confirm the e-mail', async () => {
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

  test.concurrent('a newer link replaces an older link, but not an e-mailed token, and vice versa', async () => {
    const person = await createPerson();
    const link = async (): Promise<string> => (await admin.post(`/v1/users/${person.id}/reset-link`)).body.token;
    const [mailed, first, second] = [await resetToken(person), await link(), await link()];
    expectProblem(await recover(first), 401, 'invalid_token');
    // Otherwise anyone who requests recovery for an account could invalidate the link of an administrator.
    await age(person, 'reset');
    const later = await resetToken(person, 2);
    expectProblem(await recover(mailed), 401, 'invalid_token');
    expect((await recover(second)).status).toBe(204);
    expectProblem(await recover(later), 401, 'invalid_token');
  });

  test.concurrent('403 for users, 404 for an unknown account', async () => {
    const [person, stranger] = await Promise.all([createPerson(), createPerson()]);
    for (const each of [person, stranger]) {
      expectProblem(await api.as(each).post(`/v1/users/${person.id}/reset-link`), 403, 'forbidden');
    }
    expectProblem(await admin.post(`/v1/users/${uniqueName()}/reset-link`), 404, 'not_found');
    expect(await sql('SELECT FROM account_tokens WHERE owner_id = $1', [person.id])).toEqual([]);
  });

  test.concurrent('works without a mail server, and then no e-mail is queued', async () => {
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

describe('e-mail confirmation', () => {
  async function register(email: string): Promise<Person> {
    const username = uniqueName();
    const made = await api.post('/v1/auth/register', { username, email, password: PASSWORD });
    expect(made.status).toBe(201);
    return { email, password: PASSWORD, ...made.body, ...(await api.signIn(username, PASSWORD)) };
  }

  test.concurrent('token from registration: confirms once', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    expect(await confirmedAt(person)).toBeNull();
    expect(await confirm(token)).toMatchObject({ status: 204, text: '' });
    const at = await confirmedAt(person);
    expect(at).not.toBeNull();
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect((await api.as(person).get('/v1/users/me/security')).body).toMatchObject({ emailConfirmedAt: at });
    // The user object does not contain the confirmation, and no session ends.
    expect((await api.as(person).get('/v1/users/me')).body).not.toHaveProperty('emailConfirmedAt');
  });

  test.concurrent('token used by 100 concurrent requests: exactly one succeeds', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => confirm(token, n % 2 ? api : other)));
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1);
    // On a busy machine, some do not get a connection in time.
    expect(answers.filter(({ status }) => status === 401 || status === 503)).toHaveLength(99);
  });

  test.concurrent('token after a day: 401', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    const token = tokenOf(await mailbox.next(person.email, CONFIRM));
    await sql(`UPDATE account_tokens SET expires_at = now() WHERE owner_id = $1`, [person.id]);
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect(await confirmedAt(person)).toBeNull();
  });

  test.concurrent('e-mail changed: unconfirmed, old tokens invalid, notice to the old address', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    expect((await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)))).status).toBe(204);
    const email = `${uniqueName()}@example.com`;
    expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
    expect(await confirmedAt(person)).toBeNull();
    const { mail } = await mailbox.next(person.email, EMAIL_CHANGED);
    expect(`${mail.text} ${mail.html}`).not.toContain(email);
    const token = tokenOf(await mailbox.next(email, CONFIRM));
    // After a change back, the token for the other address is invalid.
    expect((await api.as(person).patch('/v1/users/me', { email: person.email })).status).toBe(200);
    expectProblem(await confirm(token), 401, 'invalid_token');
    expect((await confirm(tokenOf(await mailbox.next(person.email, CONFIRM, 2)))).status).toBe(204);
    await mailbox.next(email, EMAIL_CHANGED);
  });

  test.concurrent('e-mail changed to a look-alike address: unconfirmed, notice to the old address', async () => {
    const person = await register(`owner${uniqueName()}@example.com`);
    await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)));
    const email = person.email.replace('o', '\uff4f');
    expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
    expect(await confirmedAt(person)).toBeNull();
    await mailbox.next(person.email, EMAIL_CHANGED);
  });

  test.concurrent('e-mail changed only in case: remains confirmed, and no e-mail is sent', async () => {
    const person = await register(`${uniqueName()}@example.com`);
    await confirm(tokenOf(await mailbox.next(person.email, CONFIRM)));
    const at = await confirmedAt(person);
    const email = person.email.toUpperCase();
    expect((await api.as(person).patch('/v1/users/me', { email })).body).toMatchObject({ email });
    expect(await confirmedAt(person)).toBe(at);
    await settled(person);
    expect(mailbox.to(person.email)).toHaveLength(1);
  });

  test.concurrent(
    'POST /v1/auth/email-confirmation: 429 within a minute, 409 without an unconfirmed e-mail',
    async () => {
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
    },
  );

  test.concurrent('repeated changes of the e-mail: at most five e-mails an hour to other addresses', async () => {
    const person = await createPerson();
    const strangers = Array.from({ length: 12 }, () => `${uniqueName()}@example.com`);
    for (const email of [...strangers, person.email]) {
      expect((await api.as(person).patch('/v1/users/me', { email })).status).toBe(200);
    }
    await settled(person);
    const told = strangers.map((email) => mailbox.to(email, EMAIL_CHANGED).length);
    expect(told).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // Confirmations still in the outbox when the address changes again are not sent.
    const asked = strangers.map((email) => mailbox.to(email, CONFIRM).length);
    expect(Math.max(...asked.slice(0, 5))).toBeLessThanOrEqual(1);
    expect(asked.slice(5)).toEqual([0, 0, 0, 0, 0, 0, 0]);
    const again = await api.as(person).post('/v1/auth/email-confirmation');
    expectProblem(again, 429, 'too_many_attempts');
    expect(Number(again.headers.get('retry-after'))).toBeGreaterThan(3_000);
  });

  test.concurrent('e-mail set by an administrator: no e-mail is sent', async () => {
    const person = await createPerson();
    await settled(person);
    expect(mailbox.to(person.email)).toEqual([]);
  });
});

describe('notice of a change', () => {
  test.concurrent('sent after the user or an administrator changes the password', async () => {
    const person = await createPerson();
    const newPassword = 'Changed-Since-9';
    const me = api.as(person);
    expect((await me.post('/v1/auth/password', { currentPassword: PASSWORD, newPassword })).status).toBe(204);
    await mailbox.next(person.email, PASSWORD_CHANGED);
    expect((await admin.patch(`/v1/users/${person.id}`, { password: PASSWORD })).status).toBe(200);
    await mailbox.next(person.email, PASSWORD_CHANGED, 2);
  });

  test.concurrent('password and e-mail changed together: both notices go to the old address', async () => {
    const person = await createPerson();
    const email = `${uniqueName()}@example.com`;
    expect((await admin.patch(`/v1/users/${person.id}`, { password: NEW_PASSWORD, email })).status).toBe(200);
    await mailbox.next(person.email, PASSWORD_CHANGED);
    await mailbox.next(person.email, EMAIL_CHANGED);
    await mailbox.next(email, CONFIRM);
    expect(mailbox.to(email, PASSWORD_CHANGED)).toEqual([]);
  });

  test.concurrent('not sent after a rejected change', async () => {
    const [person, taken] = await Promise.all([createPerson(), createPerson()]);
    const change = { password: NEW_PASSWORD, email: taken.email };
    expectProblem(await admin.patch(`/v1/users/${person.id}`, change), 409, 'email_taken');
    const wrong = { currentPassword: 'Not-My-Password-1', newPassword: NEW_PASSWORD };
    expectProblem(await api.as(person).post('/v1/auth/password', wrong), 401, 'invalid_credentials');
    await settled(person, taken);
    expect(mailbox.to(person.email)).toEqual([]);
  });
});

describe('content and delivery of e-mails', () => {
  test.concurrent('text and HTML alternatives with the same link, and the configured sender', async () => {
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

  test.concurrent('account name: escaped in HTML', async () => {
    const email = `o'neil&co@${uniqueName()}.example.com`;
    expect((await admin.post('/v1/users', { email, password: PASSWORD })).status).toBe(201);
    expect((await ask(email)).status).toBe(202);
    const { mail } = await mailbox.next(email, RESET);
    expect(mail.text).toContain(`the account ${email} at`);
    expect(mail.html).toContain(`the account ${email.replace("'", '&#39;').replace('&co', '&amp;co')} at`);
  });

  test.concurrent.each(['"eve@evil.example,x"', '"eve@evil.example> x"', '"x<eve@evil.example>"', '"x@evil.example "'])(
    'address that resembles another: sent only to the exact address: %s',
    async (name) => {
      const domain = `${uniqueName()}.example.com`;
      const email = `${name}@${domain}`;
      // The address is either rejected or used exactly as given.
      const { status, body } = await admin.post('/v1/users', { email, password: PASSWORD });
      expect([201, 400]).toContain(status);
      expect((await ask(email)).status).toBe(202);
      await settled(...(status === 201 ? [body] : []));
      // The text names the account, so this finds every copy, to any recipient.
      const recipients = about(domain).flatMap((received) => received.recipients);
      expect(recipients.filter((recipient) => recipient !== email)).toEqual([]);
    },
  );

  test.concurrent('internationalized address: sent unchanged', async () => {
    const email = `ädä.${uniqueName()}@exämple.com`;
    expect((await admin.post('/v1/users', { email, password: PASSWORD })).status).toBe(201);
    await ask(email);
    expect((await mailbox.next(email, RESET)).mail.to).toMatchObject([{ address: email }]);
  });

  test.concurrent('two processes: each e-mail is sent once', async () => {
    const people = await Promise.all(Array.from({ length: 10 }, () => createPerson()));
    await Promise.all(people.flatMap(({ username, email }) => [ask(username), ask(email)]));
    await Promise.all(people.map(({ email }) => mailbox.next(email, RESET)));
    await settled(...people);
    const sent = people.flatMap(({ email }) => mailbox.to(email)).map(({ recipients }) => recipients[0]);
    expect(sent.sort()).toEqual(people.map(({ email }) => email).sort());
  });

  test.concurrent('temporary rejection: retried; permanent rejection: discarded', async () => {
    const [busy, gone] = await Promise.all([createPerson(), createPerson()]);
    mailbox.refusals.set(busy.email, 450).set(gone.email, 550);
    await Promise.all([ask(busy.username), ask(gone.username)]);
    // After a rejection the retry is due within 30 seconds; a running attempt is leased for a minute.
    await until(async () => (await waiting(busy)).some(({ attempts, later, soon }) => attempts > 0 && later && soon));
    await until(async () => (await waiting(gone)).length === 0);
    expect(await waiting(busy, gone)).toHaveLength(1);
    for (const { email } of [busy, gone]) mailbox.refusals.delete(email);
    await sendNow(busy);
    await mailbox.next(busy.email, RESET);
    await settled(busy, gone);
    expect(mailbox.to(gone.email)).toEqual([]);
  });

  test.concurrent('expired e-mail, or e-mail of a changed or deleted account: not sent', async () => {
    const people = await Promise.all(Array.from({ length: 3 }, () => createPerson()));
    const [late, changed, deleted] = people as [Person, Person, Person];
    for (const { email } of people) mailbox.refusals.set(email, 450);
    await Promise.all(people.map(({ username }) => ask(username)));
    // Waits until all three were rejected; a running attempt is leased for a minute.
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

describe('pages of e-mailed links', () => {
  test.concurrent.each([
    ['/recovery', '/console/reset-password'],
    ['/email-confirmation', '/console/confirm-email'],
  ])('GET %s: leads to the page of the console, and sends no referrer', async (path, page) => {
    const { status, headers } = await api.get(path);
    expect({ status, location: headers.get('location') }).toEqual({ status: 302, location: page });
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    expect(headers.get('cache-control')).toBe('no-store');
  });
});
