import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Env } from '../config/env.js';
import { EmbeddedPostgres } from '../embedded-postgres/embedded-postgres.js';
import { announceServer, announceStop } from './announcements.js';
import { tryListening } from './listening.js';
import type { RunningServer } from './server.js';
import { SAME_SIGNAL_MS, STOP_DEADLINE_MS, STOP_SIGNALS } from './signals.js';
import { EMBEDDED } from './start-error.js';
import { startWorkers } from './workers.js';

/** Connections of the embedded PostgreSQL in addition to the pools: migrations, the lock, psql, a backup. */
const SPARE_CONNECTIONS = 20;

interface Stoppable {
  stop(): Promise<void>;
}

/**
 * Runs the main process: it owns the embedded database and the migrations, and serves requests itself or through
 * workers. Resolves when everything runs.
 */
export async function runPrimary(env: Env): Promise<void> {
  const primary = new Primary(env);
  primary.stopWhenTold();
  const port = await primary.start();
  announce(env, port);
}

class Primary {
  /** Running parts in start order. They stop in reverse order. */
  private readonly running: Stoppable[] = [];
  /** Set when the server listens. */
  private server: RunningServer | undefined;
  private starting: Promise<unknown> = Promise.resolve();
  private stoppingSince: number | undefined;
  private stopped: Promise<void> | undefined;

  constructor(private readonly env: Env) {}

  async start(): Promise<number> {
    const port = this.startAll();
    this.starting = port.catch(() => undefined);
    try {
      return await port;
    } catch (error) {
      await this.stopAll();
      // A stop during the start makes workers fail the start. Wait: the stop ends the process.
      if (this.stoppingSince !== undefined) await new Promise(() => undefined);
      throw error;
    }
  }

  /** Stops on signals of operators and terminals, and when the npm process that started this one ends. */
  stopWhenTold(): void {
    for (const signal of STOP_SIGNALS) {
      process.on(signal, () => {
        if (this.stoppingSince !== undefined && Date.now() - this.stoppingSince > SAME_SIGNAL_MS) process.exit(1);
        this.stop(0);
      });
    }
    // npm sends SIGTERM only to the shell in between. The shell exits, and this process gets a new parent.
    if (process.env.npm_lifecycle_event === undefined) return;
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) this.stop(0);
    }, 500).unref();
  }

  /**
   * Retires the server, stops everything in reverse order after SHUTDOWN_DELAY, and ends the process, at the latest at
   * the deadline. Waits for a start in progress, without the delay: no client sends requests yet.
   */
  private stop(code: number): void {
    if (this.stoppingSince !== undefined) return;
    this.stoppingSince = Date.now();
    const delay = this.server ? this.env.shutdownDelay : 0;
    this.server?.retire();
    setTimeout(() => process.exit(1), delay + STOP_DEADLINE_MS).unref();
    void Promise.all([this.starting, sleep(delay)])
      .then(() => this.stopAll())
      .then(
        () => {
          if (code === 0) announceStop();
          process.exit(code);
        },
        (error: unknown) => {
          console.error(error);
          process.exit(1);
        },
      );
  }

  private async startAll(): Promise<number> {
    const { env } = this;
    // Checks the port first, so that a server that cannot listen creates no data.
    await tryListening(env);
    // Loads the program while PostgreSQL starts. With workers, the primary does not need the server code.
    const loading = Promise.all([
      import('../database/migrate.js'),
      import('./database-checks.js'),
      env.workers === 1 ? import('./server.js') : null,
    ]);
    const [[{ migrate }, checks, program], url] = await Promise.all([loading, env.databaseUrl ?? this.startDatabase()]);
    await migrate(env, url);
    await checks.refuseSecondSecretKey(env, url);
    // The embedded PostgreSQL always runs with safe settings.
    if (env.databaseUrl !== undefined) {
      for (const line of await checks.unsafeSettings(env, url)) console.error(`Warning: ${line}`);
    }
    // The stop that is under way ends the process.
    if (this.stoppingSince !== undefined) throw new Error('The server was told to stop during its start.');
    // From here on, this process and the workers use the embedded database like an external one.
    if (env.databaseUrl === undefined) Object.assign(process.env, { DATABASE_URL: url, [EMBEDDED]: 'yes' });
    const server = await (program ? program.startServer(new Env()) : startWorkers(env.workers));
    this.running.push(server);
    this.server = server;
    return server.port;
  }

  private async startDatabase(): Promise<string> {
    // A new database has no administrator yet: refuses bad settings for it before anything is created.
    if (!existsSync(join(this.env.dataDir, 'postgres'))) {
      const { checkAdminSettings } = await import('../users/admin-settings.js');
      await checkAdminSettings(this.env);
    }
    const postgres = await EmbeddedPostgres.start({
      dataDir: this.env.dataDir,
      maxConnections: this.env.workers * this.env.databasePool + SPARE_CONNECTIONS,
      log: (message) => {
        console.error(message);
      },
      onFatal: (error) => {
        console.error(error.message);
        this.stop(1);
      },
    });
    this.running.push(postgres);
    return postgres.url;
  }

  /** Stops all parts once, even if a failed start and a signal both call it. */
  private stopAll(): Promise<void> {
    this.stopped ??= (async () => {
      for (const part of this.running.splice(0).reverse()) await part.stop();
    })();
    return this.stopped;
  }
}

function announce(env: Env, port: number): void {
  const host = env.host === '0.0.0.0' || env.host === '::' ? 'localhost' : env.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${String(port)}${env.basePath}`;
  announceServer(url);
}
