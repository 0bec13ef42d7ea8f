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

/** Address of a server: a folder with a Unix socket, or 127.0.0.1. */
export interface Address {
  host: string;
  port: number;
}

const WINDOWS = process.platform === 'win32';
const POLL = 10;
/** Milliseconds after which a slow start is logged. */
const SLOW = 5_000;
/** Milliseconds. A fast shutdown writes a checkpoint, which can be slow on a slow disk. */
const FAST_SHUTDOWN = 20_000;
const IMMEDIATE_SHUTDOWN = 10_000;
const WEEK = 7 * 24 * 3_600_000;
/** Errors worth a retry: a process of the previous server has not exited yet. */
const TRANSIENT = /lock file|shared memory block .* is still in use|is being used by another|Address already in use/i;

/** The PostgreSQL server of one DATA_DIR: starts it, connects to it and stops it. Does not handle ownership. */
export class PostgresServer {
  /** Hash of the settings and the version. Tells whether a running server matches what this process would start. */
  readonly fingerprint: string;
  private readonly settings: Record<string, string>;
  private child: ChildProcess | null = null;
  /** True until the first connection to the child succeeds. If the child exits before that, the start has failed. */
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
      // Required for durability. As command-line settings, they override postgresql.conf and ALTER SYSTEM.
      ...{ fsync: 'on', full_page_writes: 'on', synchronous_commit: 'on' },
      ...{ jit: 'off', timezone: 'UTC', password_encryption: 'scram-sha-256' },
      ...{ unix_socket_directories: WINDOWS ? '' : `"${folder.socketDir.replaceAll('"', '""')}"` },
      ...(WINDOWS ? {} : { listen_addresses: '', port: String(SOCKET_PORT), unix_socket_permissions: '0600' }),
      // One log file per weekday, overwritten after a week. Statement errors are not logged: the client receives them,
      // and users could fill the disk by causing them (for example with a name that is taken). Statements and details
      // (DETAIL quotes rows) are not logged, because they contain personal data.
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
   * Prepares the folder, the programs and the cluster. Does not start PostgreSQL.
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

  /** Returns the connection string for a database of the server at that address. */
  url({ host, port }: Address, database: string): string {
    const base = `postgresql://${SUPERUSER}:${encodeURIComponent(this.password)}`;
    // Port and sslmode are explicit because PGPORT and PGSSLMODE in the environment would otherwise apply.
    return WINDOWS
      ? `${base}@${host}:${port}/${database}?sslmode=disable`
      : `${base}@localhost:${port}/${database}?host=${encodeURIComponent(host)}&sslmode=disable`;
  }

  /**
   * Connects to the maintenance database of the server that runs on the folder, or starts one. Tries the socket first,
   * because a process id from the lock file is meaningless in another container. Waits for crash recovery without a
   * limit.
   *
   * @param patience milliseconds to wait without a sign of life
   * @throws EmbeddedPostgresError if no server can be reached or started; the abort reason if `signal` aborts
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
          throw new EmbeddedPostgresError(`The password in ${this.folder.dataDir} does not match its database`);
        }
        if (code === '57P03' && lock?.status !== 'stopping') {
          deadline = Date.now() + patience;
          if (!announced && Date.now() - begun > SLOW) this.log('PostgreSQL is recovering its data');
          announced ||= Date.now() - begun > SLOW;
        }
        if (!['ENOENT', 'ECONNREFUSED'].includes(code)) {
          pause = Math.min(pause * 1.3, 250); // PostgreSQL runs and logs a line for each attempt
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
   * Stops a server with a fast shutdown, which rolls back running transactions. If that takes too long, uses an
   * immediate shutdown: the next start runs crash recovery, and no acknowledged write is lost. Does nothing if the
   * process is not the postmaster of this cluster.
   *
   * @throws EmbeddedPostgresError if the server is still running afterwards
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

  /** Process id of the server that this process started, or null if it does not run. */
  launchedPid(): number | null {
    return this.isRunning() ? (this.child?.pid ?? null) : null;
  }

  /** Removes the socket folder if it is outside DATA_DIR and empty. */
  async tidy(): Promise<void> {
    if (!this.folder.socketInside()) await rmdir(this.folder.socketDir).catch(() => undefined);
  }

  private lockFile(): string {
    return join(this.folder.cluster, 'postmaster.pid');
  }

  private addressFrom(lock: LockFile | null): Address {
    if (WINDOWS) {
      this.tcpPort = lock?.port ?? this.tcpPort; // A restart reuses the port that clients know.
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
      if (await setAsideIfDamaged(file)) this.log(`renamed the damaged lock file ${file}`);
    }
    await this.removeOldLogs();
    const settings: Record<string, string> = { ...this.settings, 'quartermaster.launch': this.fingerprint };
    if (WINDOWS) {
      this.tcpPort ??= await freePort();
      Object.assign(settings, { listen_addresses: '127.0.0.1', port: String(this.tcpPort) });
    }
    const options = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
    // PostgreSQL treats a lock file as stale only if no process with that id runs. If that process is unrelated, name
    // it in PG_GRANDPARENT_PID, with which pg_ctl passes its own id: PostgreSQL ignores it. The shared memory check
    // still applies.
    const stranger = await this.stranger(stale);
    const env = stranger === null ? {} : { PG_GRANDPARENT_PID: String(stranger) };
    // Only Windows needs pg_ctl, which drops administrator rights. It passes options to cmd.exe: they must have no
    // spaces.
    const [program, args] = WINDOWS
      ? [this.binaries.pgCtl, ['start', '-W', '-D', this.folder.cluster, '-o', options.join(' ')]]
      : [this.binaries.postgres, ['-D', this.folder.cluster, ...options]];
    const child = this.launcher.spawn(program, args, true, env);
    this.child = child;
    this.launching = true;
    this.stderr = '';
    // The stream ends when the logging collector takes over.
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr = (this.stderr + chunk.toString()).slice(0, 16_384)));
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => {
        reject(new EmbeddedPostgresError(`PostgreSQL cannot be run: ${errorLine(error)}`));
      });
    });
    child.unref();
  }

  /** Returns once why the started process exited before it was reachable; null if it did not. */
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

  /** Removes old log files: PostgreSQL overwrites a weekday's file only if it runs at midnight. */
  private async removeOldLogs(): Promise<void> {
    for (const { path, time } of await this.logFiles()) {
      if (Date.now() - time > WEEK - 24 * 3_600_000) await unlink(path).catch(() => undefined);
    }
  }

  private async lastInLog(): Promise<string | null> {
    const newest = (await this.logFiles())[0];
    const text = newest ? await readFile(newest.path, 'utf8').catch(() => '') : '';
    const refusal = /the database system is|terminating |too many|authentication failed/; // rejected connections
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
