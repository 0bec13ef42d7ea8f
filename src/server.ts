import cluster from 'node:cluster';
import type { AddressInfo } from 'node:net';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp, createLogger } from './app.setup.js';
import type { Env } from './config/env.js';
import { STOP_SIGNALS } from './signals.js';
import { FirstAdmin } from './users/first-admin.js';

/** What a worker tells the primary once it listens. */
export interface Ready {
  ready: { port: number };
}

/** A server that listens. */
export interface RunningServer {
  port: number;
  /** Takes no more connections, answers what was accepted, then closes the database's connections. */
  stop(): Promise<void>;
}

/** Builds the server and listens. @throws when the port is taken, the database cannot be used, a variable is wrong */
export async function startServer(env: Env): Promise<RunningServer> {
  const app = await createApp(env, createLogger(env));
  try {
    await makeFirstAdmin(app);
    await app.listen({ port: env.port, host: env.host });
  } catch (error) {
    await app.close();
    throw error;
  }
  const { port } = app.getHttpServer().address() as AddressInfo;
  return { port, stop: () => app.close() };
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
  for (const signal of STOP_SIGNALS) process.on(signal, stop);
  process.on('disconnect', stop);
  cluster.worker?.send({ ready: { port: server.port } } satisfies Ready);
}

async function makeFirstAdmin(app: NestFastifyApplication): Promise<void> {
  const made = await app.get(FirstAdmin, { strict: false }).ensure();
  if (!made) return;
  // At once, not with the rest of the start's lines: nobody can read it again.
  console.log(
    `\nAdministrator made (the password is shown this once):\n  username  ${made.username}\n  password  ${made.password}\n`,
  );
}
