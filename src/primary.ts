import { setTimeout as sleep } from 'node:timers/promises';
import { Env } from './config/env.js';
import { EmbeddedPostgres } from './database/embedded-postgres.js';
import { tryListening } from './listening.js';
import type { RunningServer } from './server.js';
import { SAME_SIGNAL_MS, STOP_DEADLINE_MS, STOP_SIGNALS } from './signals.js';
import { VERSION } from './version.js';
import { startWorkers } from './workers.js';

/** Connections of the embedded PostgreSQL beside the pools: migrations, the lock, psql, a backup. */
const SPARE_CONNECTIONS = 20;

interface Stoppable {
  stop(): Promise<void>;
}

/**
 * The process that was started: it owns the embedded database and the migrations, and serves itself or through
 * workers. Resolves when everything runs.
 */
export async function runPrimary(env: Env): Promise<void> {
  const primary = new Primary(env);
  primary.stopWhenTold();
  const port = await primary.start();
  announce(env, port);
}

class Primary {
  /** What runs, in the order of the start; it stops in reverse. */
  private readonly running: Stoppable[] = [];
  /** Once it listens. */
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
      // Workers that are told to stop while they start fail the start: the stop ends the process.
      if (this.stoppingSince !== undefined) await new Promise(() => undefined);
      throw error;
    }
  }

  /** Stops on the signals of operators and terminals, and when the npm that started us was told to stop. */
  stopWhenTold(): void {
    for (const signal of STOP_SIGNALS) {
      process.on(signal, () => {
        if (this.stoppingSince !== undefined && Date.now() - this.stoppingSince > SAME_SIGNAL_MS) process.exit(1);
        this.stop(0);
      });
    }
    // npm passes SIGTERM to the shell between us, which dies of it and leaves us to nobody.
    if (process.env.npm_lifecycle_event === undefined) return;
    const parent = process.ppid;
    setInterval(() => {
      if (process.ppid !== parent) this.stop(0);
    }, 500).unref();
  }

  /**
   * Retires the server, and after SHUTDOWN_DELAY stops everything in reverse order and ends the process; at the deadline in
   * any case. A start that is under way is waited for, and needs no delay: nobody was told to send requests yet.
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
        () => process.exit(code),
        (error: unknown) => {
          console.error(error);
          process.exit(1);
        },
      );
  }

  private async startAll(): Promise<number> {
    const { env } = this;
    // Nothing is made for a server that cannot listen.
    await tryListening(env);
    // The program loads while PostgreSQL starts. Beside workers, the primary needs little of it.
    const loading = Promise.all([import('./database/migrate.js'), env.workers === 1 ? import('./server.js') : null]);
    const [[{ migrate }, program], url] = await Promise.all([loading, env.databaseUrl ?? this.startDatabase()]);
    await migrate(env, url);
    // The stop that is under way ends the process.
    if (this.stoppingSince !== undefined) throw new Error('Told to stop during the start.');
    // From here on the embedded database is one like any other, here and in the workers.
    if (env.databaseUrl === undefined) process.env.DATABASE_URL = url;
    const server = await (program ? program.startServer(new Env()) : startWorkers(env.workers));
    this.running.push(server);
    this.server = server;
    return server.port;
  }

  private async startDatabase(): Promise<string> {
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

  /** A failed start and a signal may ask for it at once. */
  private stopAll(): Promise<void> {
    this.stopped ??= (async () => {
      for (const part of this.running.splice(0).reverse()) await part.stop();
    })();
    return this.stopped;
  }
}

function announce(env: Env, port: number): void {
  const host = env.host === '0.0.0.0' || env.host === '::' ? 'localhost' : env.host;
  const origin = `http://${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
  console.log(`Quartermaster ${VERSION} listens on ${origin}\nSwagger UI: ${origin}/docs`);
}
