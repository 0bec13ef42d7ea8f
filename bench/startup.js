// `node bench/startup.js`: from the command `npm start` to the first 200 of /readyz, once built: in a DATA_DIR that is
// new each time, and in one that is there. --times=N (5). Ends what it starts and leaves no file.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { freePort } from '../scripts/free-port.js';
import { ADMIN_PASSWORD } from './cases.js';
import { median } from './report.js';

const PATIENCE_MS = 60_000;

const { values } = parseArgs({ options: { times: { type: 'string', default: '5' } } });
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'quartermaster-startup-'));
try {
  // Builds where that is needed, and warms the file cache.
  await start(join(folder, 'warm'));
  const times = Number(values.times);
  /** @type {{ fresh: number[], again: number[] }} */
  const { fresh, again } = { fresh: [], again: [] };
  for (let i = 0; i < times; i++) fresh.push(await start(join(folder, `new-${i}`)));
  for (let i = 0; i < times; i++) again.push(await start(join(folder, 'warm')));
  console.log('| `npm start` to the first 200 of /readyz | median s | of all |\n|---|--:|---|');
  console.log(row('on a new `DATA_DIR`', fresh));
  console.log(row('on one that is there', again));
} finally {
  await rm(folder, { recursive: true, force: true });
}

/**
 * @param {string} dataDir
 * @returns {Promise<number>} seconds
 */
async function start(dataDir) {
  const port = await freePort();
  await mkdir(dataDir, { recursive: true });
  const begun = performance.now();
  const child = spawn('npm', ['start'], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, DATA_DIR: dataDir, PORT: String(port), ADMIN_PASSWORD },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const exited = once(child, 'exit');
  try {
    while (!(await isReady(port))) {
      if (child.exitCode !== null) throw new Error('It did not start');
      if (performance.now() - begun > PATIENCE_MS) throw new Error('It is not ready after a minute');
      await sleep(5);
    }
    return (performance.now() - begun) / 1_000;
  } finally {
    child.kill('SIGTERM');
    await exited;
    await databaseStopped(dataDir);
  }
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function isReady(port) {
  return new Promise((resolve) => {
    get({ port, host: '127.0.0.1', path: '/readyz', agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    }).on('error', () => {
      resolve(false);
    });
  });
}

/**
 * The server may outlive its npm for a moment; its PostgreSQL removes this file at the very end.
 * @param {string} dataDir
 */
async function databaseStopped(dataDir) {
  const deadline = performance.now() + PATIENCE_MS;
  while ((await readFile(join(dataDir, 'postgres', 'postmaster.pid')).catch(() => null)) !== null) {
    if (performance.now() > deadline) throw new Error(`PostgreSQL in ${dataDir} does not stop`);
    await sleep(20);
  }
}

/**
 * @param {string} label
 * @param {number[]} seconds
 */
function row(label, seconds) {
  const [all, middle] = [seconds.toSorted((a, b) => a - b), median(seconds)];
  return `| ${label} | ${middle.toFixed(2)} | ${all.map((each) => each.toFixed(2)).join(', ')} |`;
}
