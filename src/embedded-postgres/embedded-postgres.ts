import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import { type Address, PostgresServer } from './postgres-server.js';

export { EmbeddedPostgresError } from './embedded-postgres-error.js';

export interface EmbeddedPostgresOptions {
  /** Created if missing. */
  dataDir: string;
  /** Default 100. */
  maxConnections?: number;
  /** Receives log lines for the operator: cluster created, PostgreSQL lost, PostgreSQL back. */
  log?: (message: string) => void;
  /** Called once, when the database cannot be recovered or another process owns it. The process should then exit. */
  onFatal?: (error: Error) => void;
}

/** A PostgreSQL server that this process owns. */
interface Held {
  /** Holds the advisory lock. Its connection ends when PostgreSQL stops, which is how this process detects the stop. */
  client: pg.Client;
  pid: number;
  address: Address;
}

interface Claim {
  mine: boolean;
  pid: number;
  launch: string | null;
}

const DATABASE = 'quartermaster';
const CALLED = 'quartermaster: ';
/** Advisory lock (two int4) on the maintenance database. */
const OWNER_LOCK = [0x514d, 1];
/** Milliseconds to wait for the lock: PostgreSQL needs a moment to drop the connection of a killed owner. */
const LOCK_PATIENCE = 1_000;
const START_PATIENCE = 15_000;
const RECOVERY_PATIENCE = 60_000;
const POLL = 20;

class HeldByAnother extends EmbeddedPostgresError {}

/**
 * An embedded PostgreSQL server in a data folder. It runs as a detached process: if Quartermaster is killed, PostgreSQL
 * keeps running and the next start adopts it. One Quartermaster owns it at a time, by an advisory lock in PostgreSQL.
 * The owner restarts PostgreSQL after a crash and stops it at shutdown.
 */
export class EmbeddedPostgres {
  /**
   * Connection string of the database `quartermaster`, for pg's `connectionString`. Stays valid when PostgreSQL
   * restarts.
   */
  readonly url: string;
  private readonly closing = new AbortController();
  private recovery: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;

  private constructor(
    private readonly server: PostgresServer,
    private readonly options: EmbeddedPostgresOptions,
    address: Address,
    /** Null if another process owns the server. */
    private held: Held | null,
  ) {
    this.url = server.url(address, DATABASE);
    if (held) this.supervise(held);
  }

  /**
   * Creates the cluster if missing, starts PostgreSQL or adopts the server of a killed owner, and resolves when the
   * database `quartermaster` accepts connections. Commits are durable regardless of the cluster's configuration files.
   *
   * @throws EmbeddedPostgresError, for example if another Quartermaster uses the folder; that one keeps running
   */
  static async start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const server = await prepare(options);
    const held = await own(server, options, START_PATIENCE, LOCK_PATIENCE);
    return new EmbeddedPostgres(server, options, held.address, held);
  }

  /**
   * For tools: connects to the PostgreSQL of the Quartermaster that already uses the folder. That Quartermaster stays
   * the owner: `stop()` does nothing, and nothing is supervised. If none runs, does the same as `start`.
   *
   * @throws EmbeddedPostgresError
   */
  static async attachOrStart(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const server = await prepare(options);
    try {
      const held = await own(server, options, START_PATIENCE, 0);
      return new EmbeddedPostgres(server, options, held.address, held);
    } catch (error) {
      if (!(error instanceof HeldByAnother)) throw error;
      return new EmbeddedPostgres(server, options, await visit(server), null);
    }
  }

  /**
   * Stops PostgreSQL, closes the remaining connections, and waits until the process has exited. Later calls return the
   * same promise.
   *
   * @throws EmbeddedPostgresError if PostgreSQL does not stop
   */
  stop(): Promise<void> {
    this.stopped ??= this.shutDown();
    return this.stopped;
  }

  private async shutDown(): Promise<void> {
    this.closing.abort();
    await this.recovery;
    process.off('exit', this.lastResort);
    if (!this.held) return;
    // Keep the connection open until PostgreSQL stops: while it holds the lock, no other process can adopt the server.
    await this.server.halt(this.held.pid);
    await this.server.tidy();
    await this.held.client.end().catch(() => undefined);
  }

  private supervise({ client }: Held): void {
    process.once('exit', this.lastResort);
    client.once('end', () => {
      process.off('exit', this.lastResort);
      if (!this.closing.signal.aborted) this.recovery = this.recover();
    });
  }

  /** Never rejects. */
  private async recover(): Promise<void> {
    const { server, options, closing } = this;
    options.log?.('PostgreSQL stopped unexpectedly: restarting it');
    const deadline = Date.now() + RECOVERY_PATIENCE;
    for (let pause = 100; ; pause = Math.min(pause * 2, 2_000)) {
      try {
        const patience = Math.max(deadline - Date.now(), 1_000);
        this.held = await own(server, options, patience, LOCK_PATIENCE, closing.signal);
        this.supervise(this.held);
        options.log?.('PostgreSQL is back');
        return;
      } catch (error) {
        if (closing.signal.aborted) return;
        if (error instanceof HeldByAnother) this.held = null;
        if (error instanceof HeldByAnother || Date.now() >= deadline) {
          options.onFatal?.(new EmbeddedPostgresError(`The database is lost: ${errorLine(error)}`));
          return;
        }
        options.log?.(errorLine(error));
        await sleep(pause, undefined, { signal: closing.signal }).catch(() => undefined);
      }
    }
  }

  /** Runs if the process exits without `stop()`, as after an uncaught error. An exit hook can only send a signal. */
  private readonly lastResort = (): void => {
    try {
      if (this.held && process.platform !== 'win32') process.kill(this.held.pid, 'SIGINT');
    } catch {
      // PostgreSQL has already exited.
    }
  };
}

