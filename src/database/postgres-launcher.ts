import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFile, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { causeIn, EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import type { PostgresBinaries } from './postgres-binaries.js';

/** An account of the system that files and processes belong to. */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

interface Finished {
  ok: boolean;
  output: string;
}

/**
 * setpriv's options that let an ordinary user pass folders it may not traverse. An ambient capability survives the
 * change of user and each exec. `no_setuid_fixup` is needed because access(2), which PostgreSQL asks about its own
 * programs, otherwise drops the capabilities of whoever is not root.
 */
const PASS = ['--clear-groups', '--securebits', '+no_setuid_fixup'];

/**
 * Starts PostgreSQL's programs as a user that they accept, for they refuse to run as root.
 *
 * As an ordinary user: as ourselves. As root: as the owner of the cluster; for a new one as `postgres` or `nobody`,
 * whichever the system has. Where that user cannot reach the programs or the data, as below /root or a folder of
 * `mktemp -d` (both mode 0700), it is given one capability to do so through util-linux's setpriv, rather than asking
 * people to open their folders. That capability is CAP_DAC_READ_SEARCH, which only reads; containers by Docker lack it,
 * there it is CAP_DAC_OVERRIDE, which is no more than the root who started us has.
 */
export class PostgresLauncher {
  private constructor(
    private readonly binaries: PostgresBinaries,
    /** Whom files for PostgreSQL must belong to; null: ourselves. */
    readonly account: Account | null,
    private readonly wrapper: readonly string[] = [],
  ) {}

  /**
   * @param clusterDir whose owner decides, if it is there
   * @param folders must be reachable
   * @throws EmbeddedPostgresError when we are root and no user can be made to reach the programs and the folders
   */
  static async choose(binaries: PostgresBinaries, clusterDir: string, folders: string[]): Promise<PostgresLauncher> {
    if (process.getuid?.() !== 0) return new PostgresLauncher(binaries, null);
    const account = await accountFor(clusterDir);
    const plain = new PostgresLauncher(binaries, account);
    const problem = await plain.probe(folders);
    if (problem === null) return plain;
    let refusal: string | null = null;
    if (process.platform === 'linux') {
      for (const capability of ['+dac_read_search', '+dac_override']) {
        const ids = ['--reuid', String(account.uid), '--regid', String(account.gid)];
        const caps = ['--inh-caps', capability, '--ambient-caps', capability];
        const wrapped = new PostgresLauncher(binaries, account, ['setpriv', ...ids, ...PASS, ...caps]);
        refusal = await wrapped.probe(folders);
        if (refusal === null) return wrapped;
      }
    }
    throw new EmbeddedPostgresError(
      `PostgreSQL does not run as root, and the user ${account.name} cannot reach ${folders.join(', ')} or ` +
        `${binaries.postgres} (${[problem, refusal].filter(Boolean).join('; ')}): run as an ordinary user, move DATA_DIR and the project to folders that all ` +
        'users can traverse (chmod o+x), install util-linux (setpriv), or set DATABASE_URL',
    );
  }

  /** Runs a program to its end. */
  async run(program: string, args: string[]): Promise<Finished> {
    let child: ChildProcess;
    try {
      child = this.spawn(program, args, false);
    } catch (error) {
      return { ok: false, output: errorLine(error) }; // some errors are thrown rather than emitted: EPERM for the user
    }
    let output = '';
    const collect = (chunk: Buffer) => (output += chunk.toString());
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    return await new Promise((done) => {
      child.once('error', (error) => {
        done({ ok: false, output: errorLine(error) });
      });
      child.once('close', (code) => {
        done({ ok: code === 0, output });
      });
    });
  }

  /**
   * Starts a program. Detached, it has a session of its own: Ctrl-C in the terminal does not reach it, and it outlives
   * us; only its standard error is a pipe to us.
   */
  spawn(program: string, args: string[], detached: boolean, env: NodeJS.ProcessEnv = {}): ChildProcess {
    const [file = program, ...rest] = [...this.wrapper, program, ...args];
    return spawn(file, rest, {
      cwd: process.platform === 'win32' ? undefined : '/',
      detached,
      env: { ...this.environment(), ...env },
      stdio: ['ignore', detached ? 'ignore' : 'pipe', 'pipe'],
      windowsHide: true,
      ...(this.account && this.wrapper.length === 0 ? { uid: this.account.uid, gid: this.account.gid } : {}),
    });
  }

  /** Only what is needed: ours holds secrets, and PG… variables would change what PostgreSQL does. */
  private environment(): NodeJS.ProcessEnv {
    const kept = ['PATH', 'SystemRoot', 'SystemDrive', 'ComSpec', 'TEMP', 'TMP', 'USERPROFILE', 'APPDATA'];
    const env: NodeJS.ProcessEnv = { LC_ALL: 'C', TZ: 'UTC' };
    for (const name of kept) if (process.env[name] !== undefined) env[name] = process.env[name];
    const libraries = this.binaries.libraryPath;
    if (libraries !== null) env[process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'] = libraries;
    return env;
  }

  /** Tries rather than computes whether the user gets there: modes are not all that decides (ACLs, noexec, missing rights). */
  private async probe(folders: string[]): Promise<string | null> {
    const script = 'program=$1; shift; for folder do cd "$folder" || exit 1; done; exec "$program" --version';
    const { ok, output } = await this.run('/bin/sh', ['-c', script, 'sh', this.binaries.postgres, ...folders]);
    return ok ? null : causeIn(output);
  }
}

async function accountFor(clusterDir: string): Promise<Account> {
  const accounts = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line): Account => {
    const [name = '', , uid = '0', gid = '0'] = line.split(':');
    return { name, uid: Number(uid), gid: Number(gid) };
  });
  const owned = await stat(clusterDir).catch(() => null);
  if (owned && owned.uid !== 0) {
    const owner = accounts.find(({ uid }) => uid === owned.uid);
    return owner ?? { name: String(owned.uid), uid: owned.uid, gid: owned.gid };
  }
  for (const candidate of ['postgres', '_postgres', 'nobody']) {
    const account = accounts.find(({ name, uid }) => name === candidate && uid > 0);
    if (account) return account;
  }
  throw new EmbeddedPostgresError(
    'PostgreSQL does not run as root, and there is no user postgres or nobody: run as an ordinary user, or set DATABASE_URL',
  );
}

