import createClient from 'openapi-fetch';
import { ApiProblem } from './problem';
import type { paths } from '../../../sdk/src/schema';
import { refresh, session, signedInAgain } from './session';
import { keepRequest } from './sent-requests';
import { send } from './transport';
import { SERVER_URL } from '../base-path';

/** Codes of a 401 that a new access token can mend. */
const SESSION_CODES = ['unauthenticated', 'invalid_token'];

/**
 * Sends a request as the signed-in user. If the access token has expired it is refreshed; if the session has ended, the
 * request waits until the user has signed in again. Then the request is repeated.
 * @throws ApiProblem if the response is not a success; ServerUnreachable if none arrives
 */
async function sendAsUser(request: Request): Promise<Response> {
  for (;;) {
    const token = accessToken();
    const attempt = request.clone();
    if (token !== undefined) attempt.headers.set('authorization', `Bearer ${token}`);
    const response = await send(attempt);
    keepRequest(request, response.status);
    if (response.ok) return response;
    const problem = await ApiProblem.from(response);
    if (problem.status !== 401 || !SESSION_CODES.includes(problem.code)) throw problem;
    // Another request may have refreshed the token meanwhile.
    if (accessToken() !== token || (await refresh())) continue;
    if (session.get().state !== 'ended') throw problem;
    await signedInAgain(request.signal);
  }
}

function accessToken(): string | undefined {
  const now = session.get();
  return now.state === 'signed-in' ? now.accessToken : undefined;
}

/** The API, typed from docs/openapi.json. Use it through `answer()` or `tagged()`. */
export const api = createClient<paths>({ baseUrl: SERVER_URL, fetch: sendAsUser });
