import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFile, realpath, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { promisify } from 'node:util';
import { causeIn, EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import type { PostgresBinaries } from './postgres-binaries.js';

/** An operating system account that owns files and processes. */
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
 * Options of setpriv that let an ordinary user traverse folders without permission. An ambient capability survives the
 * change of user and each exec. PostgreSQL calls access(2) on its own programs; without `no_setuid_fixup`, that call
 * ignores the capabilities of a non-root user.
 */
const PASS = ['--clear-groups', '--securebits', '+no_setuid_fixup'];

/**
 * Starts PostgreSQL's programs as a user that they accept: they refuse to run as root.
 *
 * An ordinary user runs them as itself. Root runs them as the owner of the cluster; for a new cluster, as `postgres` or
 * `nobody`, whichever exists. That user may be unable to reach the programs or the data, for example below /root or a
 * folder of `mktemp -d` (both mode 0700). Then setpriv (util-linux) gives it one capability, so that operators need not
 * open their folders. The capability is CAP_DAC_READ_SEARCH, which only allows reading. Docker containers lack it and
 * use CAP_DAC_OVERRIDE, which the starting root user has anyway.
 */
export class PostgresLauncher {
  private constructor(
    private readonly binaries: PostgresBinaries,
    /** Owner of the files for PostgreSQL. Null means the current user. */
    readonly account: Account | null,
    private readonly wrapper: readonly string[] = [],
  ) {}

  /**
   * Chooses the account that runs PostgreSQL.
   * @param clusterDir the cluster; if it exists, its owner is chosen
   * @param folders folders that the account must be able to reach
   * @throws EmbeddedPostgresError if the process runs as root and the account cannot reach the programs and the folders
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

  /** Runs a program and waits until it exits. */
  async run(program: string, args: string[]): Promise<Finished> {
    let child: ChildProcess;
    try {
      child = this.spawn(program, args, false);
    } catch (error) {
      return { ok: false, output: errorLine(error) }; // spawn throws some errors itself, such as EPERM
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
   * Starts a program. A detached program has its own session: Ctrl-C in the terminal does not reach it, and it keeps
   * running after this process exits. Only its standard error is piped to this process.
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

  /** Passes only needed variables: the environment holds secrets, and PG… variables change how PostgreSQL behaves. */
  private environment(): NodeJS.ProcessEnv {
    const kept = ['PATH', 'SystemRoot', 'SystemDrive', 'ComSpec', 'TEMP', 'TMP', 'USERPROFILE', 'APPDATA'];
    const env: NodeJS.ProcessEnv = { LC_ALL: 'C', TZ: 'UTC' };
    for (const name of kept) if (process.env[name] !== undefined) env[name] = process.env[name];
    const libraries = this.binaries.libraryPath;
    if (libraries !== null) env[process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'] = libraries;
    return env;
  }

  /** Tests access by trying it: file modes alone do not decide (ACLs, noexec, missing privileges). */
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
 * Whether the process is alive and is the postmaster of that cluster. The system may have reused the process id for an
 * unrelated process. Returns true if in doubt (the command line cannot be read or names no folder).
 */
export async function isPostmaster(pid: number, clusterDir: string): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // The process has exited or belongs to another user; the cluster's owner also owns its processes.
  }
  const command = await commandLine(pid);
  if (command === null) return true;
  // A zombie has no command line. PostgreSQL's child processes set theirs to "postgres: <activity>".
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
  // Split at options only, so that a path with spaces stays in one piece.
  return await promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]).then(
    ({ stdout }) => stdout.trim().split(/ (?=-[A-Za-z] )|(?<= -[A-Za-z]) /),
    () => [],
  );
}
