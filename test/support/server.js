// Plain JavaScript, because Jest loads its global setup outside of its transforms.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { createOnNodes, joinNodes } from './citus.js';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

export const ADMIN_PASSWORD = 'Quarter-Master-1';

export const SECRET_KEY = 'a secret of thirty-two characters, only for tests';

/** Cheap hashes: tests create and sign in thousands of accounts, and default hashes would take a third of the run. */
const CHEAP_HASHES = { ARGON2_MEMORY: '1024', ARGON2_PASSES: '1' };

/** The default hash parameters: an empty variable counts as unset. */
export const FULL_HASHES = { ARGON2_MEMORY: '', ARGON2_PASSES: '' };

/** Default variables of test servers. */
const DEFAULTS = {
  PORT: '0',
  LOG_LEVEL: 'info',
  SHUTDOWN_DELAY: '0',
  DATABASE_POOL: '4',
  ADMIN_PASSWORD,
  SECRET_KEY,
  ...CHEAP_HASHES,
};

/** Logs of the servers started by this test file; the environment prints them when a test fails. */
const logs = (globalThis.testLogs ??= []);

let started = 0;

/** Creates a log file for a server. Returns its path. */
function newLog() {
  const { TEST_RUN_FOLDER = '', JEST_WORKER_ID = '0' } = process.env;
  const file = join(TEST_RUN_FOLDER, 'logs', `${JEST_WORKER_ID}-${randomBytes(4).toString('hex')}.log`);
  appendFileSync(file, '');
  logs.push(file);
  return file;
}

/** Returns a host process of the run, in rotation (see host.js). */
function nextHost() {
  const hosts = (process.env.TEST_HOSTS ?? '').split(' ');
  return hosts[(Number(process.env.JEST_WORKER_ID ?? 0) + started++) % hosts.length] ?? '';
}

/**
 * @param {string} url of a host
 * @param {unknown} body
 * @returns {Promise<any>}
 */
async function post(url, body) {
  return (await fetch(url, { method: 'POST', body: JSON.stringify(body) })).json();
}

/** The output and exit code of a program. @typedef {{ code: number | null, stdout: string, stderr: string }} Ended */

/**
 * Runs a command of `quartermaster` in a host process.
 * @param {Record<string, string>} env
 * @param {string[]} args
 * @param {string} [piped]
 * @returns {Promise<Ended>}
 */
export function command(env, args, piped) {
  return post(`${nextHost()}/command`, { env: { SECRET_KEY, ...CHEAP_HASHES, ...env }, args, piped });
}

/**
 * A server that accepts HTTP requests.
 *
 * `start` runs it in a host process that the run shares (see host.js). `spawn` runs the program in its own process, for
 * tests that signal it, kill it, or load it so much that other tests would slow down.
 */
export class TestServer {
  /**
   * @param {string} url
   * @param {string} log
   * @param {() => Promise<number | null>} end stops the server; resolves with the exit code
   */
  constructor(url, log, end) {
    this.url = url;
    this.log = log;
    this.end = end;
  }

  /** The log so far. */
  get output() {
    return readFileSync(this.log, 'utf8');
  }

  /**
   * Starts a server. Consecutive servers run in different host processes.
   * @param {Record<string, string>} [env]
   * @returns {Promise<TestServer>}
   */
  static async start(env = {}) {
    if ('WORKERS' in env) throw new Error('A host runs no workers: use spawn().');
    const host = nextHost();
    const log = newLog();
    const answer = await post(host, { env: { ...DEFAULTS, ...env }, log });
    if (answer.failed !== undefined) throw new StartFailed(null, answer.failed, answer.line);
    /** @type {Promise<number> | undefined} */
    let stopped;
    const stop = async () => {
      const ended = await fetch(`${host}/${answer.id}`, { method: 'DELETE' });
      return /** @type {{ code: number }} */ (await ended.json()).code;
    };
    return new TestServer(answer.url, log, () => (stopped ??= stop()));
  }

  /**
   * Tries a start that must fail, in a host process.
   * @param {Record<string, string>} env
   * @returns {Promise<string>} the reason that the program would print
   */
  static async refusal(env) {
    /** @type {TestServer} */
    let server;
    try {
      server = await TestServer.start(env);
    } catch (error) {
      if (error instanceof StartFailed && error.line !== undefined) return error.line;
      throw error;
    }
    await server.stop();
    throw new Error('The server has started.');
  }

