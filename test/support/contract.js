import Router from 'find-my-way';
import { operationsIn } from './operations.js';
import { ResponseSchemas } from './response-schemas.js';

/**
 * The documented operations, found by method and path, with their response schemas.
 * @typedef {object} Contract
 * @property {(method: string, path: string) => import('./operations.js').Operation | undefined} operationOf
 * @property {ResponseSchemas} schemas
 */

/** @type {Promise<Contract> | undefined} */
let contract;

/**
 * Returns the contract, which is the same for all servers of a run. Reads it once in each Jest process.
 * @param {string} url of a server
 */
export function contractOf(url) {
  return (contract ??= readContract(url));
}

/**
 * @param {string} url
 * @returns {Promise<Contract>}
 */
async function readContract(url) {
  const document = /** @type {any} */ (await (await fetch(`${url}/openapi.json`)).json());
  const router = Router({ maxParamLength: 2_048 });
  for (const operation of operationsIn(document)) {
    const pattern = operation.path.replaceAll('{path}', '*').replaceAll(/\{(\w+)\}/g, ':$1');
    for (const method of operation.method === 'GET' ? ['GET', 'HEAD'] : [operation.method]) {
      router.on(/** @type {'GET'} */ (method), pattern, () => undefined, { ...operation, method });
    }
  }
  return {
    operationOf: (method, path) => {
      const match = router.find(/** @type {'GET'} */ (method), path);
      // The router matches an empty last segment, but the server does not.
      return match && !Object.values(match.params).includes('') ? match.store : undefined;
    },
    schemas: new ResponseSchemas(document),
  };
}
