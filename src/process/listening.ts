import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { ConfigError, type Env } from '../config/env.js';

/**
 * Returns the single address to listen on. For `localhost` Fastify would open a second socket, which `Connections`
 * would not count, drain or close.
 */
export async function addressOf({ host, port }: Env): Promise<{ host: string; port: number }> {
  const address = host === 'localhost' ? (await lookup(host, { order: 'ipv4first' })).address : host;
  return { host: address, port };
}

/** Listens for a moment, as a check. @throws ConfigError if HOST and PORT are not available */
export async function tryListening(env: Env): Promise<void> {
  const server = createServer();
  try {
    await once(server.listen(await addressOf(env)), 'listening');
  } catch (error) {
    explainListening(error as NodeJS.ErrnoException);
  }
  await once(server.close(), 'close');
}

/** Converts an error of `listen`. @throws ConfigError always */
export function explainListening({ code, message }: NodeJS.ErrnoException): never {
  if (code === 'EADDRINUSE') throw new ConfigError(`PORT is taken: ${message}.`);
  if (['ENOTFOUND', 'EAI_AGAIN', 'EADDRNOTAVAIL', 'EINVAL'].includes(code ?? '')) {
    throw new ConfigError(
      `Cannot listen on HOST: ${message}; allowed: an address of this machine, such as 127.0.0.1, ::1 or 0.0.0.0.`,
    );
  }
  throw new ConfigError(`Cannot listen on HOST and PORT: ${message}.`);
}
