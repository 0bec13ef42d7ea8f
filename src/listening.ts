import { once } from 'node:events';
import { createServer } from 'node:net';
import { ConfigError, type Env } from './config/env.js';

/** Listens for a moment. @throws ConfigError when HOST and PORT cannot be had */
export async function tryListening({ host, port }: Env): Promise<void> {
  const server = createServer();
  try {
    await once(server.listen({ port, host }), 'listening');
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
