// For whoever measures a peer: starts it, has keys made, and counts how many verifications a key lets through.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Server } from '../processes.js';

/**
 * @typedef {object} Peer
 * @property {string} url
 * @property {number} pid
 * @property {() => Promise<void>} stop
 * @property {(wanted: import('./better-auth.js').KeysWanted) => Promise<string[]>} makeKeys
 */

/**
 * better-auth on a database that should be its own: it makes its tables there. undefined, and a word on the console,
 * where it is not installed.
 *
 * @param {{ databaseUrl: string, folder: string }} options `folder` receives its output
 * @returns {Promise<Peer | undefined>}
 */
export async function startPeer({ databaseUrl, folder }) {
  if (!existsSync(new URL('node_modules/better-auth/package.json', import.meta.url))) {
    console.error('better-auth is left out: it is not installed. To install it: npm ci --prefix bench/peers');
    return undefined;
  }
  const server = await Server.start({
    name: 'better-auth',
    args: [fileURLToPath(new URL('better-auth.js', import.meta.url))],
    env: { DATABASE_URL: databaseUrl, NODE_ENV: 'production' },
    folder,
  });
  return {
    url: server.url,
    pid: server.pid,
    stop: () => server.stop(),
    makeKeys: async (wanted) => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(`${server.url}/keys`, { method: 'POST', headers, body: JSON.stringify(wanted) });
      if (!response.ok) throw new Error(`POST /keys: ${response.status} ${await response.text()}`);
      return /** @type {{ keys: string[] }} */ (await response.json()).keys;
    },
  };
}

/**
 * The request that verifies a key.
 *
 * @param {string} key
 * @returns {import('../load.js').LoadRequest}
 */
export function verify(key) {
  return { method: 'GET', path: '/verify', headers: { 'x-api-key': key } };
}

/**
 * Sends so many requests with one key, all connections at once, and counts what is answered with 200.
 *
 * @param {string} url
 * @param {string} key
 * @param {{ connections: number, requests: number }} options
 * @returns {Promise<{ admitted: number, statuses: Record<string, number> }>}
 */
export async function admitted(url, key, { connections, requests }) {
  const headers = { 'x-api-key': key };
  const { errors, timeouts, statusCodeStats = {} } = await autocannon({ url, headers, connections, amount: requests });
  if (errors + timeouts > 0) throw new Error(`${errors + timeouts} of ${requests} requests were not answered`);
  const statuses = Object.fromEntries(
    Object.entries(statusCodeStats).map(([status, { count }]) => [status, count ?? 0]),
  );
  return { admitted: statuses[200] ?? 0, statuses };
}
