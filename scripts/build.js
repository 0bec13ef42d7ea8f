// Builds the server (src/ into dist/) and the console (console/ into console/dist/). With --if-stale only what is older
// than its sources, so that `npm start` and `npm test` cost nothing when nothing changed and never run yesterday's code
// after a `git pull`. With --prepare, which `npm ci` runs, a missing compiler is no error.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const root = fileURLToPath(new URL('..', import.meta.url));
const compiler = join('scripts', 'compile.js');
const vite = join('node_modules', 'vite', 'bin', 'vite.js');

/**
 * What can be built: its sources and everything else that the build reads, the package it needs, and where it goes.
 * @typedef {{ name: string, inputs: string[], needs: string, command: string[], out: string }} Target
 */

/** @type {Target[]} */
const targets = [
  {
    name: 'server',
    inputs: [
      'src',
      join('sdk', 'src'),
      'ormconfig.ts',
      compiler,
      'package-lock.json',
      'tsconfig.json',
      'tsconfig.build.json',
      'nest-cli.json',
    ],
    // TypeScript itself may be there without it, as a peer of another package.
    needs: '@types/node',
    command: [compiler],
    out: 'dist',
  },
  {
    name: 'console',
    inputs: [
      ...['src', 'public', 'index.html', 'vite.config.js', 'package.json'].map((name) => join('console', name)),
      'package-lock.json',
    ],
    needs: 'vite',
    // Loads the configuration as it is: by default Vite writes a copy into node_modules.
    command: [vite, 'build', 'console', '--configLoader', 'native', '--logLevel', 'warn'],
    out: join('console', 'dist'),
  },
];

/**
 * A digest of names, sizes and times of all that a build reads.
 * @param {string[]} inputs
 */
function fingerprint(inputs) {
  const hash = createHash('sha256');
  const visit = (/** @type {string} */ path) => {
    const stat = statSync(join(root, path), { throwIfNoEntry: false });
    if (stat?.isDirectory()) {
      for (const name of readdirSync(join(root, path)).sort()) visit(join(path, name));
    } else if (stat) {
      hash.update(`${path}\0${stat.size}\0${stat.mtimeMs}\n`);
    }
  };
  inputs.forEach(visit);
  return hash.digest('hex');
}

/**
 * Removes what an earlier build left and this one did not write. Files are replaced in place and not deleted first, so
 * that a program that is starting from them meanwhile finds them all.
 * @param {string} folder
 * @param {number} before milliseconds since 1970
 */
function prune(folder, before) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) prune(path, before);
    else if (statSync(path).mtimeMs < before) rmSync(path);
  }
}

/** @param {string} path */
function exists(path) {
  return statSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
}

/** @param {Target} target */
function built({ out }) {
  try {
    return readFileSync(join(root, out, '.built'), 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Builds one target.
 * @param {Target} target
 * @param {{ ifStale: boolean, isPreparing: boolean }} options
 * @returns {number} exit code
 */
function buildTarget(target, { ifStale, isPreparing }) {
  const { name, inputs, needs, command, out } = target;
  const started = Date.now();
  const wanted = fingerprint(inputs);
  if (ifStale && built(target) === wanted) return 0;
  if (!exists(join('node_modules', needs))) {
    // `npm ci --omit=dev` and the container image have no compiler: what was built is what runs.
    if (isPreparing || built(target) !== undefined) return 0;
    console.error('Nothing is built and the compiler is not installed: run `npm ci` without --omit=dev once.');
    return 1;
  }
  const obstacle = findObstacle(out);
  if (obstacle !== undefined) {
    console.error(`${obstacle}: run \`npm run build\` as the user who owns ${root}.`);
    return 1;
  }
  // Not to standard output, which can be the data of a command.
  if (ifStale) console.error(`Building the ${name} (once; later starts skip this) …`);
  const { status } = spawnSync(process.execPath, command, { cwd: root, stdio: 'inherit' });
  if (status !== 0) return status ?? 1;
  prune(join(root, out), started);
  writeFileSync(join(root, out, '.built'), wanted);
  return 0;
}

/**
 * Builds; with `ifStale` only what changed since.
 * @param {boolean} ifStale
 * @param {boolean} [isPreparing]
 * @returns {number} exit code
 */
export function build(ifStale, isPreparing = false) {
  for (const target of targets) {
    if (!target.inputs.every(exists)) continue;
    const code = buildTarget(target, { ifStale, isPreparing });
    if (code !== 0) return code;
  }
  return 0;
}

/**
 * Why a folder cannot be written, if it cannot: every folder and file that the build may replace is asked for.
 * @param {string} out
 */
function findObstacle(out) {
  const folder = join(root, out);
  try {
    mkdirSync(folder, { recursive: true });
    for (const path of [
      folder,
      ...readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name))),
    ]) {
      accessSync(path, constants.W_OK);
    }
    return undefined;
  } catch (error) {
    const { code, path } = /** @type {NodeJS.ErrnoException} */ (error);
    return `The build in ${out}/ is missing or older than the sources, and ${path ?? folder} cannot be written (${code})`;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isPreparing = process.argv.includes('--prepare');
  process.exit(build(isPreparing || process.argv.includes('--if-stale'), isPreparing));
}
