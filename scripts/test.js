// `npm test` and its variants: builds what is stale, runs Jest, and leaves neither a process nor a file behind.
//
//   npm test                       every behaviour once, small
//   npm test -- users              test files whose path matches
//   npm run test:full              the same files in large, with random seeds
//   npm run test:repeat -- 15      as often, until one fails; further arguments go to Jest
//   npm run test:coverage          with a report of the lines that ran, over all processes
//   npm run test:browser           the console in Chromium (test/browser), which no other variant needs
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import {
  accessSync,
  chmodSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from './build.js';
import { runWithCoverage } from './coverage.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BROWSER_TESTS = '/test/browser/.*\\.browser\\.ts$';
const JEST = join(ROOT, 'node_modules', 'jest', 'bin', 'jest.js');

/** A file system in memory; its writes and flushes cost next to nothing. */
const MEMORY = '/dev/shm';

/** Free bytes that a run may need. */
const ROOM = 3 * 2 ** 30;

/** Milliseconds for what still runs when Jest has ended. */
const PATIENCE_MS = 5_000;

/**
 * The folder for everything that a run writes. Databases lie in memory where there is room; no test depends on the disk,
 * since a killed process loses nothing that it has handed to the kernel.
 */
function makeRunFolder() {
  const free = (/** @type {string} */ path) => {
    try {
      const { bavail, bsize } = statfsSync(path);
      return bavail * bsize;
    } catch {
      return 0;
    }
  };
  const folder = mkdtempSync(join(free(MEMORY) >= ROOM ? MEMORY : tmpdir(), 'quartermaster-test-'));
  // Started by root, PostgreSQL runs as another user, who must get through here.
  chmodSync(folder, 0o755);
  for (const name of ['tmp', 'logs']) mkdirSync(join(folder, name));
  return folder;
}

/** Keeps compiled tests and their durations between runs, where `node_modules` can be written. */
function cacheArguments() {
  const modules = join(ROOT, 'node_modules');
  try {
    accessSync(modules, constants.W_OK);
    return [`--cacheDirectory=${join(modules, '.cache', 'jest')}`];
  } catch {
    return [];
  }
}

/**
 * Ends what runs in a group of processes: SIGTERM, and SIGKILL where that does not help.
 * @param {number} group
 */
async function endGroup(group) {
  const signal = (/** @type {NodeJS.Signals | 0} */ name) => {
    try {
      process.kill(-group, name);
      return true;
    } catch {
      return false;
    }
  };
  if (!signal('SIGTERM')) return;
  const deadline = Date.now() + PATIENCE_MS;
  while (signal(0) && Date.now() < deadline) await sleep(50);
  signal('SIGKILL');
}

/**
 * Stops each PostgreSQL whose data lies in a folder: they run in groups of their own.
 * @param {string} folder
 */
function endDatabases(folder) {
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!entry.endsWith('/postmaster.pid')) continue;
    try {
      process.kill(Number.parseInt(readFileSync(join(folder, entry), 'utf8'), 10), 'SIGQUIT');
    } catch {
      // It has ended meanwhile.
    }
  }
}

/**
 * Makes the patterns, which come before any option, match below the project's folder only. Jest tests them against the whole
 * path, so `users` would match every file below /Users.
 * @param {string[]} argv
 */
function belowRoot(argv) {
  const firstOption = argv.findIndex((arg) => arg.startsWith('-'));
  const count = firstOption === -1 ? argv.length : firstOption;
  const root = ROOT.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return argv.map((arg, i) => (i < count ? `^${root}.*(${arg})` : arg));
}

let stopSignal = /** @type {NodeJS.Signals | undefined} */ (undefined);

/**
 * Runs Jest once.
 * @param {string[]} args
 * @param {Record<string, string>} env
 * @returns {Promise<number>} exit code
 */
async function runJest(args, env) {
  const folder = makeRunFolder();
  const jest = spawn(
    process.execPath,
    ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', JEST, ...cacheArguments(), ...args],
    {
      cwd: ROOT,
      // A group of its own, so that everything it has started can be ended with it.
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env, TEST_RUN_FOLDER: folder, TMPDIR: join(folder, 'tmp') },
    },
  );
  const pass = (/** @type {NodeJS.Signals} */ signal) => {
    stopSignal = signal;
    jest.kill('SIGKILL');
  };
  const signals = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
  for (const signal of signals) process.on(signal, pass);
  const [code] = await once(jest, 'exit');
  await endGroup(/** @type {number} */ (jest.pid));
  endDatabases(folder);
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
  for (const signal of signals) process.off(signal, pass);
  return code ?? 1;
}

/** @param {string[]} argv */
async function main(argv) {
  const flag = (/** @type {string} */ name) => {
    const at = argv.indexOf(name);
    if (at >= 0) argv.splice(at, 1);
    return at >= 0;
  };
  const isFull = flag('--full');
  const withCoverage = flag('--cover');
  const times = flag('--repeat') ? Number(argv.shift()) : 1;
  if (!(times >= 1)) {
    console.error('Say how often: npm run test:repeat -- 15');
    return 1;
  }
  const isInBrowser = flag('--browser');
  const args = [...belowRoot(argv), ...(isInBrowser ? [`--testRegex=${BROWSER_TESTS}`] : [])];
  const built = build(true);
  if (built !== 0) return built;
  const seed = process.env.SEED ?? (isFull ? String(randomInt(2 ** 31)) : '1');
  const env = { TEST_SIZE: isFull ? 'full' : 'small', TEST_SEED: seed };
  if (isFull) console.log(`SEED=${seed} npm run test:full repeats this run.`);
  if (withCoverage) return runWithCoverage((cover) => runJest([...args, ...cover.args], { ...env, ...cover.env }));
  for (let run = 1; run <= times; run++) {
    const started = Date.now();
    const code = await runJest(args, env);
    if (times > 1)
      console.log(`Run ${run} of ${times}: exit code ${code}, ${Math.round((Date.now() - started) / 1e3)} s`);
    if (stopSignal) return 128 + osConstants.signals[stopSignal];
    if (code !== 0) return code;
  }
  return 0;
}

process.exit(await main(process.argv.slice(2)));
