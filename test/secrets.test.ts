import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { Secret } from 'otpauth';
import { StartFailed, TestServer, createDatabase, query } from './support/server.js';
import { uniqueName } from './support/api.js';
import { canaryPassword, dump, formsOf, type Canary } from './support/canaries.js';
import { send } from './support/signer.js';
import { Mailbox, tokenOf } from './support/smtp.js';
import { codeOf } from './support/totp.js';
import { Tunnel } from './support/tunnel.js';
import { until } from './support/until.js';
import { Wire } from './support/wire.js';

const SECRET_KEY = `key of the platform ${randomBytes(18).toString('base64url')}`;
const METRICS_TOKEN = `metrics-${randomBytes(15).toString('base64url')}`;
const SMTP_PASSWORD = canaryPassword();
const ROOT_PASSWORD = canaryPassword();
const DATABASE_PASSWORD = canaryPassword();
const ROLE = `secrets_${uniqueName()}`;

const LOGIN = 'POST /v1/auth/login';
const REFRESH = 'POST /v1/auth/refresh';
const KEYS = 'POST /v1/keys';
const ROTATE = 'POST /v1/keys/{id}/rotate';
const TOTP = 'POST /v1/auth/totp';
const TOTP_CONFIRM = 'POST /v1/auth/totp/confirm';
const RECOVERY_CODES = 'POST /v1/auth/totp/recovery-codes';
const RESET_LINK = 'POST /v1/users/{user}/reset-link';
const SIGNING_KEYS = 'POST /v1/auth/signing-keys';

/** A response as text, including its headers. */
interface Heard {
  operation: string;
  text: string;
}

interface Init {
  token?: string | undefined;
  headers?: Record<string, string>;
  body?: unknown;
  /** Sent in place of `body`. */
  raw?: string;
  /** The documented operation, if its path differs from the target. */
  as?: string;
}

const canaries: Canary[] = [];
/** Six-digit codes. They can occur by chance inside other numbers, so they are searched separately. */
const codes = new Set<string>();
const heard: Heard[] = [];
const dumps: string[] = [];
const logs: string[] = [];

let database: Awaited<ReturnType<typeof createDatabase>>;
let mailbox: Mailbox;
let tunnel: Tunnel;
let server: TestServer;

/** Registers a secret that may appear only in the responses of the operations in `shownBy`. */
function guard(name: string, secret: string | Buffer, ...shownBy: string[]): void {
  canaries.push({ name, forms: formsOf(secret), shownBy });
}

/** Creates a password and registers it. */
function password(name: string): string {
  const made = canaryPassword();
  guard(`password: ${name}`, made);
  return made;
}

/** Returns a TOTP code for now or for a later step, or a wrong code, and registers it. */
function code(secret?: string, steps = 0): string {
  const made = secret === undefined ? '740185' : codeOf(secret, steps);
  codes.add(made);
  return made;
}

function guardSession({ accessToken, refreshToken }: { accessToken: string; refreshToken: string }): void {
  guard('access token', accessToken, LOGIN, REFRESH);
  guard('access token: signature', Buffer.from(accessToken.split('.')[2]!, 'base64url'), LOGIN, REFRESH);
  guard('refresh token', refreshToken, LOGIN, REFRESH);
  guard('refresh token: MAC', Buffer.from(refreshToken.slice(4), 'base64url').subarray(36), LOGIN, REFRESH);
}

function guardKey(key: string): string {
  guard('API key', key, KEYS, ROTATE);
  // The prefix of a key is its public hint.
  guard('API key: without its beginning', key.slice(7), KEYS, ROTATE);
  return key;
}

function guardAccountToken(name: string, token: string, ...shownBy: string[]): string {
  guard(name, token, ...shownBy);
  guard(`${name}: random bits`, Buffer.from(token.slice(4), 'base64url').subarray(16), ...shownBy);
  return token;
}

function guardTotp(secret: string): string {
  guard('TOTP secret', secret, TOTP);
  guard('TOTP secret: bytes', Buffer.from(Secret.fromBase32(secret).bytes), TOTP);
  return secret;
}

