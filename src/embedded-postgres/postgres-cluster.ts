import { createHash, randomBytes } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { causeIn, EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import type { PostgresBinaries } from './postgres-binaries.js';
import type { Account, PostgresLauncher } from './postgres-launcher.js';

/** The superuser of the cluster, as which Quartermaster connects. */
export const SUPERUSER = 'quartermaster';

/** The path of a Unix socket may have 103 bytes on macOS and 107 on Linux. */
const LONGEST_SOCKET = 103;

/** PostgreSQL names the socket after its port, even if it does not listen on TCP. */
export const SOCKET_PORT = 5432;

/** Contents of DATA_DIR: the cluster, its password, and the folders for the socket and library links. */
export class ClusterFolder {
  readonly cluster: string;
  /** Folder of the Unix socket; not used on Windows. */
  readonly socketDir: string;
  /** Folder for library links. */
  readonly links: string;
  private readonly passwordFile: string;

  private constructor(readonly dataDir: string) {
    this.cluster = join(dataDir, 'postgres');
    this.links = join(dataDir, 'postgres-libraries');
    this.passwordFile = join(dataDir, 'postgres-password');
    const hash = createHash('sha256').update(dataDir).digest('hex').slice(0, 16);
    const candidates = [
      join(dataDir, 'socket'),
      ...[tmpdir(), '/tmp'].map((dir) => join(resolve(dir), `quartermaster-${hash}`)),
    ];
    const fits = (dir: string) => Buffer.byteLength(join(dir, `.s.PGSQL.${SOCKET_PORT}`)) <= LONGEST_SOCKET;
    this.socketDir = candidates.find(fits) ?? join('/tmp', `quartermaster-${hash}`);
  }

  /**
   * Creates the folder if missing.
   *
   * @throws EmbeddedPostgresError if it cannot be created or written to
   */
  static async open(dataDir: string): Promise<ClusterFolder> {
    const wanted = resolve(dataDir);
    try {
      // If created by root, other users must be able to traverse it: PostgreSQL runs as another user.
      await makeFolder(wanted, process.getuid?.() === 0 ? 0o711 : 0o700);
      await access(wanted, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      const isFile = ['EEXIST', 'ENOTDIR'].includes(errorCode(error));
      throw new EmbeddedPostgresError(
        `DATA_DIR ${wanted} ${isFile ? 'is not a folder' : 'cannot be written to'} (${errorLine(error)})`,
      );
    }
    // Use one canonical path: the socket folder and the check for a running server depend on it.
    return new ClusterFolder(await realpath(wanted));
  }

  /**
   * Returns the folders that PostgreSQL must be able to reach: the cluster (or DATA_DIR) and the socket's parent
   * folder.
   */
  async mustReach(): Promise<string[]> {
    const made = (await lstat(this.cluster).catch(() => null)) !== null;
    return [made ? this.cluster : this.dataDir, ...(this.socketInside() ? [] : [dirname(this.socketDir)])];
  }

  /** @throws EmbeddedPostgresError if the password file is missing, empty or not readable */
  async password(): Promise<string> {
    const text = await readFile(this.passwordFile, 'utf8').catch((error: unknown) => {
      throw new EmbeddedPostgresError(
        errorCode(error) === 'ENOENT'
          ? `${this.passwordFile} is missing; without it the data in ${this.cluster} cannot be used: restore both from the same backup`
          : `The database's password cannot be read: ${errorLine(error)}`,
      );
    });
    if (text.trim() === '') throw new EmbeddedPostgresError(`${this.passwordFile} is empty: restore it from a backup`);
    return text.trim();
  }

  /**
   * Creates the cluster if missing. Creates it in a temporary folder and renames it when it is complete and on disk. A
   * kill or a concurrent start therefore never leaves a partial cluster.
   *
   * @throws EmbeddedPostgresError if initdb fails, or the cluster has another major version
   */
  async ensureCluster(
    binaries: PostgresBinaries,
    launcher: PostgresLauncher,
    log: (message: string) => void,
  ): Promise<void> {
    await this.removeLeftovers();
    if (await this.hasCluster(binaries)) {
      await this.ensureOwner(launcher.account);
      return;
    }
    const work = join(this.dataDir, `postgres.init-${process.pid}-${randomBytes(6).toString('hex')}`);
    underWay.add(basename(work));
    try {
      await mkdir(work, { mode: 0o700 });
      await give(work, launcher.account);
      const ours = await this.initialise(work, binaries, launcher);
      if (ours) log(`created a PostgreSQL ${binaries.major} cluster in ${this.cluster}`);
    } catch (error) {
      if (error instanceof EmbeddedPostgresError) throw error;
      throw new EmbeddedPostgresError(`The database could not be created in ${this.dataDir}: ${errorLine(error)}`);
    } finally {
      await rm(work, { recursive: true, force: true }).catch(() => undefined);
      underWay.delete(basename(work));
    }
  }

  /**
   * Creates the socket folder, accessible only to PostgreSQL's user and root.
   *
   * @throws EmbeddedPostgresError if the path is a link, or a folder of another user
   */
  async makeSocketDir(account: Account | null): Promise<void> {
    const owner = account?.uid ?? process.getuid?.() ?? 0;
    await mkdir(this.socketDir, { mode: 0o700 }).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error;
    });
    // Any user can create the path in /tmp first. Because of the sticky bit, nobody else can replace our folder later.
    const found = await lstat(this.socketDir);
    const trusted = found.uid === owner || (process.getuid?.() === 0 && (found.uid === 0 || this.socketInside()));
    if (!found.isDirectory() || !trusted) {
      throw new EmbeddedPostgresError(`${this.socketDir} belongs to another user or is not a folder: remove it`);
    }
    await give(this.socketDir, account);
    await chmod(this.socketDir, 0o700);
  }

  /** Whether the socket is in DATA_DIR. If that path is too long for a socket, it is in a temporary folder. */
  socketInside(): boolean {
    return dirname(this.socketDir) === this.dataDir;
  }

  /** @throws EmbeddedPostgresError if the folder exists but is not a usable cluster */
  private async hasCluster({ major }: PostgresBinaries): Promise<boolean> {
    let version: string;
    try {
      version = (await readFile(join(this.cluster, 'PG_VERSION'), 'utf8')).trim();
    } catch (error) {
      if (errorCode(error) !== 'ENOENT')
        throw new EmbeddedPostgresError(`The database cannot be read: ${errorLine(error)}`);
      const files = await readdir(this.cluster).catch(() => []);
      if (files.length === 0) return false;
      // Read again: a concurrent start may have just renamed its cluster into place.
      version = await readFile(join(this.cluster, 'PG_VERSION'), 'utf8').then(
        (text) => text.trim(),
        () => '',
      );
    }
    if (version === major) return true;
    throw new EmbeddedPostgresError(
      version === ''
        ? `${this.cluster} contains files but is not a PostgreSQL cluster: move it away, or restore it from a backup`
        : `${this.cluster} was created by PostgreSQL ${version}, but this is PostgreSQL ${major}: dump it with the old version and restore it, or run pg_upgrade`,
    );
  }

  /**
   * Makes PostgreSQL's user the owner of a cluster that root owns, for example after root restored a backup. PostgreSQL
   * refuses to run on another user's cluster, and refuses to run as root.
   *
   * @throws EmbeddedPostgresError if the cluster belongs to another user and this process does not run as root
   */
  private async ensureOwner(account: Account | null): Promise<void> {
    const { uid } = await lstat(this.cluster);
    const own = process.getuid?.() ?? uid;
    if (own !== 0 && uid !== own) {
      throw new EmbeddedPostgresError(
        `${this.cluster} belongs to the user with the id ${uid}: run as this user, or make yourself the owner (sudo chown -R ${own} '${this.dataDir}')`,
      );
    }
    if (!account || uid !== 0) return;
    const names = await readdir(this.cluster, { recursive: true });
    // Change the folder itself last, so that the next start completes an interrupted change.
    for (const path of [...names.map((name) => join(this.cluster, name)), this.cluster]) await give(path, account);
  }

  /** @returns true if this process created the cluster, false if a concurrent start did */
  private async initialise(work: string, binaries: PostgresBinaries, launcher: PostgresLauncher): Promise<boolean> {
    await this.ensurePassword(join(work, 'secret'));
    // PostgreSQL's user cannot read the password file, so give it a temporary copy.
    const passwordCopy = join(work, 'password');
    await writeDurably(passwordCopy, `${await this.password()}\n`);
    await give(passwordCopy, launcher.account);
    const { ok, output } = await launcher.run(binaries.initdb, [
      ...['-D', join(work, 'data'), '-U', SUPERUSER, `--pwfile=${passwordCopy}`, '--auth=scram-sha-256'],
      // Sort by code point and use PostgreSQL's own Unicode tables instead of the system's libraries, so that a system
      // upgrade cannot corrupt an index.
      ...[
        '--encoding=UTF8',
        '--locale=C',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--no-instructions',
      ],
      // In the folder of the cluster: containers have little of /dev/shm, and a killed process would leave its files there.
      ...['-c', 'dynamic_shared_memory_type=mmap'],
    ]);
    if (!ok)
      throw new EmbeddedPostgresError(`The database could not be created in ${this.dataDir}: ${causeIn(output)}`);
    try {
      await rename(join(work, 'data'), this.cluster);
    } catch (error) {
      if (await this.hasCluster(binaries)) return false;
      throw error;
    }
    await syncFolder(this.dataDir);
    return true;
  }

  private async ensurePassword(draft: string): Promise<void> {
    if (await lstat(this.passwordFile).catch(() => null)) return;
    await writeDurably(draft, `${randomBytes(32).toString('base64url')}\n`);
    try {
      // Unlike rename, link never replaces the file of a concurrent start.
      await link(draft, this.passwordFile);
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return;
      await rename(draft, this.passwordFile); // a file system without hard links
    }
    await syncFolder(this.dataDir);
  }

  /** Removes temporary folders of starts that were killed. */
  private async removeLeftovers(): Promise<void> {
    for (const name of await readdir(this.dataDir)) {
      const maker = Number(/^postgres\.init-(\d+)-/.exec(name)?.[1] ?? NaN);
      // An earlier process may have had the same id: in a container it is always 1.
      if (Number.isNaN(maker) || (maker === process.pid ? underWay.has(name) : isAlive(maker))) continue;
      await rm(join(this.dataDir, name), { recursive: true, force: true, maxRetries: 3 }).catch(() => undefined);
    }
  }
}

/** Names of the folders in which this process is creating a cluster. */
const underWay = new Set<string>();

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/**
 * Creates missing parents itself: in Node 20, `recursive` hangs if an existing parent answers ENOENT, as /proc does.
 */
async function makeFolder(path: string, mode: number): Promise<void> {
  const parent = dirname(path);
  if (parent !== path && !(await stat(parent).catch(() => null))) await makeFolder(parent, mode);
  await mkdir(path, { mode }).catch(async (error: unknown) => {
    if (errorCode(error) !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
  });
}

async function give(path: string, account: Account | null): Promise<void> {
  if (account) await lchown(path, account.uid, account.gid);
}

async function writeDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames in a folder survive a power failure. Windows has no such call. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
