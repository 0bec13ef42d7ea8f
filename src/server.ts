import type { AddressInfo } from 'node:net';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { createApp, createLogger } from './app.setup.js';
import type { Env } from './config/env.js';
import { Connections, connectionsFor } from './connections.js';
import { addressOf, explainListening } from './listening.js';
import { Prometheus } from './metrics/prometheus.js';
import { Shutdown } from './platform/shutdown.js';
import { SAME_SIGNAL_MS, STOP_DEADLINE_MS, STOP_SIGNALS } from './signals.js';
import { FirstAdmin } from './users/first-admin.js';
import { joinMetrics } from './worker-metrics.js';

/** What a worker tells the primary: that it listens, or how many connections it has accepted so far. */
export interface Report {
  ready?: { port: number };
  accepted?: number;
}

/** What the primary tells a worker when it stops: to retire; to hold new connections and report how many it has accepted; to stop. */
export interface Order {
  order: 'retire' | 'hold' | 'stop';
}

/** A server, of one process or of several. */
export interface RunningServer {
  port: number;
  /** Goes on serving, but `/readyz` is 503 and each answer closes its connection, so that clients go to another server. */
  retire(): void;
  /** Closes the port once nothing that the kernel has accepted waits, and resolves when all of it is answered. */
  stop(): Promise<void>;
}

/** A server that listens in this process. */
export interface ProcessServer extends RunningServer {
  /** Its numbers, for Prometheus. */
  metrics: Prometheus;
  connections: Connections;
}

/** Builds the server and listens. @throws when the port is taken, the database cannot be used, a variable is wrong */
export async function startServer(env: Env, logger = createLogger(env)): Promise<ProcessServer> {
  const app = await createApp(env, logger);
  const http = app.getHttpServer();
  const max = connectionsFor(env.maxConnections, env.databasePool);
  const connections = new Connections(http, {
    max,
    patience: env.requestTimeout,
    onRefused: (refused) => {
      logger.warn({ refused, max }, 'connections refused: there are as many as there may be');
    },
  });
  try {
    await makeFirstAdmin(app, env, logger);
    await app.listen(await addressOf(env)).catch(explainListening);
  } catch (error) {
    await app.close();
    throw error;
  }
  const shutdown = app.get(Shutdown, { strict: false });
  return {
    port: (http.address() as AddressInfo).port,
    metrics: app.get(Prometheus, { strict: false }),
    connections,
    retire: () => {
      shutdown.begin();
      connections.retire();
    },
    stop: async () => {
      const closed = await connections.close();
      await app.close();
      closed();
    },
  };
}

/** The life of a worker: listens, tells the primary, and stops when told or when the primary is gone. */
export async function runWorker(env: Env): Promise<void> {
  const server = await startServer(env);
  let isRetired = false;
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(1), STOP_DEADLINE_MS).unref();
    void server.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  const { metrics } = server;
  metrics.gather = joinMetrics(() => metrics.collect());
  const report = (message: Report): void => {
    // Without a callback, a failed send ends the process: the primary may be gone.
    if (process.connected) process.send?.(message, () => undefined);
  };
  process.on('message', (message: Partial<Order>) => {
    if (message.order === 'retire') {
      isRetired = true;
      server.retire();
    } else if (message.order === 'hold') {
      server.connections.hold();
      report({ accepted: server.connections.accepted });
    } else if (message.order === 'stop') {
      stop();
    }
  });
  // A signal to the whole process group reaches the primary as well, which then stops its workers in order.
  for (const signal of STOP_SIGNALS) {
    process.on(signal, () => {
      setTimeout(() => {
        if (!isRetired) stop();
      }, SAME_SIGNAL_MS).unref();
    });
  }
  process.on('disconnect', stop);
  report({ ready: { port: server.port } });
}

async function makeFirstAdmin(app: NestFastifyApplication, env: Env, logger: Logger): Promise<void> {
  const made = await app.get(FirstAdmin, { strict: false }).ensure();
  if (made === 'was there' && env.adminPassword !== undefined) {
    logger.info(
      'ADMIN_PASSWORD is not used: there is an administrator already; `npm run admin -- reset-password` sets a password',
    );
  }
  if (typeof made !== 'object') return;
  // At once, not with the rest of the start's lines: nobody can read it again.
  console.log(
    `\nAdministrator made (the password is shown this once):\n  username  ${made.username}\n  password  ${made.password}\n`,
  );
}