function guardRecoveryCodes(all: string[]): string {
  for (const each of all) {
    guard('recovery code', each, TOTP_CONFIRM, RECOVERY_CODES);
    guard('recovery code: letters', each.replace('-', ''), TOTP_CONFIRM, RECOVERY_CODES);
  }
  return all[0]!;
}

/** Creates a key pair and registers the private half. */
function keyPair(...shownBy: string[]) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const jwk = privateKey.export({ format: 'jwk' });
  guard('signing key', Buffer.from(jwk.d!, 'base64url'), ...shownBy);
  return { publicKey, privateKey, jwk };
}

const randomAddress = (): string => `10.${[...randomBytes(3)].join('.')}`;

/** Sends a request and stores the complete response. */
async function ask(method: string, target: string, { token, headers, body, raw, as }: Init = {}): Promise<any> {
  const text = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const all: Record<string, string> = {
    host: 'qm.example.com',
    // A new client address for each request, so that wrong passwords throttle no other request.
    'x-forwarded-for': randomAddress(),
    ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
    ...(text === undefined
      ? method === 'GET'
        ? {}
        : { 'content-length': '0' }
      : { 'content-type': 'application/json', 'content-length': `${Buffer.byteLength(text)}` }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...headers,
  };
  const answer = await send(server.url, { method, target, headers: Object.entries(all), body: text });
  const lines = [...answer.headers].map(([name, value]) => `${name}: ${value}`);
  heard.push({ operation: as ?? `${method} ${target}`, text: [...lines, '', answer.text].join('\n') });
  return answer;
}

/** Sends a request that must succeed. */
async function must(method: string, target: string, init?: Init): Promise<any> {
  const { status, text, body } = await ask(method, target, init);
  if (status >= 300) throw new Error(`${method} ${target} answered ${String(status)}: ${String(text)}`);
  return body;
}

async function signIn(
  login: string,
  word: string,
  more: object = {},
): Promise<{ accessToken: string; refreshToken: string }> {
  const body = await must('POST', '/v1/auth/login', { body: { login, password: word, ...more } });
  guardSession(body);
  return body;
}

beforeAll(async () => {
  guard('SECRET_KEY', SECRET_KEY);
  guard('METRICS_TOKEN', METRICS_TOKEN);
  guard('SMTP_URL: password', SMTP_PASSWORD);
  guard('ADMIN_PASSWORD', ROOT_PASSWORD);
  guard('DATABASE_URL: password', DATABASE_PASSWORD);
  [mailbox, database] = await Promise.all([Mailbox.start({ user: 'qm', pass: SMTP_PASSWORD }), createDatabase()]);
  await query(
    database.url,
    `CREATE ROLE ${ROLE} LOGIN PASSWORD '${DATABASE_PASSWORD}';
     GRANT ALL ON ALL TABLES IN SCHEMA public TO ${ROLE};
     GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO ${ROLE}`,
  );
  const address = new URL(database.url);
  address.username = ROLE;
  address.password = encodeURIComponent(DATABASE_PASSWORD);
  tunnel = await Tunnel.to(address.href);
  // Runs in its own process, so that the log contains everything about this server and nothing else.
  server = await TestServer.spawn({
    ...{ DATABASE_URL: tunnel.url, SECRET_KEY, METRICS_TOKEN, ADMIN_PASSWORD: ROOT_PASSWORD, LOG_LEVEL: 'trace' },
    ...{ SMTP_URL: mailbox.url, PUBLIC_URL: 'https://qm.example.com', TRUST_PROXY: '127.0.0.1' },
  });
});

afterAll(async () => {
  await server.stop();
  await tunnel.close();
  await mailbox.close();
  await query(database.url, `DROP OWNED BY ${ROLE}; DROP ROLE ${ROLE}`);
  await database.drop();
});

/** Sends valid and invalid secrets in every field that takes one. Resolves with one valid secret of each kind. */
async function useAll(): Promise<Record<string, string>> {
  const root = (await signIn('admin', ROOT_PASSWORD)).accessToken;
  const username = uniqueName();
  const email = `${username}@example.com`;
  let word = password('registered');
  const registration = {
    body: { username, email, password: word },
    headers: { 'idempotency-key': `register ${username}` },
  };
  await must('POST', '/v1/auth/register', registration);
  await must('POST', '/v1/auth/register', registration);
  let session = await signIn(username, word);
  await ask('POST', '/v1/auth/login', { body: { login: username, password: password('wrong at sign-in') } });
  await ask('POST', '/v1/auth/login', { body: { login: uniqueName(), password: password('of nobody') } });
  session = await must('POST', '/v1/auth/refresh', { body: { refreshToken: session.refreshToken } });
  guardSession(session);
  let token = session.accessToken;

  const next = password('changed');
  const wrong = { currentPassword: password('wrong at a change'), newPassword: password('not changed to') };
  await ask('POST', '/v1/auth/password', { token, body: wrong });
  await ask('POST', '/v1/auth/password', {
    token,
    body: { currentPassword: word, newPassword: `${password('too long')}${'x'.repeat(60)}` },
  });
  await must('POST', '/v1/auth/password', { token, body: { currentPassword: word, newPassword: next } });
  word = next;

  const other = uniqueName();
  await must('POST', '/v1/users', { token: root, body: { username: other, password: password('given') } });
  await must('PATCH', `/v1/users/${other}`, { token: root, body: { password: password('set') } });
  await ask('PATCH', `/v1/users/${other}`, { token, body: { password: password('set by a stranger') } });
  await ask('POST', '/v1/users', {
    token: root,
    body: { username: other, password: password('of a name that is taken') },
  });

  // TOTP and recovery codes.
  const totp = guardTotp((await must('POST', '/v1/auth/totp', { token, body: { password: word } })).secret);
  await ask('POST', '/v1/auth/totp', { token, body: { password: password('wrong for a second factor') } });
  await ask('POST', '/v1/auth/totp/confirm', { token, body: { code: code() } });
  const confirmed = await must('POST', '/v1/auth/totp/confirm', { token, body: { code: code(totp) } });
  const used = guardRecoveryCodes(confirmed.recoveryCodes);
  token = (await signIn(username, word, { code: used })).accessToken;
  await ask('POST', '/v1/auth/login', { body: { login: username, password: word, code: code() } });
  await ask('POST', '/v1/auth/login', { body: { login: username, password: word, code: used } });
  await ask('POST', '/v1/auth/totp/disable', { token, body: { password: word, code: code() } });
  const renewed = await must('POST', '/v1/auth/totp/recovery-codes', {
    token,
    body: { password: word, code: code(totp, 1) },
  });
  const recoveryCode = guardRecoveryCodes(renewed.recoveryCodes);

  // API keys; each response is kept for idempotent replays.
  const making = { token, body: { name: 'a key', scopes: ['*'] }, headers: { 'idempotency-key': 'a key' } };
  const made = await must('POST', '/v1/keys', making);
  expect(await must('POST', '/v1/keys', making)).toEqual(made);
  const rotation = { token, body: { graceSeconds: 600 }, as: ROTATE };
  const key = guardKey((await must('POST', `/v1/keys/${made.id}/rotate`, rotation)).key);
  guardKey(made.key);
  for (const headers of [
    { 'x-api-key': key },
    { authorization: `Bearer ${key}` },
    { 'x-api-key': `${key.slice(0, -1)}!` },
  ]) {
    await ask('POST', '/call/api1/below', { headers });
  }
  await must('POST', '/v1/verify', { body: { key, api: 'api1' } });
  await ask('POST', '/v1/verify', { body: { key, api: 'none' } });

  // Signing keys: generated by the server, registered, and private halves sent by mistake.
  const { privateKey } = await must('POST', '/v1/auth/signing-keys', { token, body: { name: 'made' } });
  guard('signing key: made', privateKey, SIGNING_KEYS);
  guard('signing key: made, bytes', seedOf(privateKey), SIGNING_KEYS);
  const pair = keyPair();
  const halves = [pair.privateKey.export({ format: 'pem', type: 'pkcs8' }), pair.jwk, JSON.stringify(pair.jwk)];
  for (const publicKey of [...halves, pair.privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')]) {
    expect(await ask('POST', '/v1/auth/signing-keys', { token, body: { name: 'x', publicKey } })).toMatchObject({
      status: 400,
    });
  }

  await signIn(other, await reset(root, other));
  session = await signIn(username, word, { code: recoveryCode });
  await must('GET', '/metrics', { token: METRICS_TOKEN });
  await ask('GET', '/metrics', { token: `${METRICS_TOKEN}x` });
  const { token: link } = await must('POST', `/v1/users/${username}/reset-link`, { token: root, as: RESET_LINK });
  guardAccountToken('token of a link', link, RESET_LINK);
  const { accessToken, refreshToken } = session;
  return {
    ...{ password: word, accessToken, refreshToken, key, totp, link, signingKey: pair.jwk.d! },
    ...{ recoveryCode: guardRecoveryCodes(renewed.recoveryCodes.slice(1)) },
    ...{ SECRET_KEY, METRICS_TOKEN, SMTP_PASSWORD, DATABASE_PASSWORD, ROOT_PASSWORD },
  };
}

/** Sends e-mails while the mail server is down, while it rejects the credentials, and while it works. */
async function useMail(): Promise<{ mailed: string }> {
  const username = uniqueName();
  const email = `${username}@example.com`;
  await must('POST', '/v1/auth/register', { body: { username, email, password: password('of who forgets it') } });
  const confirmation = guardAccountToken('confirmation token', tokenOf(await mailbox.next(email, /Confirm/)));
  await must('POST', '/v1/auth/email-confirmation/confirm', { body: { token: confirmation } });
  await mailbox.close();
  await must('POST', '/v1/auth/recovery', { body: { login: email } });
  await mailFails('ESOCKET');
  dumps.push(await dump(database.url));
  mailbox.credentials = { user: 'qm', pass: 'another' };
  await mailbox.open();
  await query(database.url, 'UPDATE mail_outbox SET next_at = now()');
  await mailFails('EAUTH');
  mailbox.credentials = { user: 'qm', pass: SMTP_PASSWORD };
  await query(database.url, 'UPDATE mail_outbox SET next_at = now()');
  const token = guardAccountToken('reset token', tokenOf(await mailbox.next(email, /new password/)));
  const newPassword = password('recovered');
  const tooLong = `${password('too long to recover')}${'x'.repeat(60)}`;
  await ask('POST', '/v1/auth/recovery/confirm', { body: { token, newPassword: tooLong } });
  await must('POST', '/v1/auth/recovery/confirm', { body: { token, newPassword } });
  await ask('POST', '/v1/auth/recovery/confirm', { body: { token, newPassword: password('with a used token') } });
  await signIn(username, newPassword);
  return { mailed: token };
}

/** Sets a new password through a link of an administrator. */
async function reset(root: string, username: string): Promise<string> {
  const { token } = await must('POST', `/v1/users/${username}/reset-link`, { token: root, as: RESET_LINK });
  guardAccountToken('token of a link', token, RESET_LINK);
  const word = password('set by a link');
  await must('POST', '/v1/auth/recovery/confirm', { body: { token, newPassword: word } });
  return word;
}

/**
 * Waits until the log reports the failed e-mail and its retry is due within 30 seconds; a running attempt is leased for
 * a minute.
 */
async function mailFails(why: string): Promise<void> {
  await until(() => server.output.includes(`(reset) was not sent: ${why}`));
  const waiting = `SELECT FROM mail_outbox WHERE kind = 'reset' AND next_at < now() + interval '30 seconds'`;
  await until(async () => (await query(database.url, waiting)).length > 0);
}

/** Returns the private bytes of an Ed25519 key in PEM: the last 32 of its DER (RFC 8410, section 7). */
function seedOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64').subarray(-32);
}

/**
 * Secrets made by the server have a recognizable form and are redacted anywhere. Other secrets are only tried where
 * values are never logged or stored.
 */
const hasForm = (secret: string): boolean => /^(qm|eyJ)/.test(secret);

const BODIES: [method: string, path: string, body: (secret: string) => object][] = [
  ['POST', '/v1/auth/login', (secret) => ({ login: secret, password: 'x' })],
  ['POST', '/v1/auth/login', (secret) => ({ login: [secret], password: { secret }, code: { secret } })],
  ['POST', '/v1/auth/login', (secret) => ({ login: 'x', password: secret, code: secret, more: secret })],
  [
    'POST',
    '/v1/auth/register',
    (secret) => ({ username: `${secret}-`, email: secret, firstName: `${secret}9`, password: 'x' }),
  ],
  ['POST', '/v1/auth/refresh', (secret) => ({ refreshToken: `${secret}x` })],
  ['POST', '/v1/auth/recovery', (secret) => ({ login: secret })],
  ['POST', '/v1/auth/recovery/confirm', (secret) => ({ token: `${secret}x`, newPassword: secret })],
  ['POST', '/v1/auth/email-confirmation/confirm', (secret) => ({ token: `${secret}x` })],
  ['POST', '/v1/auth/signing-keys', (secret) => ({ name: 'x', publicKey: { kty: secret, d: secret } })],
  [
    'POST',
    '/v1/keys',
    (secret) => ({ name: 'x', scopes: [`${secret}!`], limits: [{ meter: secret, window: secret, limit: secret }] }),
  ],
  ['POST', '/v1/users', (secret) => ({ username: secret, role: secret, plan: secret, password: 'x' })],
  ['PATCH', '/v1/users/me', (secret) => ({ role: secret, password: secret })],
  ['POST', '/v1/verify', (secret) => ({ key: `${secret}x`, api: secret, cost: secret })],
  ['POST', '/v1/tasks', (secret) => ({ title: { secret }, completed: secret })],
  ['POST', '/v1/store/write', (secret) => ({ entries: secret, onConflict: secret })],
  ['POST', '/nope', (secret) => ({ secret })],
  ['PUT', '/v1/auth/login', (secret) => ({ secret })],
];

const PATHS = ['/v1/users/', '/v1/keys/', '/v1/resources/', '/v1/plans/', '/call/', '/call/api1/', '/nope/', '/docs/'];

const HEADERS = [
  'cookie',
  'referer',
  'origin',
  'if-none-match',
  'accept-language',
  'x-anything',
  'signature',
  'signature-input',
];

/** Sends a secret in places that do not take it. */
async function misuse(secret: string, token: string | undefined): Promise<void> {
  const inUrl = encodeURIComponent(secret);
  await Promise.all(
    BODIES.flatMap(([method, path, body]) => {
      const whole = JSON.stringify(body(secret));
      return [
        ask(method, path, { token, body: body(secret) }),
        ask(method, path, { token, raw: whole.slice(0, -1) }),
        ask(method, path, { token, raw: `[${whole}]` }),
      ];
    }),
  );
  await Promise.all([
    ask('POST', '/v1/auth/login', { raw: JSON.stringify({ login: secret, password: secret.padEnd(1_100_000, ' ') }) }),
    ask('POST', '/v1/auth/login', { raw: secret, headers: { 'content-type': 'text/plain' } }),
    ask('POST', '/v1/auth/login', { raw: '{}', headers: { 'content-type': `application/json; x=${inUrl}` } }),
    ask('POST', '/v1/tasks', { token, body: {}, headers: { 'idempotency-key': secret } }),
    ask('POST', '/v1/tasks', { token, body: {}, headers: { 'idempotency-key': `${secret}é` } }),
    ask('GET', `/v1/users?query=${inUrl}`, { token }),
    ask('GET', `/v1/users/me?token=${inUrl}&access_token=${inUrl}&api_key=${inUrl}`),
    ask('GET', `/v1/tasks?cursor=${inUrl}&limit=${inUrl}&completed=${inUrl}`, { token }),
    ask('GET', `/call/api1?key=${inUrl}`),
    ask('GET', `/metrics?token=${inUrl}`),
    ask('GET', '/v1/users/me', {
      headers: { authorization: `Basic ${Buffer.from(`x:${secret}`).toString('base64')}` },
    }),
    ask('GET', '/v1/users/me', { headers: { authorization: `Bearer x${secret}` } }),
    ask('GET', '/call/api1', { headers: { authorization: `Bearer x${secret}` } }),
    ask('GET', '/call/api1', { headers: { 'x-api-key': `x${secret}` } }),
    ask('GET', '/metrics', { token: `x${secret}` }),
    ...HEADERS.map((name) => ask('GET', '/v1/users/me', { token, headers: { [name]: inUrl } })),
    new Wire(server.url, `GET /?${inUrl} HTTP/9.9\r\nx: ${secret}\r\n\r\n`).hangUp().over,
    new Wire(server.url, `GET / HTTP/1.1\r\nhost: x\r\nx-bad\u0000: ${secret}\r\n\r\n`).hangUp().over,
  ]);
  if (!hasForm(secret)) return;
  await Promise.all([
    ...PATHS.flatMap((path) => [ask('GET', path + inUrl, { token }), ask('PATCH', path + inUrl, { token, body: {} })]),
    ask('GET', `/v1/users/me?${inUrl}=x`, { token }),
    ask('POST', '/v1/tasks', { token, body: { [secret]: 1 } }),
    ask('GET', '/nope', { token, headers: { 'user-agent': `curl ${secret}`, 'x-request-id': secret } }),
    ask('POST', '/v1/tasks', { token, body: {}, headers: { 'x-request-id': secret } }),
  ]);
}

/** Makes SQL statements fail with errors whose details contain the values. */
async function failInSql(root: string): Promise<void> {
  const tables = ['users', 'sessions', 'api_keys', 'request_keys', 'tasks', 'account_tokens', 'recovery_requests'];
  // One transaction for each table: a transaction that locks several can deadlock with housekeeping of the server.
  const each = async (change: (table: string) => string): Promise<void> => {
    for (const table of tables) await query(database.url, change(table));
  };
  const { accessToken } = await signIn('admin', ROOT_PASSWORD);
  await each((table) => `ALTER TABLE ${table} ADD CONSTRAINT refuses CHECK (false) NOT VALID`);
  const statuses = await Promise.all([
    ask('POST', '/v1/users', {
      token: root,
      body: { username: uniqueName(), password: password('of a row that was refused') },
    }),
    ask('POST', '/v1/auth/register', { body: { username: uniqueName(), password: password('registered in vain') } }),
    ask('POST', '/v1/auth/login', { body: { login: 'admin', password: ROOT_PASSWORD } }),
    ask('POST', '/v1/keys', { token: root, body: { name: 'x', scopes: [] } }),
    ask('POST', '/v1/auth/password', {
      token: accessToken,
      body: { currentPassword: ROOT_PASSWORD, newPassword: password('x') },
    }),
    ask('POST', '/v1/users/admin/reset-link', { token: root }),
    ask('POST', '/v1/auth/recovery', { body: { login: password('for a login') } }),
    ask('POST', '/v1/auth/signing-keys', { token: root, body: { name: 'x' } }),
  ]);
  expect(statuses.map(({ status }) => status).filter((status) => status < 500)).toEqual([]);
  await each((table) => `ALTER TABLE ${table} DROP CONSTRAINT refuses`);
}

/** Runs starts that fail because of a wrong environment. */
async function failToStart(): Promise<void> {
  const wrong = new URL(database.url);
  wrong.username = ROLE;
  wrong.password = encodeURIComponent(password('of the database, wrong'));
  const short = (name: string): string => {
    const word = randomBytes(7).toString('base64url');
    guard(name, word);
    return word;
  };
  const failure: unknown = await TestServer.spawn({ DATABASE_URL: wrong.href }).catch((error: unknown) => error);
  if (!(failure instanceof StartFailed)) throw new Error('It started with a wrong password of the database');
  logs.push(failure.output);
  const starts = [
    { DATABASE_URL: `mysql://qm:${encodeURIComponent(password('of another database'))}@localhost/x` },
    { SMTP_URL: `smtp://qm:${encodeURIComponent(password('of a mail server'))}@localhost:99999` },
    { SMTP_URL: `http://qm:${encodeURIComponent(password('of no mail server'))}@localhost` },
    { METRICS_TOKEN: short('METRICS_TOKEN: short') },
    { SECRET_KEY: short('SECRET_KEY: short') },
  ];
  for (const env of starts) logs.push(await TestServer.refusal({ DATABASE_URL: database.url, ...env }));
}

describe('secrets', () => {
  test('appear in no log, no database dump, and no response except the one that shows them', async () => {
    // In parallel, because the mail retries take long.
    const [all, mailed] = await Promise.all([useAll(), useMail(), failToStart()]);
    const secrets: Record<string, string> = { ...all, ...mailed };
    const root = (await signIn('admin', ROOT_PASSWORD)).accessToken;
    const user = (await signIn('admin', ROOT_PASSWORD)).accessToken;
    // The session and the audit entry of a sign-in store the user agent and the request id.
    for (const each of Object.values(secrets).filter(hasForm)) {
      await ask('POST', '/v1/auth/login', {
        body: { login: 'admin', password: ROOT_PASSWORD },
        headers: { 'user-agent': `curl -H ${each}`, 'x-request-id': each },
      }).then(({ body }) => {
        guardSession(body);
      });
    }
    for (const secret of Object.values(secrets)) await misuse(secret, user);
    await failInSql(root);
    dumps.push(await dump(database.url));

    tunnel.cut();
    expect((await ask('GET', '/v1/users/me', { token: user })).status).toBe(503);
    for (const kind of ['password', 'accessToken', 'key', 'totp']) await misuse(secrets[kind]!, user);
    await ask('POST', '/v1/auth/refresh', { body: { refreshToken: secrets.refreshToken } });
    await ask('POST', '/v1/auth/recovery/confirm', { body: { token: secrets.link, newPassword: password('x') } });
    await ask('GET', '/call/api1', { headers: { 'x-api-key': secrets.key! } });
    tunnel.mend();
    await until(async () => (await ask('GET', '/v1/users/me', { token: user })).status === 200);
    expect(await server.stop()).toBe(0);
    dumps.push(await dump(database.url));
    logs.push(server.output);

    const places = { log: logs.join('\n'), dump: dumps.join('\n') };
    const found = Object.entries(places).flatMap(([place, text]) => {
      const low = text.toLowerCase();
      return canaries
        .filter(({ forms }) => forms.some((form) => low.includes(form)))
        .map(({ name }) => `${name}: ${place}`);
    });
    const answers = heard.map(({ operation, text }) => ({ operation, low: text.toLowerCase() }));
    for (const { name, forms, shownBy } of canaries) {
      for (const { operation, low } of answers) {
        if (!shownBy.includes(operation) && forms.some((form) => low.includes(form)))
          found.push(`${name}: ${operation}`);
      }
    }
    expect([...new Set(found)]).toEqual([]);
    expect(
      [...codes].filter((each) => new RegExp(`(?<![\\w.-])${each}(?![\\w-])`).test(places.log + places.dump)),
    ).toEqual([]);
    // Password hashes and private keys of the platform are not registered, so they are searched by form. RFC 8410 and
    // RFC 5958 define the DER prefixes.
    expect(places.log).not.toMatch(/\$argon2/);
    expect(answers.filter(({ low }) => low.includes('$argon2'))).toEqual([]);
    expect(places.dump).not.toMatch(/PRIVATE KEY|302e020100300506032b6570|06092a864886f70d010101/i);
  });

  test('the search covers every place where secrets can appear', () => {
    // Each secret was found where it may appear, the dumps and logs are complete, and every kind of error occurred.
    const shown = canaries.filter(({ name, shownBy }) => shownBy.length > 0 && !name.includes(':'));
    const hidden = shown.filter(
      ({ forms, shownBy }) =>
        !heard.some(
          ({ operation, text }) =>
            shownBy.includes(operation) && forms.some((form) => text.toLowerCase().includes(form)),
        ),
    );
    expect([...new Set(hidden.map(({ name }) => name))]).toEqual([]);
    expect(dumps[0]).toMatch(/^public\.mail_outbox \{/m);
    expect(dumps[1]).toMatch(/^public\.audit_entries .*session\.create/m);
    expect(dumps[1]).toMatch(/^public\.idempotency_keys \{/m);
    const output = logs.join('\n');
    const said = [/"level":20/, /"code":"23514"/, /database_unavailable/];
    expect(said.filter((each) => !each.test(output))).toEqual([]);
    const statuses = new Set(heard.map(({ text }) => /"status":(\d+)/.exec(text)?.[1]));
    for (const status of ['400', '401', '403', '404', '405', '413', '415', '500', '503'])
      expect(statuses).toContain(status);
  });
});
