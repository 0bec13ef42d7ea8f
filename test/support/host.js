// A host process that runs servers for tests. Loading the program takes much longer than starting a server, so one
// process starts many, each with its own configuration, database, port and log file.
//
//   POST /          {env, log}            starts a server and answers {id, url}, or {failed, line}
//   DELETE /<id>                          stops it as SIGTERM does, and answers {code}
//   POST /command   {env, args, piped}    runs a command of `quartermaster` and answers {code, stdout, stderr}
//
// It loads the program with its first request, or at once with the argument `load`: few runs need every host.
import { once } from 'node:events';
import { createServer } from 'node:http';

const load = () => import('./hosted.js');
if (process.argv[2] === 'load') void load();

const host = createServer((request, response) => {
  void load()
    .then(({ answer }) => answer(request))
    .then((result) => response.end(JSON.stringify(result)));
}).listen(0, '127.0.0.1');
await once(host, 'listening');
process.send?.(/** @type {import('node:net').AddressInfo} */ (host.address()).port);
// The parent disconnects when the run is over.
process.on('disconnect', () => process.exit(0));
