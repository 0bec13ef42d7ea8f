import type { AddressInfo } from 'node:net';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { createApp } from '../app.setup.js';
import type { Env } from '../config/env.js';
import { createLogger } from '../http/logger.js';
import { Connections, connectionsFor } from '../http/connections.js';
import { announceAdmin } from './announcements.js';
import { addressOf, explainListening } from './listening.js';
import { Prometheus } from '../metrics/prometheus.js';
import { Shutdown } from '../platform/shutdown.js';
import { SAME_SIGNAL_MS, STOP_DEADLINE_MS, STOP_SIGNALS } from './signals.js';
import { FirstAdmin } from '../users/first-admin.js';
import { joinMetrics } from './worker-metrics.js';

/** A message from a worker to the primary: it listens, or the number of connections accepted so far. */
export interface Report {
  ready?: { port: number };
  accepted?: number;
}

/**
 * A message from the primary to a worker during shutdown: retire; hold new connections and report the number of
 * accepted ones; stop.
 */
export interface Order {
  order: 'retire' | 'hold' | 'stop';
}

/** A running server of one or more processes. */
export interface RunningServer {
  port: number;
  /**
   * Keeps serving, but `/readyz` returns 503 and responses close connections, so that clients move to another server.
   */
  retire(): void;
  /** Accepts the kernel's backlog, closes the port, and resolves when all requests are answered. */
  stop(): Promise<void>;
}

/** A server that listens in this process. */
export interface ProcessServer extends RunningServer {
  /** The Prometheus metrics of this process. */
  metrics: Prometheus;
  connections: Connections;
}

/** Builds the server and listens. @throws if the port is taken, the database is unusable or a variable is invalid */
export async function startServer(env: Env, logger = createLogger(env)): Promise<ProcessServer> {
  const app = await createApp(env, logger);
  const http = app.getHttpServer();
  const max = connectionsFor(env.maxConnections, env.databasePool);
  const connections = new Connections(http, {
    max,
    patience: env.requestTimeout,
    onRefused: (refused) => {
      logger.warn({ refused, max }, 'connections refused: the maximum number of connections is reached');
    },
  });
  try {
    await makeFirstAdmin(app, env, logger);
    await app.listen(await addressOf(env)).catch(explainListening);
  } catch (error) {
    await app.close();
    throw error;
  }
  const shutdown = app.get(Shutdown);
  return {
    port: (http.address() as AddressInfo).port,
    metrics: app.get(Prometheus),
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

/** Runs a worker: listens, reports to the primary, and stops on its order or when the primary exits. */
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
    // The callback ignores errors, because the primary may have exited. Without it a failed send ends the process.
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
  // A signal to the process group also reaches the primary, which then stops its workers in the right order.
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
  const made = await app.get(FirstAdmin).ensure();
  if (made === 'was there' && env.adminPassword !== undefined) {
    logger.info(
      'ADMIN_PASSWORD is ignored: an administrator already exists. To set a password, run `quartermaster admin reset-password`',
    );
  }
  if (typeof made !== 'object') return;
  announceAdmin(made);
}
