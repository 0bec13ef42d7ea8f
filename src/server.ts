import cluster from 'node:cluster';
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp, createLogger } from './app.setup.js';
import { ConfigError, type Env } from './config/env.js';
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

/** How long a connection may stay idle once the server stops. */
const LAST_KEEP_ALIVE_MS = 100;

/** How long a request that is half sent may take to arrive once the server stops. */
const LAST_ARRIVAL_MS = 3_000;

/** Builds the server and listens. @throws when the port is taken, the database cannot be used, a variable is wrong */
export async function startServer(env: Env): Promise<RunningServer> {
  const app = await createApp(env, createLogger(env));
  const http = app.getHttpServer();
  const close = closingConnections(http);
  try {
    await makeFirstAdmin(app);
    await app.listen({ port: env.port, host: env.host }).catch(explainListening);
  } catch (error) {
    await app.close();
    throw error;
  }
  const stop = async (): Promise<void> => {
    const sweep = close();
    await app.close();
    clearInterval(sweep);
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

/**
 * Keeps account of the connections, and returns what ends them when the server stops. Node closes idle ones at once but
 * waits for others: for those whose answer is still to come, which is right; for those that never sent anything (browsers
 * and load balancers open some in advance), and for those that stay open after their answer, as they were promised.
 */
function closingConnections(http: Server): () => NodeJS.Timeout {
  const sockets = new Set<Socket & { _httpMessage?: ServerResponse | null }>();
  http.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return () => {
    const since = Date.now();
    // Long enough that a request that is on its way already is answered too, and told to be the last.
    http.keepAliveTimeout = LAST_KEEP_ALIVE_MS;
    return setInterval(() => {
      http.closeIdleConnections();
      const late = Date.now() - since > LAST_ARRIVAL_MS;
      for (const socket of sockets) {
        const isAnswering = socket._httpMessage !== undefined && socket._httpMessage !== null;
        if (!isAnswering && (socket.bytesRead === 0 || late)) socket.destroy();
      }
    }, LAST_KEEP_ALIVE_MS);
  };
}

function explainListening(error: NodeJS.ErrnoException): never {
  if (error.code === 'EADDRINUSE') throw new ConfigError(`PORT is taken: ${error.message}.`);
  throw new ConfigError(`HOST or PORT cannot be listened on: ${error.message}.`);
}

async function makeFirstAdmin(app: NestFastifyApplication): Promise<void> {
  const made = await app.get(FirstAdmin, { strict: false }).ensure();
  if (!made) return;
  // At once, not with the rest of the start's lines: nobody can read it again.
  console.log(
    `\nAdministrator made (the password is shown this once):\n  username  ${made.username}\n  password  ${made.password}\n`,
  );
}
