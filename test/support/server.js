// Plain JavaScript, since Jest loads its global setup outside its own transforms.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const MAIN = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));

export const ADMIN_PASSWORD = 'Quarter-Master-1';

export const SECRET_KEY = 'a secret of thirty-two characters, only for tests';

/** Tests make thousands of accounts and sign them in: at full cost that is a third of the time of them all. */
const CHEAP_HASHES = { ARGON2_MEMORY: '1024', ARGON2_PASSES: '1' };

/** What a password's hash costs outside of tests: an empty variable is an unset one. */
export const FULL_HASHES = { ARGON2_MEMORY: '', ARGON2_PASSES: '' };

/** A Quartermaster in a process of its own, as its users run it. */
export class TestServer {
  /** What it printed so far. */
  output = '';
  url = '';

  /**
   * @param {import('node:child_process').ChildProcess} child
   * @param {Promise<number | null>} exited
   */
  constructor(child, exited) {
    this.child = child;
    this.exited = exited;
  }

  /**
   * Spawns the built program on a free port and waits until it listens.
   * @param {Record<string, string>} env
   * @param {number} [openFiles] as many files as it may open at once
   */
  static async start(env, openFiles) {
    const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${String(openFiles)}; exec "$@"`, 'sh'];
    const [command = '', ...args] = [...limited, process.execPath, MAIN];
    const child = spawn(command, args, {
      env: {
        PATH: process.env.PATH,
        PORT: '0',
        LOG_LEVEL: 'warn',
        SHUTDOWN_DELAY: '0',
        ADMIN_PASSWORD,
        SECRET_KEY,
        ...CHEAP_HASHES,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    /** @type {Promise<number | null>} */
    const exited = once(child, 'exit').then(([code]) => code);
    const server = new TestServer(child, exited);
    /** @type {Promise<string>} */
    const listening = new Promise((resolve) => {
      const read = (/** @type {Buffer} */ chunk) => {
        server.output += chunk.toString();
        const match = /listens on (http:\S+)/.exec(server.output);
        if (match?.[1]) resolve(match[1]);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
    });
    const first = await Promise.race([listening, exited]);
    if (typeof first !== 'string') throw new StartFailed(first, server.output);
    server.url = first;
    return server;
  }

  /** Ends it as an operator does, and waits. Resolves with the exit code. */
  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGTERM');
    return this.exited;
  }

  /** Ends it as a crash does. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

/** The server ended before it listened. */
export class StartFailed extends Error {
  /**
   * @param {number | null} code
   * @param {string} output
   */
  constructor(code, output) {
    super(`The server did not start (${String(code)}):\n${output}`);
    this.code = code;
    this.output = output;
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
      await query(postgresUrl(), `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}

/**
 * Runs SQL on a connection of its own.
 * @param {string} url
 * @param {string} sql
 * @param {unknown[]} [values]
 * @returns {Promise<any[]>}
 */
export async function query(url, sql, values) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql, values)).rows;
  } finally {
    await client.end();
  }
}
