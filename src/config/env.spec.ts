import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ConfigError, Env, variables } from './env.js';
import { misspelt } from './misspelt.js';

function refusal(source: Record<string, string>): string {
  try {
    new Env(source);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
  }
  throw new Error(`Accepted: ${JSON.stringify(source)}`);
}

const DEFAULTS = {
  port: 3000,
  host: '127.0.0.1',
  databaseUrl: undefined,
  databaseSchema: 'public',
  databasePool: 10,
  statementTimeout: 30_000,
  preparedStatements: true,
  dataDir: resolve('./data'),
  adminEmail: undefined,
  adminPassword: undefined,
  secretKey: undefined,
  workers: 1,
  registration: 'open',
  usernamePolicy: 'strict',
  passwordPolicy: 'classes',
  argon2Memory: 19_456,
  argon2Passes: 2,
  requireAdminTotp: false,
  sessionDays: 30,
  issuer: 'quartermaster',
  basePath: '',
  publicUrl: 'http://127.0.0.1:3000',
  smtpUrl: undefined,
  mailFrom: 'Quartermaster <no-reply@localhost>',
  corsOrigins: [],
  trustProxy: false,
  usageRetentionDays: 400,
  requestStatistics: 'on',
  metricsToken: undefined,
  bodyLimit: 1_048_576,
  maxConnections: 10_000,
  headersTimeout: 15_000,
  requestTimeout: 30_000,
  shutdownDelay: 500,
  logLevel: 'info',
};

/** `dataDir` → `DATA_DIR`, with one exception. */
const VARIABLES = Object.keys(DEFAULTS).map((field) =>
  field === 'statementTimeout'
    ? 'DATABASE_STATEMENT_TIMEOUT'
    : field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase(),
);

