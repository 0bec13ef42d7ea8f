import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile, rmdir, stat, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { causeIn, EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import { findBinaries, type PostgresBinaries } from './postgres-binaries.js';
import { ClusterFolder, SOCKET_PORT, SUPERUSER } from './postgres-cluster.js';
import { isPostmaster, PostgresLauncher } from './postgres-launcher.js';
import { type LockFile, readLockFile, setAsideIfDamaged } from './postgres-lock-file.js';

/** Where a server listens: a folder with a Unix socket, or 127.0.0.1. */
export interface Address {
  host: string;
  port: number;
}

const WINDOWS = process.platform === 'win32';
const POLL = 10;
/** A start that takes longer is worth a line. */
const SLOW = 5_000;
/** Fast shutdown writes a checkpoint, which a slow disk may take its time for. */
const FAST_SHUTDOWN = 20_000;
const IMMEDIATE_SHUTDOWN = 10_000;
const WEEK = 7 * 24 * 3_600_000;
/** PostgreSQL cannot start yet, but may when what is left of the last one is gone. */
const TRANSIENT = /lock file|shared memory block .* is still in use|is being used by another|Address already in use/i;

/** The PostgreSQL of one DATA_DIR: gets a connection to it, starting it if none runs, and stops it. Knows no owners. */
export class PostgresServer {
  /** Changes whenever the settings or the version do, to tell whether a server found running is as we would start it. */
  readonly fingerprint: string;
  private readonly settings: Record<string, string>;
  private child: ChildProcess | null = null;
  /** Whether the child has yet to be reached: if it ends before that, it has failed to start. */
  private launching = false;
  private stderr = '';
  private tcpPort: number | null = null;

  private constructor(
    readonly folder: ClusterFolder,
    private readonly binaries: PostgresBinaries,
    private readonly launcher: PostgresLauncher,
    private readonly password: string,
    maxConnections: number,
    private readonly log: (message: string) => void,
  ) {
    this.settings = {
      cluster_name: 'quartermaster',
      max_connections: String(maxConnections),
      // What the guarantee rests on; given here, neither postgresql.conf nor ALTER SYSTEM can undo it.
      ...{ fsync: 'on', full_page_writes: 'on', synchronous_commit: 'on' },
      ...{ jit: 'off', timezone: 'UTC', password_encryption: 'scram-sha-256' },
      ...{ unix_socket_directories: WINDOWS ? '' : `"${folder.socketDir.replaceAll('"', '""')}"` },
      ...(WINDOWS ? {} : { listen_addresses: '', port: String(SOCKET_PORT), unix_socket_permissions: '0600' }),
      // One file a weekday, each overwritten after a week. Errors of statements are not written: whoever sent the
      // statement gets them, and users who can cause them (a name that is taken) could fill the disk. No statements
      // and no details (DETAIL quotes rows), for they hold personal data.
      ...{ logging_collector: 'on', log_destination: 'stderr', log_directory: 'log', log_filename: 'postgres-%a.log' },
      ...{ log_truncate_on_rotation: 'on', log_rotation_age: '1440', log_rotation_size: '0', log_file_mode: '0600' },
      ...{
        log_timezone: 'UTC',
        log_min_messages: 'log',
        log_min_error_statement: 'panic',
        log_error_verbosity: 'terse',
      },
      ...{ log_statement: 'none', log_min_duration_statement: '-1' },
    };
    const essence = JSON.stringify([binaries.version, this.settings]);
    this.fingerprint = createHash('sha256').update(essence).digest('hex').slice(0, 16);
  }

  /**
   * Sees to the folder, the programs and the cluster; starts nothing.
   *
   * @throws EmbeddedPostgresError
   */
  static async prepare(
    dataDir: string,
    maxConnections: number,
    log: (message: string) => void,
  ): Promise<PostgresServer> {
    const folder = await ClusterFolder.open(dataDir);
    const binaries = await findBinaries(folder.links);
    const launcher = await PostgresLauncher.choose(binaries, folder.cluster, await folder.mustReach());
    await folder.ensureCluster(binaries, launcher, log);
    return new PostgresServer(folder, binaries, launcher, await folder.password(), maxConnections, log);
  }

  /** Connection string for a database of the server at that address. */
  url({ host, port }: Address, database: string): string {
    const base = `postgresql://${SUPERUSER}:${encodeURIComponent(this.password)}`;
    // Port and sslmode are said because PGPORT and PGSSLMODE in the environment would be taken for what is not said.
    return WINDOWS
      ? `${base}@${host}:${port}/${database}?sslmode=disable`
      : `${base}@localhost:${port}/${database}?host=${encodeURIComponent(host)}&sslmode=disable`;
  }

  /**
   * Connects to the maintenance database of the server that runs on the folder, or else starts one. A socket that
   * answers is trusted before any process number, which means nothing in another container. However long PostgreSQL
   * takes to recover from a crash, it is waited for.
   *
   * @param patience milliseconds without a sign of life
   * @throws EmbeddedPostgresError when there is none to be had; the signal's reason when that aborts
   */
  async reach(name: string, patience: number, signal: AbortSignal): Promise<{ client: pg.Client; address: Address }> {
    let deadline = Date.now() + patience;
    let pause = POLL;
    let announced = false;
    const begun = Date.now();
    for (;;) {
      signal.throwIfAborted();
      const lock = await readLockFile(this.lockFile());
      const address = this.addressFrom(lock);
      let problem: string;
      try {
        const client = await this.connect(name, address);
        this.launching = false;
        return { client, address };
      } catch (error) {
        problem = errorLine(error);
        const code = errorCode(error);
        if (code === '28P01') {
          throw new EmbeddedPostgresError(`The password in ${this.folder.dataDir} is not that of its database`);
        }
        if (code === '57P03' && lock?.status !== 'stopping') {
          deadline = Date.now() + patience;
          if (!announced && Date.now() - begun > SLOW) this.log('PostgreSQL is recovering its data');
          announced ||= Date.now() - begun > SLOW;
        }
        if (!['ENOENT', 'ECONNREFUSED'].includes(code)) {
          pause = Math.min(pause * 1.3, 250); // it is there, and writes a line for each time we ask
        } else if (!this.isRunning() && !(lock && (await isPostmaster(lock.pid, this.folder.cluster)))) {
          const failure = await this.takeFailure();
          if (failure !== null) {
            problem = failure;
            if (!TRANSIENT.test(failure)) throw new EmbeddedPostgresError(`PostgreSQL did not start: ${failure}`);
            pause = Math.min(pause * 2, 1_000);
            await sleep(pause, undefined, { signal });
          }
          if (Date.now() < deadline) await this.launch();
        }
      }
      if (Date.now() >= deadline) {
        const who = lock ? ` (process ${lock.pid})` : '';
        throw new EmbeddedPostgresError(`PostgreSQL${who} on ${this.folder.cluster} cannot be reached: ${problem}`);
      }
      await sleep(this.isRunning() && pause > 250 ? POLL : pause, undefined, { signal });
    }
  }

  /**
   * Stops a server: fast (running transactions are rolled back), or, when that takes too long, at once, which costs the
   * next start a recovery and loses nothing that was acknowledged. Does nothing when that process is not ours.
   *
   * @throws EmbeddedPostgresError when it is still there in the end
   */
  async halt(pid: number): Promise<void> {
    for (const [signal, mode, time] of [
      ['SIGINT', 'fast', FAST_SHUTDOWN],
      ['SIGQUIT', 'immediate', IMMEDIATE_SHUTDOWN],
    ] as const) {
      if (!(await isPostmaster(pid, this.folder.cluster))) return;
      if (WINDOWS) {
        await this.launcher.run(this.binaries.pgCtl, [
          'stop',
          '-D',
          this.folder.cluster,
          '-m',
          mode,
          '-t',
          String(time / 1_000),
        ]);
      } else {
        process.kill(pid, signal);
      }
      const deadline = Date.now() + time;
      while (Date.now() < deadline) {
        if (!(await isPostmaster(pid, this.folder.cluster))) return;
        await sleep(POLL);
      }
      this.log(`PostgreSQL did not stop within ${time / 1_000} s (${mode} shutdown)`);
    }
    throw new EmbeddedPostgresError(`PostgreSQL (process ${pid}) on ${this.folder.cluster} does not stop`);
  }

  /** Number of the process that we have started and that still runs, if any. */
  launchedPid(): number | null {
    return this.isRunning() ? (this.child?.pid ?? null) : null;
  }

  /** Removes the socket's folder if it is outside DATA_DIR and nobody uses it. */
  async tidy(): Promise<void> {
    if (!this.folder.socketInside()) await rmdir(this.folder.socketDir).catch(() => undefined);
  }

  private lockFile(): string {
    return join(this.folder.cluster, 'postmaster.pid');
  }

  private addressFrom(lock: LockFile | null): Address {
    if (WINDOWS) {
      this.tcpPort = lock?.port ?? this.tcpPort; // to start it again where others expect it
      return { host: '127.0.0.1', port: this.tcpPort ?? 1 };
    }
    return { host: lock?.socketDir ?? this.folder.socketDir, port: lock?.port ?? SOCKET_PORT };
  }

  private async connect(name: string, { host, port }: Address): Promise<pg.Client> {
    const client = new pg.Client({
      ...{ host, port, user: SUPERUSER, password: this.password, database: 'postgres', ssl: false },
      ...{ application_name: name, connectionTimeoutMillis: 5_000 },
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return client;
    } catch (error) {
      void client.end().catch(() => undefined);
      throw error;
    }
  }

  private isRunning(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  private async launch(): Promise<void> {
    await this.folder.makeSocketDir(this.launcher.account);
    const stale = [this.lockFile(), ...(WINDOWS ? [] : [join(this.folder.socketDir, `.s.PGSQL.${SOCKET_PORT}.lock`)])];
    for (const file of stale) {
      if (await setAsideIfDamaged(file)) this.log(`set aside ${file}, which was damaged`);
    }
    await this.removeOldLogs();
    const settings: Record<string, string> = { ...this.settings, 'quartermaster.launch': this.fingerprint };
    if (WINDOWS) {
      this.tcpPort ??= await freePort();
      Object.assign(settings, { listen_addresses: '127.0.0.1', port: String(this.tcpPort) });
    }
    const options = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
    // PostgreSQL takes a lock file for stale unless a process with that number lives. If we see that it is a stranger,
    // we say so in the variable by which pg_ctl tells its own number; the check of the shared memory remains.
    const stranger = await this.stranger(stale);
    const env = stranger === null ? {} : { PG_GRANDPARENT_PID: String(stranger) };
    // pg_ctl is needed on Windows alone, to drop an administrator's rights. It gives options to cmd.exe: no spaces.
    const [program, args] = WINDOWS
      ? [this.binaries.pgCtl, ['start', '-W', '-D', this.folder.cluster, '-o', options.join(' ')]]
      : [this.binaries.postgres, ['-D', this.folder.cluster, ...options]];
    const child = this.launcher.spawn(program, args, true, env);
    this.child = child;
    this.launching = true;
    this.stderr = '';
    // Ends by itself when the logging collector takes over.
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr = (this.stderr + chunk.toString()).slice(0, 16_384)));
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(new EmbeddedPostgresError(`PostgreSQL cannot be run: ${errorLine(error)}`));
      });
    });
    child.unref();
  }

  /** Why the process that we started has ended; null when none has. */
  private async takeFailure(): Promise<string | null> {
    const child = this.child;
    if (child === null || !this.launching || (WINDOWS && child.exitCode === 0)) return null;
    this.launching = false;
    const cause = causeIn(this.stderr);
    return /redirecting log output|Future log output/.test(cause)
      ? ((await this.lastInLog()) ?? cause)
      : cause || 'it gave no reason';
  }

  private async stranger(lockFiles: string[]): Promise<number | null> {
    for (const file of lockFiles) {
      const lock = await readLockFile(file);
      if (lock && !(await isPostmaster(lock.pid, this.folder.cluster))) return lock.pid;
    }
    return null;
  }

  private async logFiles(): Promise<{ path: string; time: number }[]> {
    const dir = join(this.folder.cluster, 'log');
    const names = await readdir(dir).catch(() => []);
    const files = names
      .filter((name) => name.endsWith('.log'))
      .map(async (name) => {
        const path = join(dir, name);
        return { path, time: (await stat(path).catch(() => null))?.mtimeMs ?? Date.now() };
      });
    return (await Promise.all(files)).sort((a, b) => b.time - a.time);
  }

  /** PostgreSQL overwrites a weekday's file only when it runs at midnight. */
  private async removeOldLogs(): Promise<void> {
    for (const { path, time } of await this.logFiles()) {
      if (Date.now() - time > WEEK - 24 * 3_600_000) await unlink(path).catch(() => undefined);
    }
  }

  private async lastInLog(): Promise<string | null> {
    const newest = (await this.logFiles())[0];
    const text = newest ? await readFile(newest.path, 'utf8').catch(() => '') : '';
    const refusal = /the database system is|terminating |too many|authentication failed/; // of a connection
    const line = text
      .slice(-65_536)
      .split('\n')
      .findLast((one) => /\b(FATAL|PANIC):/.test(one) && !refusal.test(one));
    return line === undefined ? null : causeIn(line);
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}
