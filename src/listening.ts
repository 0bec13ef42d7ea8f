import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { ConfigError, type Env } from './config/env.js';

/** Where to listen. One address: for `localhost` Fastify would open a second port, which nothing here counts, drains or closes. */
export async function addressOf({ host, port }: Env): Promise<{ host: string; port: number }> {
  const address = host === 'localhost' ? (await lookup(host, { order: 'ipv4first' })).address : host;
  return { host: address, port };
}

/** Listens for a moment. @throws ConfigError when HOST and PORT cannot be had */
export async function tryListening(env: Env): Promise<void> {
  const server = createServer();
  try {
    await once(server.listen(await addressOf(env)), 'listening');
  } catch (error) {
    explainListening(error as NodeJS.ErrnoException);
  }
  await once(server.close(), 'close');
}

/** @throws ConfigError for an error of `listen` */
export function explainListening({ code, message }: NodeJS.ErrnoException): never {
  if (code === 'EADDRINUSE') throw new ConfigError(`PORT is taken: ${message}.`);
  throw new ConfigError(`HOST or PORT cannot be listened on: ${message}.`);
}
