import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { EmbeddedPostgresError, errorCode, errorLine } from './embedded-postgres-error.js';
import { type Address, PostgresServer } from './postgres-server.js';

export { EmbeddedPostgresError } from './embedded-postgres-error.js';

export interface EmbeddedPostgresOptions {
  /** Made if it is not there. */
  dataDir: string;
  /** Default 100. */
  maxConnections?: number;
  /** Receives lines for the operator: made, lost, back. */
  log?: (message: string) => void;
  /** The database is lost for good, or has another owner now: the process should end. Called once. */
  onFatal?: (error: Error) => void;
}

/** PostgreSQL while we own it. */
interface Held {
  /** Holds the lock; it ends when PostgreSQL does, which is how we notice. */
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
/** A killed owner's connection may take a moment to vanish. */
const LOCK_PATIENCE = 1_000;
const START_PATIENCE = 15_000;
const RECOVERY_PATIENCE = 60_000;
const POLL = 20;

class HeldByAnother extends EmbeddedPostgresError {}

/**
 * A PostgreSQL of our own in a folder. It runs apart from us: when we are killed it lives on, and the next start adopts
 * it. One Quartermaster owns it at a time, by a lock in PostgreSQL itself; the owner restarts it when it dies, and stops
 * it.
 */
export class EmbeddedPostgres {
  /** Connection string of the database `quartermaster`, for pg's `connectionString`. Stays good when PostgreSQL restarts. */
  readonly url: string;
  private readonly closing = new AbortController();
  private recovery: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;

  private constructor(
    private readonly server: PostgresServer,
    private readonly options: EmbeddedPostgresOptions,
    address: Address,
    /** null: another owns it. */
    private held: Held | null,
  ) {
    this.url = server.url(address, DATABASE);
    if (held) this.supervise(held);
  }

  /**
   * Makes the cluster if there is none, starts PostgreSQL or adopts the one that a killed owner has left, and resolves
   * when `quartermaster` accepts connections. Commits are durable whatever the cluster's own files say.
   *
   * @throws EmbeddedPostgresError, among others when another Quartermaster is on the folder, which is not disturbed
   */
  static async start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const server = await prepare(options);
    const held = await own(server, options, START_PATIENCE, LOCK_PATIENCE);
    return new EmbeddedPostgres(server, options, held.address, held);
  }

  /**
   * For tools: uses the PostgreSQL of the Quartermaster that runs on the folder, whose it stays (`stop()` does
   * nothing, and nothing is supervised); where none runs, the same as `start`.
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
   * Stops PostgreSQL, cutting what connections are left, and waits until it is gone. Calls after the first share its
   * outcome.
   *
   * @throws EmbeddedPostgresError when it does not stop
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
    // Our connection is not ended first: with the lock held to the last, nobody can adopt what is about to stop.
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
    options.log?.('PostgreSQL is gone: starting it again');
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

  /** When the process ends without `stop()`, as after an uncaught error: a signal is all that can be sent any more. */
  private readonly lastResort = (): void => {
    try {
      if (this.held && process.platform !== 'win32') process.kill(this.held.pid, 'SIGINT');
    } catch {
      // It is gone already.
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
 * Reaches PostgreSQL and takes the lock; restarts PostgreSQL when it was started otherwise than we would.
 *
 * @throws HeldByAnother when the lock is taken, and stays so for `lockPatience` milliseconds
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
        log?.('PostgreSQL runs with other settings: restarting it');
        await server.halt(pid);
      } catch (error) {
        if (triesLeft === 0 || !isConnectionLost(error)) throw error;
      } finally {
        if (!done) void client.end().catch(() => undefined);
      }
    }
  } catch (error) {
    // What we have started and cannot use must not stay behind; unless it is another's by now.
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

/** Waits until the owner has made the database, which at its first start takes a moment after the lock. */
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

/** As when the owner before us is stopping PostgreSQL: worth another try. */
function isConnectionLost(error: unknown): boolean {
  const codes = ['57P01', '57P02', '57P03', 'ECONNRESET', 'EPIPE'];
  return codes.includes(errorCode(error)) || errorLine(error).startsWith('Connection terminated');
}

function inOneLine(error: unknown, dataDir: string): EmbeddedPostgresError {
  if (error instanceof EmbeddedPostgresError) return error;
  return new EmbeddedPostgresError(`The database in ${dataDir} failed: ${errorLine(error)}`);
}
