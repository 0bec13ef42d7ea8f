// A peer: Parse Server on PostgreSQL. A process of its own, as ../../bare.js; see ../README.md.

/**
 * What is used of Parse Server.
 *
 * @typedef {{ startApp: (options: object) => Promise<{ server: import('node:http').Server }> }} ParseServerClass
 */

/** As Quartermaster has it by default (DATABASE_POOL). */
const POOL = 10;

const { APP_ID, DATABASE_URL, MASTER_KEY } = process.env;

/** @type {{ ParseServer: ParseServerClass }} */
const { ParseServer } = await load('parse-server');

// Its own Express app, which ends on SIGTERM.
const { server } = await ParseServer.startApp({
  appId: APP_ID,
  masterKey: MASTER_KEY,
  host: '127.0.0.1',
  port: 0,
  mountPath: '/parse',
  // Of this only the path is used: that of a batch's requests begins with it.
  serverURL: 'http://127.0.0.1/parse',
  verifyServerUrl: false,
  databaseURI: DATABASE_URL,
  // Goes to pg as it is, with a complaint at the start about options that are not Parse's: of the URI alone Parse would
  // not take the Unix socket.
  databaseOptions: { connectionString: DATABASE_URL, max: POOL },
  // Without permissions for clients: the master key alone may use it.
  schema: { definitions: [{ className: 'Store', fields: { key: { type: 'String' }, value: { type: 'Object' } } }] },
  silent: true,
  logsFolder: null,
});
const address = /** @type {import('node:net').AddressInfo} */ (server.address());
console.log(`listens on http://${address.address}:${address.port}`);

/**
 * Imports by a name that tsc does not follow: it checks this file where the package is not installed, too.
 *
 * @param {string} name
 */
function load(name) {
  return import(name);
}
