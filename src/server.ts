import cluster from 'node:cluster';
import type { AddressInfo } from 'node:net';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import { createApp, createLogger } from './app.setup.js';
import type { Env } from './config/env.js';
import { Connections, connectionsFor } from './connections.js';
import { explainListening } from './listening.js';
import { Prometheus } from './metrics/prometheus.js';
import { STOP_SIGNALS } from './signals.js';
import { FirstAdmin } from './users/first-admin.js';
import { joinMetrics } from './worker-metrics.js';

/** What a worker tells the primary once it listens. */
export interface Ready {
  ready: { port: number };
}

/** A server that listens. */
export interface RunningServer {
  port: number;
  /** Its numbers, for Prometheus. */
  metrics: Prometheus;
  /** Takes no more connections, answers what was accepted, then closes the database's connections. */
  stop(): Promise<void>;
}

/** Builds the server and listens. @throws when the port is taken, the database cannot be used, a variable is wrong */
export async function startServer(env: Env): Promise<RunningServer> {
  const logger = createLogger(env);
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
    await app.listen({ port: env.port, host: env.host }).catch(explainListening);
  } catch (error) {
    await app.close();
    throw error;
  }
  const stop = async (): Promise<void> => {
    const closed = connections.close();
    await app.close();
    closed();
  };
  const metrics = app.get(Prometheus, { strict: false });
  return { port: (http.address() as AddressInfo).port, metrics, stop };
}

/** The life of a worker: listens, tells the primary, and stops when told or when the primary is gone. */
export async function runWorker(env: Env): Promise<void> {
  const server = await startServer(env);
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    void server.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  const { metrics } = server;
  metrics.gather = joinMetrics(() => metrics.collect());
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  process.on('disconnect', stop);
  cluster.worker?.send({ ready: { port: server.port } } satisfies Ready);
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