/**
 * Whether this process is alive and the main process of the PostgreSQL on that folder, rather than a stranger that was
 * given the number of one that died. In doubt (the command line cannot be read or names no folder): yes.
 */
export async function isPostmaster(pid: number, clusterDir: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // gone, or another user's: PostgreSQL's processes belong to the owner of the folder
  }
  const command = await commandLine(pid);
  if (command === null) return true;
  // A zombie has no command line; PostgreSQL's other processes rewrite theirs to "postgres: what they do".
  if (basename(command[0] ?? '', '.exe') !== 'postgres') return false;
  const folder = command[command.indexOf('-D') + 1];
  if (!command.includes('-D') || folder === undefined) return true;
  return (await realpath(folder).catch(() => folder)) === (await realpath(clusterDir).catch(() => clusterDir));
}

async function commandLine(pid: number): Promise<string[] | null> {
  if (process.platform === 'linux') {
    return await readFile(`/proc/${pid}/cmdline`, 'utf8').then(
      (text) => text.split('\0').slice(0, -1),
      (error: unknown) => (errorCode(error) === 'ESRCH' ? [] : null),
    );
  }
  if (process.platform === 'win32') return null;
  // Split where options begin, so that a folder with spaces stays whole.
  return await promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).then(
    ({ stdout }) => stdout.trim().split(/ (?=-[A-Za-z] )|(?<= -[A-Za-z]) /),
    () => [],
  );
}
