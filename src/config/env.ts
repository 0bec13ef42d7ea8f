import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';

/** Thrown for an invalid configuration. The message is one line for the operator. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Named networks (@fastify/proxy-addr). */
const NETWORKS = ['loopback', 'linklocal', 'uniquelocal'];

/** Returns whether the proxy at that number of hops is trusted. */
type TrustHops = (address: string, hop: number) => boolean;

/** Matches `address` or `Name <address>`. */
const SENDER = /^(?:[^<>"@\p{C}]*<[^\s<>@,;:"\p{C}]+@[^\s<>@,;:"\p{C}]+>|[^\s<>@,;:"\p{C}]+@[^\s<>@,;:"\p{C}]+)$/u;

/** Driver parameters that break settings which the server depends on. */
const UNSAFE_PARAMETERS = ['query_timeout', 'client_encoding', 'replication', 'binary'];

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'];

type Source = Readonly<Record<string, string | undefined>>;

/**
 * The configuration. It is read from the environment once, validated as a whole, and frozen. Each field is one
 * variable, and a line comment starts a group. `npm run docs:configuration` makes docs/configuration.md of them.
 */
export class Env {
  // Server
  /** PORT: TCP port to listen on. 0 picks a free port. */
  readonly port: number;
  /**
   * HOST: address of this machine to listen on. With 127.0.0.1, only this machine can connect; 0.0.0.0 listens on all
   * addresses.
   */
  readonly host: string;
  /**
   * BASE_PATH: path below which everything is served, for a proxy that passes the whole path on. Links start with it,
   * and signatures cover it.
   */
  readonly basePath: string;
  /**
   * PUBLIC_URL: origin at which users reach the server. Links in e-mails start with it, followed by BASE_PATH. The
   * default is made of HOST and PORT.
   */
  readonly publicUrl: string;
  /** WORKERS: number of processes that share the port. `auto` starts one per core. */
  readonly workers: number;
  /**
   * DATA_DIR: folder of the embedded PostgreSQL and of the secret key. With DATABASE_URL and SECRET_KEY, nothing is
   * stored in it.
   */
  readonly dataDir: string;
  /**
   * SECRET_KEY: encrypts the private key of the access tokens, waiting e-mails and two-factor secrets, authenticates
   * refresh tokens and cursors, and protects the audit log. Every node needs the same. If unset, it is created in
   * DATA_DIR, in the file `secret-key` with mode 0600. It cannot be changed later.
   */
  readonly secretKey: string | undefined;
  /**
   * LOG_LEVEL: `info` logs denied requests and faults, `debug` every request. From severe to talkative: `fatal`,
   * `error`, `warn`, `info`, `debug`, `trace`. `silent` logs nothing.
   */
  readonly logLevel: string;

  // Database
  /** DATABASE_URL: PostgreSQL 15 to 18; docs/databases.md shows how to prepare one. If unset, the embedded PostgreSQL. */
  readonly databaseUrl: string | undefined;
  /** DATABASE_SCHEMA: schema of the tables. Created if missing. */
  readonly databaseSchema: string;
  /**
   * DATABASE_POOL: maximum number of database connections of a process. docs/databases.md says what `max_connections`
   * of PostgreSQL must allow.
   */
  readonly databasePool: number;
  /** DATABASE_STATEMENT_TIMEOUT: milliseconds after which the database cancels a statement. The request gets 503. */
  readonly statementTimeout: number;
  /**
   * PREPARED_STATEMENTS: `off` for a pooler without support for them, such as PgBouncer before 1.21 in transaction
   * mode.
   */
  readonly preparedStatements: boolean;

  // First administrator
  /** ADMIN_EMAIL: e-mail of the administrator `admin`, whom the first start creates. It must be a valid address. */
  readonly adminEmail: string | undefined;
  /**
   * ADMIN_PASSWORD: password of that administrator, by the rules of PASSWORD_POLICY. If unset, a random password,
   * printed once. Ignored once there is an administrator.
   */
  readonly adminPassword: string | undefined;

  // Accounts and sign-in
  /**
   * REGISTRATION: with `closed`, only administrators create accounts. Applies until an administrator sets `registration`
   * of the platform.
   */
  readonly registration: 'open' | 'closed';
  /**
   * USERNAME_POLICY: `strict` allows letters and digits; `extended` also a single `.`, `-` or `_` between them. Existing
   * names stay valid.
   */
  readonly usernamePolicy: 'strict' | 'extended';
  /**
   * PASSWORD_POLICY: `classes` requires 8 to 64 characters with lower case, upper case, digit and special; `length`
   * requires 15 to 256 characters of any kind. Both reject 49,000 common passwords.
   */
  readonly passwordPolicy: 'classes' | 'length';
  /** ARGON2_MEMORY: KiB of memory for each password hash. Hashes with another value are renewed at the next sign-in. */
  readonly argon2Memory: number;
  /** ARGON2_PASSES: passes over that memory. Hashes with another value are renewed at the next sign-in. */
  readonly argon2Passes: number;
  /** REQUIRE_ADMIN_TOTP: with `on`, administrators have only the rights of users until they enable two-factor sign-in. */
  readonly requireAdminTotp: boolean;
  /** SESSION_DAYS: days for which a session lasts without a refresh. */
  readonly sessionDays: number;
  /** ISSUER: `iss` of the access tokens. */
  readonly issuer: string;

  // E-mail
  /**
   * SMTP_URL: mail server. A password is sent only over TLS, except to 127.0.0.1. Percent-encode special characters of
   * user and password. If unset, no e-mail is sent.
   */
  readonly smtpUrl: string | undefined;
  /** MAIL_FROM: sender of e-mails. The default has the host of PUBLIC_URL. */
  readonly mailFrom: string;

  // Browsers and proxies
  /** CORS_ORIGINS: origins whose pages may call the API. If unset, none. */
  readonly corsOrigins: readonly string[];
  /**
   * TRUST_PROXY: proxies whose X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto are trusted. If unset, none:
   * behind a proxy, all clients then share its address.
   */
  readonly trustProxy: string | TrustHops | false;

  // Limits and shutdown
  /** BODY_LIMIT: maximum size of a request body, in bytes. Batches of the store may have 16 MiB. */
  readonly bodyLimit: number;
  /** MAX_CONNECTIONS: maximum client connections of a process. Lower if the system allows fewer open files. */
  readonly maxConnections: number;
  /** HEADERS_TIMEOUT: milliseconds within which the headers of a request must arrive. At most REQUEST_TIMEOUT. */
  readonly headersTimeout: number;
  /**
   * REQUEST_TIMEOUT: milliseconds within which a whole request must arrive, and within which the client must receive a
   * response. A response gets one more second for each 64 KiB.
   */
  readonly requestTimeout: number;
  /**
   * SHUTDOWN_DELAY: milliseconds for which a stopping server still accepts connections while `/readyz` returns 503.
   * Behind a load balancer, 5000 to 10000.
   */
  readonly shutdownDelay: number;

  // Metrics
  /** METRICS_TOKEN: bearer token that Prometheus must send. If unset, anyone who reaches `/metrics` can read it. */
  readonly metricsToken: string | undefined;
  /** USAGE_RETENTION_DAYS: days for which the ledger keeps hourly usage. Lifetime totals stay. */
  readonly usageRetentionDays: number;
  /** REQUEST_STATISTICS: `off` counts no requests. Calls and quotas are counted all the same. */
  readonly requestStatistics: 'on' | 'off';

  /** @throws ConfigError with the name of the variable and its allowed values */
  constructor(source: Source = process.env) {
    const read = new Reader(source);
    this.port = read.integer('PORT', 3000, 0, 65_535);
    // Accepts an IPv6 address as in a URL.
    this.host = read.text('HOST', '127.0.0.1').replace(/^\[(.*)\]$/, '$1');
    this.basePath = read.path('BASE_PATH');
    this.databaseUrl = read.databaseUrl('DATABASE_URL');
    this.databaseSchema = read.identifier('DATABASE_SCHEMA', 'public');
    this.databasePool = read.integer('DATABASE_POOL', 10, 2, 1_000);
    this.statementTimeout = read.integer('DATABASE_STATEMENT_TIMEOUT', 30_000, 100, 3_600_000);
    this.preparedStatements = read.choice('PREPARED_STATEMENTS', ['on', 'off']) === 'on';
    this.dataDir = resolve(read.text('DATA_DIR', './data'));
    this.adminEmail = read.optional('ADMIN_EMAIL');
    this.adminPassword = read.confidential('ADMIN_PASSWORD');
    this.secretKey = read.secret('SECRET_KEY', 32);
    this.workers = read.workers('WORKERS');
    this.registration = read.choice('REGISTRATION', ['open', 'closed']);
    this.usernamePolicy = read.choice('USERNAME_POLICY', ['strict', 'extended']);
    this.passwordPolicy = read.choice('PASSWORD_POLICY', ['classes', 'length']);
    this.argon2Memory = read.integer('ARGON2_MEMORY', 19_456, 1_024, 4_194_304);
    this.argon2Passes = read.integer('ARGON2_PASSES', 2, 1, 100);
    this.requireAdminTotp = read.choice('REQUIRE_ADMIN_TOTP', ['off', 'on']) === 'on';
    this.sessionDays = read.integer('SESSION_DAYS', 30, 1, 3_650);
    this.issuer = read.text('ISSUER', 'quartermaster');
    this.publicUrl = read.origin('PUBLIC_URL', localOrigin(this.host, this.port)) + this.basePath;
    this.smtpUrl = read.smtp('SMTP_URL');
    this.mailFrom = read.sender('MAIL_FROM', `Quartermaster <no-reply@${mailDomain(this.publicUrl)}>`);
    this.corsOrigins = Object.freeze(read.origins('CORS_ORIGINS'));
    this.trustProxy = read.proxies('TRUST_PROXY');
    this.usageRetentionDays = read.integer('USAGE_RETENTION_DAYS', 400, 1, 36_500);
    this.requestStatistics = read.choice('REQUEST_STATISTICS', ['on', 'off']);
    this.metricsToken = read.token('METRICS_TOKEN', 16);
    this.bodyLimit = read.integer('BODY_LIMIT', 1_048_576, 1_024, 1_073_741_824);
    this.maxConnections = read.integer('MAX_CONNECTIONS', 10_000, 1, 1_000_000);
    this.requestTimeout = read.integer('REQUEST_TIMEOUT', 30_000, 1_000, 3_600_000);
    this.headersTimeout = Math.min(this.requestTimeout, read.integer('HEADERS_TIMEOUT', 15_000, 1_000, 3_600_000));
    this.shutdownDelay = read.integer('SHUTDOWN_DELAY', 500, 0, 600_000);
    this.logLevel = read.choice('LOG_LEVEL', ['info', 'fatal', 'error', 'warn', 'debug', 'trace', 'silent']);
    Object.freeze(this);
  }
}

/**
 * Reads variables. Removes whitespace around a value and one pair of quotes, which shells remove but env files keep. An
 * empty value counts as unset, because `docker compose` passes unset variables as empty.
 */
class Reader {
  constructor(private readonly source: Source) {}

  optional(name: string): string | undefined {
    const value = bare(this.source[name] ?? '');
    if (value.includes('\ufffd')) throw new ConfigError(`${name} is not valid UTF-8.`);
    if (/\p{Cc}/u.test(value)) throw new ConfigError(`${name} must be one line, without control characters.`);
    return value === '' ? undefined : value;
  }

  /** Reads a secret, from the variable or from the file named by `<name>_FILE`. */
  confidential(name: string): string | undefined {
    const variable = `${name}_FILE`;
    const [value, file] = [this.optional(name), this.optional(variable)];
    if (file === undefined) return value;
    if (value !== undefined)
      throw new ConfigError(`${name} must not be set together with ${variable}: set only one of them.`);
    const content = new Reader({ [name]: contentOf(variable, file) }).optional(name);
    if (content === undefined) throw new ConfigError(`${variable} is ${JSON.stringify(file)}, an empty file.`);
    return content;
  }

  text(name: string, fallback: string): string {
    return this.optional(name) ?? fallback;
  }

  /** @param others further allowed values, for the error */
  integer(name: string, fallback: number, min: number, max: number, others = ''): number {
    const value = this.optional(name);
    if (value === undefined) return fallback;
    const number = /^\d{1,15}$/.test(value) ? Number(value) : NaN;
    if (!(number >= min && number <= max)) {
      throw this.bad(name, value, `a whole number from ${String(min)} to ${String(max)}${others}`);
    }
    return number;
  }

  /** Reads one of the words. The first is the default. */
  choice<const T extends string>(name: string, words: readonly [T, ...T[]]): T {
    const value = this.optional(name) ?? words[0];
    const word = words.find((candidate) => candidate === value);
    if (word === undefined) throw this.bad(name, value, words.join(', '));
    return word;
  }

  identifier(name: string, fallback: string): string {
    const value = this.text(name, fallback);
    if (!/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(value)) {
      throw this.bad(name, value, 'up to 63 characters of a-z, 0-9 and _, not starting with a digit or pg_');
    }
    return value;
  }

  origins(name: string): string[] {
    const origins = this.list(name);
    const wrong = origins.find((origin) => origin !== '*' && !isOrigin(origin));
    if (wrong !== undefined) {
      throw this.bad(
        name,
        wrong,
        'origins as browsers send them, separated by commas (like https://example.com: lower case, xn--…, no default port, no slash at the end, no patterns), or * for any',
      );
    }
    return origins;
  }

  /** Returns a path without a trailing slash; empty if unset. Its characters need no encoding in any link. */
  path(name: string): string {
    const value = this.text(name, '');
    if (value !== '' && !/^(?:\/[\w~-][\w.~-]*)+$/.test(value)) {
      throw this.bad(
        name,
        value,
        'a path like /quartermaster, of letters, digits, -, _, ~ and ., without a slash at its end',
      );
    }
    return value;
  }

  origin(name: string, fallback: string): string {
    const value = this.text(name, fallback);
    const url = URL.canParse(value) ? new URL(value) : undefined;
    if (!url || !/^https?:$/.test(url.protocol) || url.href !== `${url.origin}/`) {
      throw this.bad(name, value, 'an origin like https://example.com');
    }
    return url.origin;
  }

  smtp(name: string): string | undefined {
    const value = this.confidential(name);
    const url = value !== undefined && URL.canParse(value) ? new URL(value) : undefined;
    const isGood = url && /^smtps?:$/.test(url.protocol) && url.hostname !== '' && /^\/?$/.test(url.pathname);
    // The message does not repeat the value, which may contain a password.
    if (value !== undefined && (!isGood || url.search !== '' || url.hash !== '' || !isDecodable(url))) {
      throw new ConfigError(
        `${name} must be smtp://host:port or smtps://host:port, with user:password@ before the host.`,
      );
    }
    return value;
  }

  sender(name: string, fallback: string): string {
    const value = this.text(name, fallback);
    if (!SENDER.test(value)) {
      throw this.bad(name, value, 'an address, or Name <address>');
    }
    return value;
  }

  list(name: string): string[] {
    return (this.optional(name) ?? '').split(',').flatMap((item) => (item.trim() === '' ? [] : [item.trim()]));
  }

  secret(name: string, length: number): string | undefined {
    const value = this.confidential(name);
    if (value !== undefined && value.length < length) {
      throw new ConfigError(`${name} must have ${String(length)} characters or more; it has ${String(value.length)}.`);
    }
    return value;
  }

  /** Reads a bearer token. Clients encode other characters in different ways. */
  token(name: string, length: number): string | undefined {
    const value = this.secret(name, length);
    if (value !== undefined && !/^[\x20-\x7e]+$/.test(value)) {
      throw new ConfigError(`${name} must have ASCII characters only.`);
    }
    return value;
  }

  /** Reads a database URL. Error messages do not repeat the value, which may contain a password. */
  databaseUrl(name: string): string | undefined {
    const value = this.confidential(name);
    if (value === undefined) return undefined;
    const refuse = (rule: string): never => {
      throw new ConfigError(`${name} ${rule}.`);
    };
    if (!/^postgres(ql)?:\/\//.test(value)) refuse('must start with postgres:// or postgresql://');
    // The address of a Unix socket has no host, and URL rejects a user without a host.
    const url = parsed(value) ?? parsed(value.replace('@/', '@socket/'));
    if (/^[^?]*,/.test(value.replace(/^.*@/, ''))) refuse('must name one host; see docs/databases.md for several');
    // If a password contains an unencoded # or /, URL parses the host as another part.
    if (url?.hash !== '' || (url.pathname + url.search).includes('@') || !isDecodable(url)) {
      throw new ConfigError(
        `${name} must be postgresql://user:password@host:port/database; percent-encode special characters in the password, for example # as %23.`,
      );
    }
    const unsafe = UNSAFE_PARAMETERS.find((parameter) => url.searchParams.has(parameter));
    if (unsafe !== undefined) refuse(`must not have the parameter ${unsafe}`);
    const sslmode = url.searchParams.get('sslmode');
    if (sslmode !== null && !SSL_MODES.includes(sslmode)) refuse(`must set sslmode to one of ${SSL_MODES.join(', ')}`);
    if (sslmode === 'verify-ca' && !url.searchParams.has('sslrootcert'))
      refuse('must set sslrootcert if sslmode is verify-ca');
    for (const parameter of ['sslrootcert', 'sslcert', 'sslkey']) {
      const file = url.searchParams.get(parameter);
      if (parameter === 'sslrootcert' && file === 'system')
        refuse('must not set sslrootcert to system: sslmode=verify-full alone checks against its authorities');
      if (file !== null && file !== '') contentOf(`${name}: ${parameter}`, file);
    }
    return value;
  }

  workers(name: string): number {
    return this.optional(name) === 'auto' ? availableParallelism() : this.integer(name, 1, 1, 512, ', or auto');
  }

  proxies(name: string): string | TrustHops | false {
    const value = this.optional(name);
    if (value === undefined) return false;
    if (/^\d{1,3}$/.test(value)) return (_address, hop) => hop < Number(value);
    const isNetwork = (item: string): boolean => {
      if (NETWORKS.includes(item)) return true;
      const [address = '', bits, ...more] = item.split('/');
      const most = { 4: 32, 6: 128 }[isIP(address)];
      if (most === undefined || more.length > 0) return false;
      // Fastify does not support a network /0. To trust every address, use a number of hops.
      return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 1 && Number(bits) <= most);
    };
    if (!this.list(name).every(isNetwork)) {
      throw this.bad(
        name,
        value,
        'a number of hops, or addresses and networks of /1 or longer (also loopback, linklocal, uniquelocal) separated by commas',
      );
    }
    return value;
  }

  private bad(name: string, value: string, allowed: string): ConfigError {
    return new ConfigError(`${name} is ${JSON.stringify(value.slice(0, 80))}; allowed: ${allowed}.`);
  }
}

/**
 * Whether a text is an origin as browsers send it. `URL` has no origin for the schemes of apps, such as
 * `capacitor://localhost`, and accepts `https://*.example.com`, which no browser sends.
 */
function isOrigin(text: string): boolean {
  if (text.includes('*') || !URL.canParse(text)) return false;
  const { origin } = new URL(text);
  return origin === text || (origin === 'null' && /^(?!file:)[a-z][a-z0-9+.-]*:\/\/[a-z0-9.-]+(:\d+)?$/.test(text));
}

/** Returns the origin at which the server can be reached from its own machine. */
function localOrigin(host: string, port: number): string {
  if (isIP(host) === 6 && host !== '::') return `http://[${host}]:${port}`;
  // An invalid host fails later, when the server starts to listen.
  const isName = /^[\w.-]+$/.test(host) && host !== '0.0.0.0' && URL.canParse(`http://${host}`);
  return `http://${isName ? host : 'localhost'}:${port}`;
}

function mailDomain(publicUrl: string): string {
  const { hostname } = new URL(publicUrl);
  return isIP(hostname) === 0 && !hostname.startsWith('[') ? hostname : 'localhost';
}

/** Whether the percent-encoded user and password can be decoded. */
function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

/** Removes whitespace and one pair of quotes around a value. */
function bare(text: string): string {
  const value = text.trim();
  const quoted = /^(["'])(.*)\1$/su.exec(value);
  return quoted && value.length > 1 ? (quoted[2] ?? '').trim() : value;
}

function contentOf(variable: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code = 'unreadable' } = error as NodeJS.ErrnoException;
    throw new ConfigError(`${variable} is ${JSON.stringify(file)}, which cannot be read (${code}).`);
  }
}

function parsed(value: string): URL | undefined {
  return URL.canParse(value) ? new URL(value) : undefined;
}

/** Returns the names of all variables that the configuration reads. */
export function variables(): string[] {
  const names = new Set<string>();
  const record = (_target: object, name: string | symbol): undefined => void names.add(String(name));
  new Env(new Proxy({}, { get: record }));
  return [...names];
}
