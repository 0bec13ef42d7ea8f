import type { Answer } from './answer.js';

/**
 * Throws if the status, code, headers or body of a response differ from the document. Responses of undocumented paths
 * pass.
 * @param url of the server that responded
 */
export async function expectDocumented(
  url: string,
  { method, path, hasBody }: { method: string; path: string; hasBody: boolean },
  answer: Answer,
): Promise<void> {
  const { operationOf, schemas } = await contractOf(process.env.TEST_SERVER_URL ?? url);
  const operation = operationOf(method, path.replace(/[?#].*$/s, ''));
  const fault = operation && schemas.faultOf(operation, answer, hasBody);
  if (fault === undefined) return;
  const shown = `${String(answer.status)} ${JSON.stringify([...answer.headers])} ${answer.text.slice(0, 1_000)}`;
  throw new Error(`/openapi.json does not document this answer to ${method} ${path}: ${fault}\n${shown}`);
}
