// Plain JavaScript, since Jest loads its global setup outside its own transforms.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

export const ADMIN_PASSWORD = 'Quarter-Master-1';

export const SECRET_KEY = 'a secret of thirty-two characters, only for tests';

/** Tests make thousands of accounts and sign them in: at full cost that is a third of the time of them all. */
const CHEAP_HASHES = { ARGON2_MEMORY: '1024', ARGON2_PASSES: '1' };

/** What a password's hash costs outside of tests: an empty variable is an unset one. */
export const FULL_HASHES = { ARGON2_MEMORY: '', ARGON2_PASSES: '' };

/** What a server is started with where a test says nothing else. */
const DEFAULTS = {
  PORT: '0',
  LOG_LEVEL: 'info',
  SHUTDOWN_DELAY: '0',
  DATABASE_POOL: '4',
  ADMIN_PASSWORD,
  SECRET_KEY,
  ...CHEAP_HASHES,
};

/** Logs of the servers that this file of tests has started: the environment shows them when a test fails. */
const logs = (globalThis.testLogs ??= []);

let started = 0;

/** A path for the log of one more server. */
function newLog() {
  const { TEST_RUN_FOLDER = '', JEST_WORKER_ID = '0' } = process.env;
  const file = join(TEST_RUN_FOLDER, 'logs', `${JEST_WORKER_ID}-${randomBytes(4).toString('hex')}.log`);
  appendFileSync(file, '');
  logs.push(file);
  return file;
}

/** The processes that the whole run shares, in turn (see host.js). */
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

/** What a program printed, apart, and its exit code. @typedef {{ code: number | null, stdout: string, stderr: string }} Ended */

/**
 * Runs a command of `npm run admin` in one of the processes that the whole run shares.
 * @param {Record<string, string>} env
 * @param {string[]} args
 * @param {string} [piped]
 * @returns {Promise<Ended>}
 */
export function admin(env, args, piped) {
  return post(`${nextHost()}/admin`, { env: { SECRET_KEY, ...CHEAP_HASHES, ...env }, args, piped });
}

/**
 * A server that answers over HTTP.
 *
 * `start` runs it in one of the processes that the whole run shares (see host.js); `spawn` runs the program in a process
 * of its own, for tests that signal it, kill it, or load it so much that others would feel it.
 */
export class TestServer {
  /**
   * @param {string} url
   * @param {string} log
   * @param {() => Promise<number | null>} end stops it; resolves with its exit code
   */
  constructor(url, log, end) {
    this.url = url;
    this.log = log;
    this.end = end;
  }

  /** What it has logged so far. */
  get output() {
    return readFileSync(this.log, 'utf8');
  }

  /**
   * Starts a server. Those that are started one after the other run in different processes.
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
   * Tries a start that must fail, in one of the processes that the whole run shares.
   * @param {Record<string, string>} env
   * @returns {Promise<string>} what the program would print as the reason
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
   * Runs the built program in a process of its own, as its users do, and waits until it listens.
   * @param {Record<string, string>} [env]
   * @param {number} [openFiles] as many files as it may open at once
   */
  static async spawn(env = {}, openFiles) {
    const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${String(openFiles)}; exec "$@"`, 'sh'];
    const [command = '', ...args] = [...limited, process.execPath, MAIN];
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
      const url = /listens on (http:\S+)/.exec(server.output)?.[1];
      if (url !== undefined) {
        server.url = url;
        return server;
      }
      if (isOver) throw new StartFailed(await exited, server.output);
      await sleep(20);
    }
  }

  /** Ends it as an operator does, and waits. Resolves with the exit code. */
  stop() {
    return this.end();
  }
}

/** A server in a process of its own. */
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

  /** Ends it as a crash does. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

/**
 * The variables that every program gets which the tests start; none of them configures a server.
 * @returns {Record<string, string>}
 */
export function inherited() {
  const { PATH, TMPDIR, TEST_COVERAGE_FOLDER } = process.env;
  const variables = { PATH, TMPDIR, NODE_V8_COVERAGE: TEST_COVERAGE_FOLDER };
  return Object.fromEntries(Object.entries(variables).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}

/** The server ended before it listened. */
export class StartFailed extends Error {
  /**
   * @param {number | null} code
   * @param {string} output
   * @param {string} [line] what the program would print as the reason
   */
  constructor(code, output, line) {
    super(`The server did not start (${String(code)}):\n${output}`);
    this.code = code;
    this.output = output;
    this.line = line;
  }
}

/** The address of the PostgreSQL that all tests of a run share. */
export function postgresUrl() {
  const url = process.env.TEST_POSTGRES_URL;
  if (url === undefined) throw new Error('No PostgreSQL: is this run by `npm test`?');
  return url;
}

/**
 * Makes a database of its own for what needs a whole platform: with every migration, as a copy, which takes a fraction of
 * the time of running them; or with nothing in it.
 * @param {{ isEmpty?: boolean }} [options]
 */
export async function createDatabase({ isEmpty = false } = {}) {
  const name = `t${randomBytes(6).toString('hex')}`;
  const template = isEmpty ? undefined : process.env.TEST_POSTGRES_TEMPLATE;
  await query(postgresUrl(), `CREATE DATABASE ${name}${template === undefined ? '' : ` TEMPLATE ${template}`}`);
  const url = new URL(postgresUrl());
  url.pathname = `/${name}`;
  return {
    name,
    url: url.href,
    drop: async () => {
      void pools.get(url.href)?.end();
      pools.delete(url.href);
      await query(postgresUrl(), `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/** Connections that are kept for a moment, by the address of the database: to connect takes more CPU than most statements. */
const pools = (globalThis.testPools ??= new Map());

/**
 * Runs SQL outside of any transaction; it must leave nothing in its session, which others may get. What needs a session
 * or a transaction takes a `pg.Client`.
 * @param {string} url
 * @param {string | { name: string, text: string }} sql with a name: PostgreSQL keeps its plan
 * @param {unknown[]} [values]
 * @returns {Promise<any[]>}
 */
export async function query(url, sql, values) {
  let pool = pools.get(url);
  if (!pool) {
    pool = new pg.Pool({ connectionString: url, max: 20, idleTimeoutMillis: 1_000, allowExitOnIdle: true });
    // Of an idle connection: its database was stopped or dropped.
    pool.on('error', () => undefined);
    pools.set(url, pool);
  }
  return (await pool.query(/** @type {string} */ (sql), values)).rows;
}