  /**
   * Runs the built program in its own process, as users do, and waits until it listens.
   * @param {Record<string, string>} [env]
   * @param {number} [openFiles] the limit of open files
   * @param {string} [main] the program, if it is a copy
   */
  static async spawn(env = {}, openFiles, main = MAIN) {
    const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${String(openFiles)}; exec "$@"`, 'sh'];
    const [command = '', ...args] = [...limited, process.execPath, main];
    const log = newLog();
    const file = openSync(log, 'a');
    const child = spawn(command, args, {
      env: { ...inherited(), ...DEFAULTS, ...env },
      stdio: ['ignore', file, file],
    });
    closeSync(file);
    /** @type {Promise<number | null>} */
    const exited = once(child, 'exit').then(([code]) => code);
    const server = new ServerProcess('', log, child, exited);
    let isOver = false;
    void exited.then(() => (isOver = true));
    for (;;) {
      const url = /listens on (http:[^\s"]+)/.exec(server.output)?.[1];
      if (url !== undefined) {
        server.url = url;
        return server;
      }
      if (isOver) throw new StartFailed(await exited, server.output);
      await sleep(20);
    }
  }

  /** Stops the server with SIGTERM, as operators do. Resolves with the exit code. */
  stop() {
    return this.end();
  }
}

/** A server in its own process. */
export class ServerProcess extends TestServer {
  /**
   * @param {string} url
   * @param {string} log
   * @param {import('node:child_process').ChildProcess} child
   * @param {Promise<number | null>} exited
   */
  constructor(url, log, child, exited) {
    super(url, log, () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      return exited;
    });
    this.child = child;
    this.exited = exited;
  }

  /** Kills the server with SIGKILL, as in a crash. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

/**
 * Returns the environment variables that every started program gets; none of them configures a server.
 * @returns {Record<string, string>}
 */
export function inherited() {
  const { PATH, TMPDIR, TEST_COVERAGE_FOLDER } = process.env;
  const variables = { PATH, TMPDIR, NODE_V8_COVERAGE: TEST_COVERAGE_FOLDER };
  return Object.fromEntries(Object.entries(variables).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}

/** Thrown when a server exits before it listens. */
export class StartFailed extends Error {
  /**
   * @param {number | null} code
   * @param {string} output
   * @param {string} [line] the reason that the program would print
   */
  constructor(code, output, line) {
    super(`The server did not start (${String(code)}):\n${output}`);
    this.code = code;
    this.output = output;
    this.line = line;
  }
}

/** Returns the address of the PostgreSQL that all tests share. */
export function postgresUrl() {
  const url = process.env.TEST_POSTGRES_URL;
  if (url === undefined) throw new Error('No PostgreSQL: is this run by `npm test`?');
  return url;
}

/**
 * Creates a database for tests that need a whole platform. By default it is a copy of the migrated template, which is
 * much faster than running the migrations.
 * @param {{ isEmpty?: boolean }} [options]
 */
export async function createDatabase({ isEmpty = false } = {}) {
  const name = `t${randomBytes(6).toString('hex')}`;
  const template = isEmpty ? undefined : process.env.TEST_POSTGRES_TEMPLATE;
  const nodes = (process.env.TEST_POSTGRES_NODES ?? postgresUrl()).split(' ');
  await createOnNodes(nodes, name, template);
  if (isEmpty && nodes.length > 1) await joinNodes(nodes, name);
  const url = new URL(postgresUrl());
  url.pathname = `/${name}`;
  return {
    name,
    url: url.href,
    drop: async () => {
      void pools.get(url.href)?.end();
      pools.delete(url.href);
      for (const node of nodes) await query(node, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Connection pools by database address: connecting takes more CPU time than most statements. */
const pools = (globalThis.testPools ??= new Map());

/**
 * Runs SQL outside of a transaction. It must not change session state, because other queries reuse the session. Use a
 * `pg.Client` for a session or transaction.
 * @param {string} url
 * @param {string | { name: string, text: string }} sql with a name it becomes a prepared statement
 * @param {unknown[]} [values]
 * @returns {Promise<any[]>}
 */
export async function query(url, sql, values) {
  let pool = pools.get(url);
  if (!pool) {
    pool = new pg.Pool({ connectionString: url, max: 20, idleTimeoutMillis: 1_000, allowExitOnIdle: true });
    // Idle connections fail when their database is stopped or dropped.
    pool.on('error', () => undefined);
    pools.set(url, pool);
  }
  return (await pool.query(/** @type {string} */ (sql), values)).rows;
}
