// Compiles src/ into dist/. With --if-stale only when a source is newer than the last build, so that
// `npm start` and `npm test` cost nothing when nothing changed and never run yesterday's code after a `git pull`.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const root = fileURLToPath(new URL('..', import.meta.url));
const stamp = join(root, 'dist', '.built');
const compiler = join('scripts', 'compile.js');
const configs = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'nest-cli.json'];
const inputs = ['src', 'ormconfig.ts', compiler, ...configs];

/** A digest of names, sizes and times of all that the build reads. */
function fingerprint() {
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

function built() {
  try {
    return readFileSync(stamp, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * Builds; with `ifStale` only what changed since.
 * @param {boolean} ifStale
 * @returns {number} exit code
 */
export function build(ifStale) {
  const started = Date.now();
  const wanted = fingerprint();
  if (ifStale && built() === wanted) return 0;
  if (!statSync(join(root, 'node_modules', 'typescript'), { throwIfNoEntry: false })) {
    // `npm ci --omit=dev` and the container image have no compiler: what was built is what runs.
    if (built() !== undefined) return 0;
    console.error('Nothing is built and the compiler is not installed: run `npm ci` without --omit=dev once.');
    return 1;
  }
  const obstacle = findObstacle();
  if (obstacle !== undefined) {
    console.error(`${obstacle}: run \`npm run build\` as the user who owns ${root}.`);
    return 1;
  }
  // Not to standard output, which can be the data of a command.
  if (ifStale) console.error('Building (once; later starts skip this) …');
  const { status } = spawnSync(process.execPath, [join(root, compiler)], { cwd: root, stdio: 'inherit' });
  if (status !== 0) return status ?? 1;
  prune(join(root, 'dist'), started);
  writeFileSync(stamp, wanted);
  return 0;
}

/** Why dist/ cannot be written, if it cannot: every folder and file that the build may replace is asked for. */
function findObstacle() {
  const dist = join(root, 'dist');
  try {
    mkdirSync(dist, { recursive: true });
    for (const path of [dist, ...readdirSync(dist, { recursive: true }).map((name) => join(dist, String(name)))]) {
      accessSync(path, constants.W_OK);
    }
    return undefined;
  } catch (error) {
    const { code, path } = /** @type {NodeJS.ErrnoException} */ (error);
    return `The build in dist/ is missing or older than the sources, and ${path ?? dist} cannot be written (${code})`;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(build(process.argv.includes('--if-stale')));
