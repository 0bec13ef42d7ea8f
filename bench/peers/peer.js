// For whoever measures a peer: starts it, has made what it needs, and counts how many verifications a key lets through.
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Server } from '../processes.js';

/**
 * @typedef {object} Peer
 * @property {string} url
 * @property {number} pid
 * @property {() => Promise<void>} stop
 */

/** @typedef {{ method: 'GET' | 'POST', path: string, body?: object }} BatchRequest of Parse Server */

/**
 * better-auth on a database that should be its own: it makes its tables there. undefined, and a word on the console,
 * where it is not installed.
 *
 * @param {{ databaseUrl: string, folder: string }} options `folder` receives its output
 */
export async function startBetterAuth({ databaseUrl, folder }) {
  const peer = await start({
    ...{ name: 'better-auth', program: 'better-auth.js', installedIn: '.', folder },
    env: { DATABASE_URL: databaseUrl },
  });
  return (
    peer && {
      ...peer,
      /**
       * @param {import('./better-auth.js').KeysWanted} wanted
       * @returns {Promise<string[]>}
       */
      makeKeys: async (wanted) => (await post(`${peer.url}/keys`, wanted)).keys,
    }
  );
}

/**
 * Parse Server on a database that should be its own, with a class `Store` of objects with a `key` and a `value`.
 * undefined, and a word on the console, where it is not installed.
 *
 * @param {{ databaseUrl: string, folder: string }} options `folder` receives its output
 */
export async function startParseServer({ databaseUrl, folder }) {
  const [appId, masterKey] = ['bench', randomBytes(16).toString('hex')];
  const peer = await start({
    ...{ name: 'parse-server', program: 'parse-server/server.js', installedIn: 'parse-server', folder },
    env: { DATABASE_URL: databaseUrl, APP_ID: appId, MASTER_KEY: masterKey },
  });
  const headers = { 'x-parse-application-id': appId, 'x-parse-master-key': masterKey };
  return (
    peer && {
      ...peer,
      /** What each request to it carries. */
      headers,
      /**
       * What the requests of a batch answer, in their order. Throws where one of them failed or is missing: the batch
       * answers 200 even so.
       *
       * @param {{ requests: BatchRequest[], transaction?: boolean }} batch
       * @returns {Promise<{ objectId: string, value?: object }[]>}
       */
      batch: async (batch) => {
        /** @type {{ success?: { objectId: string, value?: object } }[]} */
        const answers = await post(`${peer.url}/parse/batch`, batch, headers);
        return batch.requests.map((_request, i) => {
          const success = answers[i]?.success;
          if (!success) throw new Error(`POST /parse/batch: ${JSON.stringify(answers[i])}`);
          return success;
        });
      },
    }
  );
}

/**
 * @param {object} options
 * @param {string} options.name of the package and of the peer
 * @param {string} options.program
 * @param {string} options.installedIn the folder of its package.json
 * @param {Record<string, string>} options.env
 * @param {string} options.folder
 * @returns {Promise<Peer | undefined>}
 */
async function start({ name, program, installedIn, env, folder }) {
  if (!existsSync(new URL(`${installedIn}/node_modules/${name}/package.json`, import.meta.url))) {
    const prefix = join('bench/peers', installedIn);
    console.error(`${name} is left out: it is not installed. To install it: npm ci --prefix ${prefix}`);
    return undefined;
  }
  const args = [fileURLToPath(new URL(program, import.meta.url))];
  const server = await Server.start({ name, args, env: { ...env, NODE_ENV: 'production' }, folder });
  return { url: server.url, pid: server.pid, stop: () => server.stop() };
}

/**
 * @param {string} url
 * @param {object} body
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>} what it answers, as it comes
 */
async function post(url, body, headers = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${await response.text()}`);
  return response.json();
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