async function prepare({ dataDir, maxConnections = 100, log }: EmbeddedPostgresOptions): Promise<PostgresServer> {
  try {
    return await PostgresServer.prepare(dataDir, maxConnections, log ?? (() => undefined));
  } catch (error) {
    throw inOneLine(error, dataDir);
  }
}

/**
 * Connects to PostgreSQL and takes the lock. Restarts PostgreSQL if it runs with other settings or another version.
 *
 * @throws HeldByAnother if another process holds the lock for more than `lockPatience` milliseconds
 */
async function own(
  server: PostgresServer,
  { log }: EmbeddedPostgresOptions,
  patience: number,
  lockPatience: number,
  signal = new AbortController().signal,
): Promise<Held> {
  const name = `${CALLED}process ${process.pid} on ${hostname()}`;
  try {
    for (let triesLeft = 5; ; triesLeft--) {
      const { client, address } = await server.reach(name, patience, signal);
      let done = false;
      try {
        const { mine, pid, launch } = await claim(client, lockPatience);
        if (!mine) {
          throw new HeldByAnother(
            `DATA_DIR ${server.folder.dataDir} is in use by another Quartermaster (${await holder(client)})`,
          );
        }
        if (launch === server.fingerprint) {
          await createDatabase(client);
          done = true;
          return { client, pid, address };
        }
        log?.('PostgreSQL runs with different settings: restarting it');
        await server.halt(pid);
      } catch (error) {
        if (triesLeft === 0 || !isConnectionLost(error)) throw error;
      } finally {
        if (!done) void client.end().catch(() => undefined);
      }
    }
  } catch (error) {
    // Stop the server that this process started but cannot use, unless another process owns it now.
    const pid = server.launchedPid();
    if (pid !== null && !(error instanceof HeldByAnother)) await server.halt(pid).catch(() => undefined);
    throw inOneLine(error, server.folder.dataDir);
  }
}

async function claim(client: pg.Client, patience: number): Promise<Claim> {
  const deadline = Date.now() + patience;
  for (;;) {
    const { rows } = await client.query<Claim>(
      `select pg_try_advisory_lock($1, $2) as mine,
              split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int as pid,
              current_setting('quartermaster.launch', true) as launch`,
      OWNER_LOCK,
    );
    const [row] = rows;
    if (row && (row.mine || Date.now() >= deadline)) return row;
    await sleep(POLL);
  }
}

async function holder(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    `select application_name as name from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and granted and classid::int8 = $1 and objid::int8 = $2 and objsubid = 2`,
    OWNER_LOCK,
  );
  return rows[0]?.name.replace(CALLED, '') ?? 'which has just ended';
}

async function databaseExists(client: pg.Client): Promise<boolean> {
  return (await client.query('select from pg_database where datname = $1', [DATABASE])).rowCount === 1;
}

async function createDatabase(client: pg.Client): Promise<void> {
  if (!(await databaseExists(client))) await client.query(`create database ${DATABASE}`);
}

/** Waits until the owner has created the database. At the first start this happens shortly after it takes the lock. */
async function visit(server: PostgresServer): Promise<Address> {
  const name = `${CALLED}tool, process ${process.pid} on ${hostname()}`;
  const { client, address } = await server.reach(name, START_PATIENCE, new AbortController().signal);
  try {
    const deadline = Date.now() + START_PATIENCE;
    while (!(await databaseExists(client))) {
      if (Date.now() > deadline) {
        throw new EmbeddedPostgresError(`There is no database ${DATABASE} in ${server.folder.dataDir}`);
      }
      await sleep(POLL);
    }
    return address;
  } catch (error) {
    throw inOneLine(error, server.folder.dataDir);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Whether to retry: the connection is lost, for example because the previous owner is stopping PostgreSQL. */
function isConnectionLost(error: unknown): boolean {
  const codes = ['57P01', '57P02', '57P03', 'ECONNRESET', 'EPIPE'];
  return codes.includes(errorCode(error)) || errorLine(error).startsWith('Connection terminated');
}

function inOneLine(error: unknown, dataDir: string): EmbeddedPostgresError {
  if (error instanceof EmbeddedPostgresError) return error;
  return new EmbeddedPostgresError(`The database in ${dataDir} failed: ${errorLine(error)}`);
}
