import Router from 'find-my-way';
import { operationsIn } from './operations.js';
import { ResponseSchemas } from './response-schemas.js';

/**
 * What answers are held against: found by method and path, compiled as it is needed.
 * @typedef {object} Contract
 * @property {(method: string, path: string) => import('./operations.js').Operation | undefined} operationOf
 * @property {ResponseSchemas} schemas
 */

/** @type {Promise<Contract> | undefined} */
let contract;

/**
 * The contract of the servers of a run, which are one build: read once in each of Jest's processes.
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
      // The router matches an empty last segment, which is not served.
      return match && !Object.values(match.params).includes('') ? match.store : undefined;
    },
    schemas: new ResponseSchemas(document),
  };
}
