// The processes of a run: started, looked at in /proc, and ended.
import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Ticks of /proc/…/stat a second (USER_HZ, 100 on every Linux that Node runs on). */
const TICKS = 100;

/** Returns the flags of Node in `npm start`. */
export function flagsOfStart() {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return /^node((?: --\S+)*)/.exec(manifest.scripts.start)?.[1]?.split(' ').slice(1) ?? [];
}

/** A server in a process of its own. */
export class Server {
  /**
   * @param {import('node:child_process').ChildProcess} child
   * @param {string} url
   */
  constructor(child, url) {
    this.child = child;
    this.url = url;
    this.pid = child.pid ?? 0;
  }

  /**
   * Resolves when it has printed where it listens. Its output goes to a file, as that of a service does.
   * @param {{ name: string, args: string[], env?: Record<string, string>, folder: string }} options
   */
  static async start({ name, args, env = {}, folder }) {
    const output = join(folder, `${name}.log`);
    const file = openSync(output, 'a');
    const child = spawn(process.execPath, args, {
      env: { PATH: process.env.PATH, ...env },
      cwd: folder,
      stdio: ['ignore', file, file],
    });
    closeSync(file);
    while (child.exitCode === null && child.signalCode === null) {
      const url = /listens on (http:[^\s"]+)/.exec(readFileSync(output, 'utf8'))?.[1];
      if (url !== undefined) return new Server(child, url);
      await sleep(10);
    }
    throw new Error(`${name} did not start:\n${readFileSync(output, 'utf8')}`);
  }

  async stop() {
    await end(this.child);
  }

  /** Resident memory in MB. NaN where there is no /proc. */
  memory() {
    const kib = /VmRSS:\s+(\d+)/.exec(read(`/proc/${this.pid}/status`))?.[1];
    return Math.round(Number(kib) / 1_024);
  }
}

/** The load generator's process. */
export class Load {
  constructor() {
    this.child = fork(fileURLToPath(new URL('load.js', import.meta.url)));
    this.pid = this.child.pid ?? 0;
    /** @type {(outcome: import('./load.js').Outcome) => void} */
    this.done = () => undefined;
    /** @type {(error: Error) => void} */
    this.failed = () => undefined;
    this.child.on('message', (outcome) => {
      this.done(/** @type {import('./load.js').Outcome} */ (outcome));
    });
    this.child.once('exit', () => {
      this.failed(new Error('The load generator ended'));
    });
  }

  /**
   * One job at a time.
   * @param {import('./load.js').Job} job
   * @returns {Promise<import('./load.js').Outcome>}
   */
  run(job) {
    return new Promise((resolve, reject) => {
      this.done = resolve;
      this.failed = reject;
      this.child.send(job);
    });
  }

  async stop() {
    await end(this.child);
  }
}

/** @param {import('node:child_process').ChildProcess} child */
async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(timer);
}

/**
 * Seconds of CPU that processes have used so far: a server's, the load generator's, PostgreSQL's with all its
 * backends, and the whole machine's. Zeros where there is no /proc.
 * @param {{ server: number, load: number, postmaster: number }} pids
 */
export function cpuSeconds({ server, load, postmaster }) {
  const all = new Map(processes());
  // Backends come and go: those that are gone are in what the postmaster counts of its children.
  let postgres = all.get(postmaster)?.gone ?? 0;
  for (const [pid, { parent, seconds }] of all) {
    if (pid === postmaster || parent === postmaster) postgres += seconds;
  }
  const machine = /^cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+)/.exec(read('/proc/stat'))?.slice(1) ?? [];
  return {
    server: all.get(server)?.seconds ?? 0,
    load: all.get(load)?.seconds ?? 0,
    postgres,
    machine: machine.reduce((sum, ticks) => sum + Number(ticks) / TICKS, 0),
  };
}

/** @returns {Generator<[pid: number, { parent: number, seconds: number, gone: number }]>} */
function* processes() {
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    // pid (name, which may hold anything) state ppid … utime stime cutime cstime
    const fields = read(`/proc/${name}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ')
      .map(Number);
    const [parent = 0, user = 0, system = 0, goneUser = 0, goneSystem = 0] = [1, 11, 12, 13, 14].map((i) => fields[i]);
    yield [Number(name), { parent, seconds: (user + system) / TICKS, gone: (goneUser + goneSystem) / TICKS }];
  }
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
