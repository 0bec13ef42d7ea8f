import type { Env } from './config/env.js';
import { EmbeddedPostgres } from './database/embedded-postgres.js';
import { STOP_SIGNALS } from './signals.js';
import { VERSION } from './version.js';
import { startWorkers } from './workers.js';

/** Milliseconds that requests under way get to end when the server stops. */
const STOP_DEADLINE_MS = 30_000;

/** Connections of the embedded PostgreSQL beside the pools: migrations, the lock, psql, a backup. */
const SPARE_CONNECTIONS = 20;

/** What runs until it is stopped, in the order of the start; it stops in reverse. */
interface Stoppable {
  stop(): Promise<void>;
}

/**
 * The process that was started: it owns the embedded database and the migrations, and serves itself or through
 * workers. Resolves when everything runs.
 */
export async function runPrimary(env: Env): Promise<void> {
  const running: Stoppable[] = [];
  const stop = stopOnce(running);
  try {
    // The program loads while PostgreSQL starts. Beside workers, the primary needs little of it.
    const loading = Promise.all([import('./database/migrate.js'), env.workers === 1 ? import('./server.js') : null]);
    const database = env.databaseUrl ?? startDatabase(env, running, stop);
    const [[{ migrate }, program], url] = await Promise.all([loading, database]);
    await migrate(env, url);
    // From here on the embedded database is one like any other, here and in the workers.
    process.env.DATABASE_URL = url;
    const server = await (program ? program.startServer(env) : startWorkers(env.workers));
    running.push(server);
    stopWhenTold(() => {
      stop(0);
    });
    announce(env, server.port);
  } catch (error) {
    for (const part of running.reverse()) await part.stop();
    throw error;
  }
}

async function startDatabase(env: Env, running: Stoppable[], stop: (code: number) => void): Promise<string> {
  const postgres = await EmbeddedPostgres.start({
    dataDir: env.dataDir,
    maxConnections: env.workers * env.databasePool + SPARE_CONNECTIONS,
    log: (message) => {
      console.error(message);
    },
    onFatal: (error) => {
      console.error(error.message);
      stop(1);
    },
  });
  running.push(postgres);
  return postgres.url;
}

/** Stops everything in reverse order and ends the process; a second call, or the deadline, ends it at once. */
function stopOnce(running: Stoppable[]): (code: number) => void {
  let stopping = false;
  return (code) => {
    if (stopping) process.exit(1);
    stopping = true;
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    void (async () => {
      for (const part of running.reverse()) await part.stop();
      process.exit(code);
    })().catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
  };
}

/** Stops on the signals of operators and terminals, and when the npm that started us was told to stop. */
function stopWhenTold(stop: () => void): void {
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  // npm passes SIGTERM to the shell between us, which dies of it and leaves us to nobody.
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    stop();
  }, 500);
  watch.unref();
}

function announce(env: Env, port: number): void {
  const host = env.host === '0.0.0.0' || env.host === '::' ? 'localhost' : env.host;
  const origin = `http://${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
  console.log(`Quartermaster ${VERSION} listens on ${origin}\nSwagger UI: ${origin}/docs`);
}
