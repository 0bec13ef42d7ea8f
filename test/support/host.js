// A process that runs servers for tests. Loading the program takes much longer than starting a server in it, so one
// process starts many, each with its own configuration, database, port and log file.
//
//   POST /          {env, log}  starts a server and answers {id, url}, or 500 with {message}
//   DELETE /<id>                stops it as SIGTERM does, and answers {code}
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { createLogger } from '../../dist/src/app.setup.js';
import { Env } from '../../dist/src/config/env.js';
import { isolateFromShell } from '../../dist/src/config/shell.js';
import { migrate } from '../../dist/src/database/migrate.js';
import { startServer } from '../../dist/src/server.js';

isolateFromShell();

/** @type {Map<string, import('../../dist/src/server.js').RunningServer>} */
const servers = new Map();

/** @param {{ env: Record<string, string>, log: string }} wanted */
async function start({ env: variables, log }) {
  const env = new Env(variables);
  await migrate(env, env.databaseUrl ?? '');
  const server = await startServer(env, createLogger(env, log));
  const id = String(server.port);
  servers.set(id, server);
  return { id, url: `http://${env.host}:${id}` };
}

/** @param {string} id */
async function stop(id) {
  const server = servers.get(id);
  servers.delete(id);
  try {
    await server?.stop();
    return { code: 0 };
  } catch (error) {
    console.error(error);
    return { code: 1 };
  }
}

const host = createServer((request, response) => {
  const work =
    request.method === 'POST'
      ? json(request).then((body) => start(/** @type {any} */ (body)))
      : stop(request.url?.slice(1) ?? '');
  work.then(
    (result) => response.end(JSON.stringify(result)),
    (/** @type {Error} */ error) => response.writeHead(500).end(JSON.stringify({ message: error.stack })),
  );
}).listen(0, '127.0.0.1');
await once(host, 'listening');
process.send?.(/** @type {import('node:net').AddressInfo} */ (host.address()).port);
// The run is over.
process.on('disconnect', () => process.exit(0));
