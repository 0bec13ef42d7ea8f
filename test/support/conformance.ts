import Router from 'find-my-way';
import type { Answer } from './answer.js';
import { operationsIn, type Operation } from './operations.js';
import { ResponseSchemas } from './response-schemas.js';

/** What answers are held against: found by method and path, compiled as it is needed. */
interface Contract {
  operationOf: (method: string, path: string) => Operation | undefined;
  schemas: ResponseSchemas;
}

/** Of this process: the server that most tests share and those that single tests start are one build. */
let contract: Promise<Contract> | undefined;

async function readContract(url: string): Promise<Contract> {
  const document: any = await (await fetch(`${url}/openapi.json`)).json();
  const router = Router({ maxParamLength: 2_048 });
  for (const operation of operationsIn(document)) {
    const pattern = operation.path.replaceAll('{path}', '*').replaceAll(/\{(\w+)\}/g, ':$1');
    for (const method of operation.method === 'GET' ? ['GET', 'HEAD'] : [operation.method]) {
      router.on(method as 'GET', pattern, () => undefined, { ...operation, method });
    }
  }
  const operationOf = (method: string, path: string): Operation | undefined => {
    const match = router.find(method as 'GET', path);
    // The router matches an empty last segment, which is not served.
    return match && !Object.values(match.params).includes('') ? (match.store as Operation) : undefined;
  };
  return { operationOf, schemas: new ResponseSchemas(document) };
}

/**
 * Fails where an answer is not as the document says: its status, its code, its headers, its body. Answers outside of the
 * documented operations pass.
 * @param url of the server that answered
 */
export async function expectDocumented(
  url: string,
  { method, path, hasBody }: { method: string; path: string; hasBody: boolean },
  answer: Answer,
): Promise<void> {
  contract ??= readContract(process.env.TEST_SERVER_URL ?? url);
  const { operationOf, schemas } = await contract;
  const operation = operationOf(method, path.replace(/[?#].*$/s, ''));
  const fault = operation && schemas.faultOf(operation, answer, hasBody);
  if (fault === undefined) return;
  const shown = `${String(answer.status)} ${JSON.stringify([...answer.headers])} ${answer.text.slice(0, 1_000)}`;
  throw new Error(`/openapi.json does not document this answer to ${method} ${path}: ${fault}\n${shown}`);
}
