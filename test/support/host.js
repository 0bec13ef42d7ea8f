// A host process that runs servers for tests. Loading the program takes much longer than starting a server, so one
// process starts many, each with its own configuration, database, port and log file.
//
//   POST /          {env, log}            starts a server and answers {id, url}, or {failed, line}
//   DELETE /<id>                          stops it as SIGTERM does, and answers {code}
//   POST /command   {env, args, piped}    runs a command of `quartermaster` and answers {code, stdout, stderr}
import { once } from 'node:events';
import { createServer } from 'node:http';
import { PassThrough } from 'node:stream';
import { json, text } from 'node:stream/consumers';
import { createLogger } from '../../dist/src/http/logger.js';
import { run } from '../../dist/src/cli/run.js';
import { Env } from '../../dist/src/config/env.js';
import { isolateFromShell } from '../../dist/src/config/shell.js';
import { EmbeddedPostgres } from '../../dist/src/embedded-postgres/embedded-postgres.js';
import { migrate } from '../../dist/src/database/migrate.js';
import { tryListening } from '../../dist/src/process/listening.js';
import { startServer } from '../../dist/src/process/server.js';
import { explainStart } from '../../dist/src/process/start-error.js';

isolateFromShell();

/** The stop function of each server, by port. @type {Map<string, () => Promise<void>>} */
const servers = new Map();

/** Starts a server with the steps of `src/process/primary.ts`. @param {{ env: Record<string, string>, log: string }} wanted */
async function start({ env: variables, log }) {
  const env = new Env(variables);
  await tryListening(env);
  const postgres = env.databaseUrl === undefined ? await EmbeddedPostgres.start({ dataDir: env.dataDir }) : undefined;
  try {
    const used = postgres ? new Env({ ...variables, DATABASE_URL: postgres.url }) : env;
    await migrate(used, used.databaseUrl ?? '');
    const server = await startServer(used, createLogger(used, log));
    const id = String(server.port);
    servers.set(id, async () => {
      await server.stop();
      await postgres?.stop();
    });
    return { id, url: `http://${env.host}:${id}` };
  } catch (error) {
    await postgres?.stop();
    throw error;
  }
}

/** @param {string} id */
async function stop(id) {
  const end = servers.get(id);
  servers.delete(id);
  try {
    await end?.();
    return { code: 0 };
  } catch (error) {
    console.error(error);
    return { code: 1 };
  }
}

/** @param {{ env: Record<string, string>, args: string[], piped: string | undefined }} wanted */
async function command({ env, args, piped }) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = Promise.all([text(stdout), text(stderr)]);
  const code = await run(args, { variables: env, stdout, stderr, piped: () => Promise.resolve(piped) });
  stdout.end();
  stderr.end();
  const [out, err] = await texts;
  return { code, stdout: out, stderr: err };
}

/** @param {import('node:http').IncomingMessage} request */
async function answer(request) {
  const path = request.url ?? '/';
  if (request.method === 'DELETE') return stop(path.slice(1));
  const body = /** @type {any} */ (await json(request));
  if (path === '/command') return command(body);
  try {
    return await start(body);
  } catch (error) {
    const { stack } = /** @type {Error} */ (error);
    return { failed: stack, line: explainStart(error, body.env) };
  }
}

const host = createServer((request, response) => {
  void answer(request).then((result) => response.end(JSON.stringify(result)));
}).listen(0, '127.0.0.1');
await once(host, 'listening');
process.send?.(/** @type {import('node:net').AddressInfo} */ (host.address()).port);
// The parent disconnects when the run is over.
process.on('disconnect', () => process.exit(0));