describe('Env', () => {
  test('has defaults', () => {
    expect({ ...new Env({}) }).toEqual(DEFAULTS);
  });

  test.each(['', ' ', '\t\n'])('treats a variable with the value %j as unset', (empty) => {
    const source = Object.fromEntries(VARIABLES.map((name) => [name, empty]));
    expect({ ...new Env(source) }).toEqual(DEFAULTS);
  });

  test('reads every variable', () => {
    const env = new Env({
      PORT: '0',
      HOST: '0.0.0.0',
      DATABASE_URL: 'postgresql://me:secret@db/x',
      DATABASE_SCHEMA: 'qm',
      DATABASE_POOL: '25',
      DATABASE_STATEMENT_TIMEOUT: '5000',
      PREPARED_STATEMENTS: 'off',
      DATA_DIR: '/var/lib/qm',
      ADMIN_EMAIL: 'ada@example.com',
      ADMIN_PASSWORD: 'Analytical-1843',
      SECRET_KEY: 's'.repeat(32),
      WORKERS: '4',
      REGISTRATION: 'closed',
      USERNAME_POLICY: 'extended',
      PASSWORD_POLICY: 'length',
      ARGON2_MEMORY: '8192',
      ARGON2_PASSES: '3',
      REQUIRE_ADMIN_TOTP: 'on',
      SESSION_DAYS: '7',
      ISSUER: 'https://id.example.com',
      BASE_PATH: '/quarter/master',
      PUBLIC_URL: 'https://qm.example.com/',
      SMTP_URL: 'smtps://me:secret@mail.example.com:465',
      MAIL_FROM: 'Ada & Co <ada@example.com>',
      CORS_ORIGINS: 'https://a.example, https://b.example,',
      TRUST_PROXY: '10.0.0.0/8, ::1',
      USAGE_RETENTION_DAYS: '30',
      REQUEST_STATISTICS: 'off',
      METRICS_TOKEN: 'm'.repeat(16),
      BODY_LIMIT: '2048',
      MAX_CONNECTIONS: '500',
      HEADERS_TIMEOUT: '5000',
      REQUEST_TIMEOUT: '20000',
      SHUTDOWN_DELAY: '10000',
      LOG_LEVEL: 'debug',
    });
    expect({ ...env }).toEqual({
      port: 0,
      host: '0.0.0.0',
      databaseUrl: 'postgresql://me:secret@db/x',
      databaseSchema: 'qm',
      databasePool: 25,
      statementTimeout: 5_000,
      preparedStatements: false,
      dataDir: '/var/lib/qm',
      adminEmail: 'ada@example.com',
      adminPassword: 'Analytical-1843',
      secretKey: 's'.repeat(32),
      workers: 4,
      registration: 'closed',
      usernamePolicy: 'extended',
      passwordPolicy: 'length',
      argon2Memory: 8_192,
      argon2Passes: 3,
      requireAdminTotp: true,
      sessionDays: 7,
      issuer: 'https://id.example.com',
      basePath: '/quarter/master',
      publicUrl: 'https://qm.example.com/quarter/master',
      smtpUrl: 'smtps://me:secret@mail.example.com:465',
      mailFrom: 'Ada & Co <ada@example.com>',
      corsOrigins: ['https://a.example', 'https://b.example'],
      trustProxy: '10.0.0.0/8, ::1',
      usageRetentionDays: 30,
      requestStatistics: 'off',
      metricsToken: 'm'.repeat(16),
      bodyLimit: 2_048,
      maxConnections: 500,
      headersTimeout: 5_000,
      requestTimeout: 20_000,
      shutdownDelay: 10_000,
      logLevel: 'debug',
    });
  });

  test.each([
    [{ HOST: '0.0.0.0', PORT: '80' }, 'http://localhost', 'localhost'],
    [{ HOST: '::' }, 'http://localhost:3000', 'localhost'],
    [{ HOST: '::1' }, 'http://[::1]:3000', 'localhost'],
    [{ HOST: 'qm.internal' }, 'http://qm.internal:3000', 'qm.internal'],
    [{ HOST: '0.0.0.0', PUBLIC_URL: 'https://QM.example.com' }, 'https://qm.example.com', 'qm.example.com'],
  ])('%j: publicUrl is %s and the domain of mailFrom is %s', (source, publicUrl, domain) => {
    expect(new Env(source)).toMatchObject({ publicUrl, mailFrom: `Quartermaster <no-reply@${domain}>` });
  });

  test.each(['ada@example.com', 'Ada <ada@mail>', '<ada@example.com>', 'Ädä, (x) <ada@[192.0.2.1]>'])(
    'accepts the sender %s',
    (sender) => {
      expect(new Env({ MAIL_FROM: sender }).mailFrom).toBe(sender);
    },
  );

  test.each(['sslrootcert', 'sslcert', 'sslkey'])('names the parameter %s whose file is missing', (parameter) => {
    const url = `postgresql://me:hunter2@db/x?sslmode=require&${parameter}=/nowhere.pem`;
    expect(refusal({ DATABASE_URL: url })).toBe(
      `DATABASE_URL: ${parameter} is "/nowhere.pem", which cannot be read (ENOENT).`,
    );
  });

  test('CORS_ORIGINS accepts the origins of apps', () => {
    const origins = ['capacitor://localhost', 'ionic://localhost', 'chrome-extension://abcdefghijklmnop'];
    expect(new Env({ CORS_ORIGINS: origins.join(', ') }).corsOrigins).toEqual(origins);
  });

  test('HOST accepts an IPv6 address in brackets', () => {
    expect(new Env({ HOST: '[::1]' }).host).toBe('::1');
  });

  test('WORKERS: the error for another value mentions auto', () => {
    expect(refusal({ WORKERS: 'all' })).toBe('WORKERS is "all"; allowed: a whole number from 1 to 512, or auto.');
  });

  test('WORKERS=auto: one worker per core', () => {
    expect(new Env({ WORKERS: 'auto' }).workers).toBe(availableParallelism());
  });

  test('TRUST_PROXY accepts named networks', () => {
    expect(new Env({ TRUST_PROXY: 'loopback, 10.0.0.0/8' }).trustProxy).toBe('loopback, 10.0.0.0/8');
  });

  test('TRUST_PROXY with a number trusts that many hops, counted from the server', () => {
    const { trustProxy } = new Env({ TRUST_PROXY: '2' });
    if (typeof trustProxy !== 'function') throw new Error('No function');
    expect([0, 1, 2, 3].map((hop) => trustProxy('192.0.2.1', hop))).toEqual([true, true, false, false]);
  });

  test.each([
    ['PORT', 'abc'],
    ['PORT', '-1'],
    ['PORT', '65536'],
    ['PORT', '70000'],
    ['PORT', '80.5'],
    ['PORT', '0x50'],
    ['PORT', '1e3'],
    ['DATABASE_URL', 'mysql://db/x'],
    ['DATABASE_URL', 'localhost'],
    ['DATABASE_URL', 'postgresql://qm:pa#ss@127.0.0.1/qm'],
    ['DATABASE_URL', 'postgresql://qm:pa/ss@127.0.0.1/qm'],
    ['DATABASE_URL', 'postgresql://qm:12/ss@127.0.0.1/qm'],
    ['DATABASE_URL', 'postgresql://qm:12?ss@127.0.0.1/qm'],
    ['DATABASE_URL', 'postgresql://qm:100%@127.0.0.1/qm'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1:port/qm'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1:65536/qm'],
    ['DATABASE_URL', 'postgresql://qm@one,two/qm'],
    ['DATABASE_URL', 'postgresql://qm@one:5432,two:5432/qm'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1/qm?sslmode=on'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1/qm?sslmode=verify-ca'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1/qm?sslmode=verify-full&sslrootcert=system'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1/qm?query_timeout=5'],
    ['DATABASE_URL', 'postgresql://qm@127.0.0.1/qm?client_encoding=latin1'],
    ['DATABASE_SCHEMA', 'Public'],
    ['DATABASE_SCHEMA', 'a,b'],
    ['DATABASE_SCHEMA', 'pg_catalog'],
    ['PREPARED_STATEMENTS', 'no'],
    ['DATABASE_POOL', '0'],
    ['DATABASE_POOL', '1'],
    ['DATABASE_STATEMENT_TIMEOUT', '0'],
    ['DATABASE_STATEMENT_TIMEOUT', '10s'],
    ['SECRET_KEY', 'x'.repeat(31)],
    ['WORKERS', '0'],
    ['WORKERS', '-1'],
    ['WORKERS', '513'],
    ['WORKERS', 'AUTO'],
    ['REGISTRATION', 'no'],
    ['USERNAME_POLICY', 'Extended'],
    ['PASSWORD_POLICY', 'none'],
    ['ARGON2_MEMORY', '1023'],
    ['ARGON2_PASSES', '0'],
    ['REQUIRE_ADMIN_TOTP', 'yes'],
    ['SESSION_DAYS', '0'],
    ['SESSION_DAYS', '3651'],
    ['BASE_PATH', 'quartermaster'],
    ['BASE_PATH', '/'],
    ['BASE_PATH', '/a/'],
    ['BASE_PATH', '//a'],
    ['BASE_PATH', '/a/../b'],
    ['BASE_PATH', '/a b'],
    ['BASE_PATH', '/a?b'],
    ['PUBLIC_URL', 'example.com'],
    ['PUBLIC_URL', 'ftp://example.com'],
    ['PUBLIC_URL', 'https://example.com/path'],
    ['PUBLIC_URL', 'https://example.com/?x'],
    ['PUBLIC_URL', 'https://me@example.com'],
    ['SMTP_URL', 'mail.example.com'],
    ['SMTP_URL', 'http://mail.example.com'],
    ['SMTP_URL', 'smtp://'],
    ['SMTP_URL', 'smtp://mail.example.com/path'],
    ['SMTP_URL', 'smtp://mail.example.com?secure=1'],
    ['SMTP_URL', 'smtp://me:100%@mail.example.com'],
    ['MAIL_FROM', 'nobody'],
    ['MAIL_FROM', 'Ada ada@example.com'],
    ['MAIL_FROM', 'Ada <ada@example.com>, Eve <eve@example.com>'],
    ['MAIL_FROM', 'Ada\r\nBcc: x <ada@example.com>'],
    ['MAIL_FROM', 'Ada <ada@example.com\r\nBcc: eve@example.com>'],
    ['CORS_ORIGINS', 'https://*.example.com'],
    ['CORS_ORIGINS', 'https://a.example, https://*.example'],
    ['CORS_ORIGINS', '*, http*://a.example'],
    ['CORS_ORIGINS', 'http://localhost:*'],
    ['CORS_ORIGINS', '*.example.com'],
    ['CORS_ORIGINS', 'https://a.example/'],
    ['CORS_ORIGINS', 'https://A.example'],
    ['CORS_ORIGINS', 'https://a.example:443'],
    ['CORS_ORIGINS', 'a.example'],
    ['CORS_ORIGINS', 'null'],
    ['CORS_ORIGINS', 'Capacitor://localhost'],
    ['CORS_ORIGINS', 'capacitor://localhost/'],
    ['CORS_ORIGINS', 'file://localhost'],
    ['CORS_ORIGINS', 'https://münchen.example'],
    ['TRUST_PROXY', 'nonsense'],
    ['TRUST_PROXY', 'true'],
    ['TRUST_PROXY', '0.0.0.0/0'],
    ['TRUST_PROXY', '::/0'],
    ['TRUST_PROXY', '10.0.0.0/00'],
    ['TRUST_PROXY', '10.0.0.0/33'],
    ['TRUST_PROXY', '::1/129'],
    ['TRUST_PROXY', '10.0.0.0/8/8'],
    ['TRUST_PROXY', '10.0.0.0/'],
    ['TRUST_PROXY', '127.0.0.1,localhost'],
    ['TRUST_PROXY', '-1'],
    ['USAGE_RETENTION_DAYS', '0'],
    ['USAGE_RETENTION_DAYS', '36501'],
    ['USAGE_RETENTION_DAYS', 'never'],
    ['REQUEST_STATISTICS', 'yes'],
    ['METRICS_TOKEN', 'x'.repeat(15)],
    ['METRICS_TOKEN', 'ü'.repeat(16)],
    ['BODY_LIMIT', '1023'],
    ['BODY_LIMIT', '1MB'],
    ['MAX_CONNECTIONS', '0'],
    ['HEADERS_TIMEOUT', '999'],
    ['REQUEST_TIMEOUT', '0'],
    ['REQUEST_TIMEOUT', '30s'],
    ['SHUTDOWN_DELAY', '600001'],
    ['SHUTDOWN_DELAY', '5s'],
    ['LOG_LEVEL', 'loud'],
    ['LOG_LEVEL', 'INFO'],
  ])('rejects %s=%s with one line that names the variable', (name, value) => {
    const message = refusal({ [name]: value });
    expect(message).toMatch(new RegExp(`^${name} (is|must) .+\\.$`));
    expect(message).not.toContain('\n');
  });

  test('keeps an error message short and in one line for a long value', () => {
    const message = refusal({ LOG_LEVEL: `lo\nud${'!'.repeat(10_000)}` });
    expect(message.length).toBeLessThan(300);
    expect(message).not.toContain('\n');
  });

  test.each([
    ['DATABASE_URL', 'mysql://me:hunter2@db/x'],
    ['SECRET_KEY', 'hunter2 is short'],
    ['METRICS_TOKEN', 'hunter2'],
    ['SMTP_URL', 'smtp://me:hunter2@'],
    ['SMTP_URL', 'http://me:hunter2@mail.example.com'],
  ])('does not repeat the secret in the error for an invalid %s', (name, value) => {
    expect(refusal({ [name]: value })).not.toContain('hunter2');
  });

  test.each([
    'postgresql://qm:pa%23ss@127.0.0.1/qm',
    'postgres://qm:p@ss:word@[::1]:5432/qm?sslmode=require',
    'postgresql://qm@/qm?host=/var/run/postgresql',
    'postgresql:///qm?host=%2Fvar%2Frun%2Fpostgresql&sslmode=disable',
    'postgresql://db',
  ])('accepts the database URL %s', (url) => {
    expect(new Env({ DATABASE_URL: url }).databaseUrl).toBe(url);
  });

  test.each([
    'Adm1n!Password\r',
    '\n Adm1n!Password \r\n',
    '"Adm1n!Password"',
    `'Adm1n!Password'\r\n`,
    '\ufeffAdm1n!Password',
  ])('removes whitespace and quotes that an env file leaves around a value: %j', (value) => {
    expect(new Env({ ADMIN_PASSWORD: value }).adminPassword).toBe('Adm1n!Password');
    expect(new Env({ HOST: value.replace('Adm1n!Password', '::1') }).host).toBe('::1');
  });

  test('keeps blanks and quotes inside a value, and a quote without its pair', () => {
    for (const value of [`it's 5 o'clock`, `"Adm1n!Password`, `'a"`, '"']) {
      expect(new Env({ ADMIN_PASSWORD: value }).adminPassword).toBe(value);
    }
  });

  test.each(VARIABLES)('rejects control characters and bytes that are not UTF-8 inside %s', (name) => {
    expect(refusal({ [name]: 'hunter2\nhunter2' })).toBe(`${name} must be one line, without control characters.`);
    expect(refusal({ [name]: 'hunter2\0hunter2' })).toBe(`${name} must be one line, without control characters.`);
    expect(refusal({ [name]: 'hunter2\ufffdhunter2' })).toBe(`${name} is not valid UTF-8.`);
  });

  describe('secrets in files', () => {
    const SECRETS = {
      ADMIN_PASSWORD: ['adminPassword', 'Analytical-1843'],
      DATABASE_URL: ['databaseUrl', 'postgresql://me:secret@db/x'],
      SECRET_KEY: ['secretKey', 's'.repeat(32)],
      SMTP_URL: ['smtpUrl', 'smtp://mail.example.com'],
      METRICS_TOKEN: ['metricsToken', 'm'.repeat(16)],
    };
    const folder = mkdtempSync(join(tmpdir(), 'quartermaster-env-'));
    const file = join(folder, 'secret');
    afterAll(() => rmSync(folder, { recursive: true }));

    test.each(Object.entries(SECRETS))('%s_FILE: reads the file and trims it like a value', (name, [field, value]) => {
      writeFileSync(file, `"${value!}"\r\n`);
      expect(new Env({ [`${name}_FILE`]: file, [name]: '' })).toMatchObject({ [field!]: value });
    });

    test.each(Object.entries(SECRETS))(
      '%s: rejects it together with its _FILE variable, and a missing, empty or invalid file',
      (name, [, value]) => {
        const variable = `${name}_FILE`;
        writeFileSync(file, value!);
        expect(refusal({ [variable]: file, [name]: value! })).toBe(
          `${name} must not be set together with ${variable}: set only one of them.`,
        );
        expect(refusal({ [variable]: `${file}-missing` })).toMatch(
          new RegExp(`^${variable} is ".+", which cannot be read`),
        );
        writeFileSync(file, ' \n');
        expect(refusal({ [variable]: file })).toMatch(new RegExp(`^${variable} is ".+", an empty file`));
        writeFileSync(file, 'hunter2\nhunter2');
        expect(refusal({ [variable]: file })).toBe(`${name} must be one line, without control characters.`);
      },
    );
  });

  test('variables returns the names of all variables', () => {
    expect(variables()).toEqual(expect.arrayContaining([...VARIABLES, 'ADMIN_PASSWORD_FILE', 'SMTP_URL_FILE']));
  });

  test.each([
    ['PROT', 'PORT'],
    ['HOTS', 'HOST'],
    ['LOGLEVEL', 'LOG_LEVEL'],
    ['WORKER', 'WORKERS'],
    ['DATABASE_ULR', 'DATABASE_URL'],
    ['CORS_ORIGIN', 'CORS_ORIGINS'],
    ['log_level', 'LOG_LEVEL'],
    ['PORT_FILE', 'PORT'],
  ])('misspelt reports %s as a misspelling of %s if that is not set', (name, meant) => {
    expect(misspelt({ [name]: '1' })).toEqual([`${name} is set but not known; ${meant} is similar and not set.`]);
    expect(misspelt({ [name]: '1', [meant]: '1' })).toEqual([]);
  });

  test('misspelt does not report common variables', () => {
    const usual = [
      'HOME',
      'PATH',
      'USER',
      'LANG',
      'TERM',
      'SHELL',
      'HOSTNAME',
      'EDITOR',
      'PWD',
      'TZ',
      'NODE_ENV',
      'PORT',
    ];
    expect(misspelt(Object.fromEntries(usual.map((name) => [name, 'x'])))).toEqual([]);
  });

  test('is frozen', () => {
    const env = new Env({ CORS_ORIGINS: 'https://a.example' });
    expect(() => Object.assign(env, { port: 1 })).toThrow(TypeError);
    expect(() => (env.corsOrigins as string[]).push('https://evil.example')).toThrow(TypeError);
    expect(env.port).toBe(3000);
  });
});
