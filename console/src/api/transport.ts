import { ApiProblem, ServerUnreachable } from './problem';
import { Store } from './store';
import { SERVER_URL } from '../base-path';

/** Whether the last request got a response. */
export const reachable = new Store(true);

/** Sends a request. @throws ServerUnreachable if no response arrives */
export async function send(request: Request): Promise<Response> {
  try {
    const response = await fetch(request);
    reachable.set(true);
    return response;
  } catch (error) {
    if (request.signal.aborted) throw error;
    reachable.set(false);
    throw new ServerUnreachable(error);
  }
}

/** Asks whether the server answers. @throws ServerUnreachable if it does not */
export async function probeServer(): Promise<void> {
  await send(new Request(`${SERVER_URL}/livez`, { cache: 'no-store' }));
}

/** Sends a request. @throws ApiProblem if the response is not a success; ServerUnreachable if none arrives */
export async function sendOrThrow(request: Request): Promise<Response> {
  const response = await send(request);
  // 304 cannot occur: the browser's cache answers it.
  if (!response.ok) throw await ApiProblem.from(response);
  return response;
}
