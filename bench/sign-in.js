// `node bench/sign-in.js`: whether the time of a refused sign-in tells that an account exists, what a sign-in costs beside
// the bare hash, and what others notice of 500 at once. --rounds=N (200). Ends what it starts and leaves no file.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { verificationsPerSecond } from './argon2.js';
import { ADMIN_PASSWORD } from './cases.js';
import { median } from './report.js';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '200' } } });
const rounds = Number(values.rounds);
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'quartermaster-sign-in-'));
const child = spawn(process.execPath, ['dist/src/main.js'], {
  cwd: root,
  env: {
    ...{ PATH: process.env.PATH, DATA_DIR: folder, PORT: '0', ADMIN_PASSWORD, LOG_LEVEL: 'silent' },
    // Each sign-in says from where it is, so that none is refused for those before.
    TRUST_PROXY: '127.0.0.1',
  },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const exited = once(child, 'exit');
try {
  const url = await listening();
  await signIn(url, 'admin', ADMIN_PASSWORD);
  await compareTimes(url);
  await load(url);
} finally {
  child.kill('SIGTERM');
  await exited;
  await rm(folder, { recursive: true, force: true });
}

/** @returns {Promise<string>} */
function listening() {
  let output = '';
  return new Promise((resolve, reject) => {
    void exited.then(() => reject(new Error('It did not start')));
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
      const address = /listens on (http:[^\s"]+)/.exec(output)?.[1];
      if (address) resolve(address);
    });
  });
}

/**
 * @param {string} url
 * @param {string} login
 * @param {string} password
 */
async function signIn(url, login, password, address = '10.0.0.1') {
  const begun = performance.now();
  const response = await fetch(`${url}/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
    body: JSON.stringify({ login, password }),
  });
  const text = await response.text();
  return { ms: performance.now() - begun, status: response.status, body: JSON.parse(text) };
}

/**
 * Known and unknown names in turn, the same length, one at a time.
 * @param {string} url
 */
async function compareTimes(url) {
  /** @type {{ known: number[], unknown: number[], right: number[] }} */
  const times = { known: [], unknown: [], right: [] };
  for (let i = 0; i < rounds; i++) {
    const address = `10.${i >> 8}.${i & 255}.1`;
    // Another each time: a name that fails a hundred times in a row is refused without a hash.
    for (const [kind, login] of /** @type {const} */ ([
      ['known', 'admin'],
      ['unknown', `n${String(i).padStart(4, '0')}`],
    ])) {
      const { ms, status } = await signIn(url, login, 'Wrong-password-1', address);
      if (status !== 401) throw new Error(`A wrong password was answered with ${status}`);
      times[kind].push(ms);
    }
    if (i % 10 === 0) times.right.push((await signIn(url, 'admin', ADMIN_PASSWORD, '10.0.0.1')).ms);
  }
  const alone = 1_000 / (await verificationsPerSecond(3, 1));
  console.log('| a sign-in, one at a time | median ms | of the bare hash |\n|---|--:|--:|');
  for (const [name, label] of /** @type {const} */ ([
    ['known', 'wrong password, known name'],
    ['unknown', 'wrong password, unknown name'],
    ['right', 'right password'],
  ])) {
    console.log(`| ${label} | ${median(times[name]).toFixed(1)} | ${(median(times[name]) / alone).toFixed(2)} |`);
  }
  console.log(`| argon2id verification alone | ${alone.toFixed(1)} | 1 |`);
  console.log(`\nUnknown to known: ${(median(times.unknown) / median(times.known)).toFixed(3)} (${rounds} of each)\n`);
}

/**
 * 500 sign-ins at once, and somebody else who reads the own account meanwhile.
 * @param {string} url
 */
async function load(url) {
  const { body } = await signIn(url, 'admin', ADMIN_PASSWORD);
  /** @type {number[]} */
  const quiet = [];
  /** @type {number[]} */
  const during = [];
  const me = async () => {
    const begun = performance.now();
    const { status } = await fetch(`${url}/v1/users/me`, { headers: { authorization: `Bearer ${body.accessToken}` } });
    if (status !== 200) throw new Error(`/v1/users/me answered ${status}`);
    return performance.now() - begun;
  };
  for (let i = 0; i < 100; i++) quiet.push(await me());
  const before = await memoryOf();
  let peak = before;
  const state = { running: true };
  const reading = (async () => {
    while (state.running) {
      during.push(await me());
      peak = Math.max(peak, await memoryOf());
      await sleep(5);
    }
  })();
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, i) => signIn(url, 'admin', ADMIN_PASSWORD, `10.1.${i >> 7}.${i & 127}`)),
  );
  state.running = false;
  await reading;
  const codes = [...new Set(answers.map(({ status }) => status))].map(
    (status) => `${answers.filter((each) => each.status === status).length} times ${status}`,
  );
  console.log(
    `500 sign-ins at once: ${codes.join(', ')}. ` +
      `/v1/users/me of others: ${during.length} answers, all 200, median ${median(during).toFixed(1)} ms ` +
      `(${median(quiet).toFixed(1)} without). Memory: ${before} MB before, ${peak} MB at most.`,
  );
}

/** Resident, of the server's process. @returns {Promise<number>} MB */
async function memoryOf() {
  const status = await readFile(`/proc/${String(child.pid)}/status`, 'utf8');
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1_024);
}
