import { UsageError, type Io } from './command.js';

export interface ApiOptions {
  url?: string;
  token?: string;
}

/** A request to the server that failed. The message is one line. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
}

interface ProblemBody {
  detail?: string;
  errors?: { pointer: string; detail: string }[];
}

/**
 * Returns the server that `--url` names; undefined if the command works on the database.
 * @throws UsageError if the address is invalid or the token is missing
 */
export function apiFrom({ variables }: Io, { url, token }: ApiOptions): Api | undefined {
  if (url === undefined) {
    if (token !== undefined) throw new UsageError('--token requires --url.');
    return undefined;
  }
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError('--url must be the address of a server, like https://example.com.');
  }
  const used = token ?? variables.QUARTERMASTER_TOKEN;
  if (used === undefined || used === '') {
    throw new UsageError('--url requires an access token: set QUARTERMASTER_TOKEN or --token.');
  }
  return new Api(url.replace(/\/+$/, ''), used);
}

/** Calls the API with an access token. */
export class Api {
  constructor(
    private readonly url: string,
    private readonly token: string,
  ) {}

  /** @returns the parsed body. @throws ApiError */
  async send<T>(method: string, path: string, body?: object): Promise<T> {
    const text = await (await this.request(method, path, body && JSON.stringify(body))).text();
    return (text === '' ? null : JSON.parse(text)) as T;
  }

  /** @param body JSON text. @throws ApiError unless the status is 2xx */
  async request(method: string, path: string, body?: string): Promise<Response> {
    const headers = {
      authorization: `Bearer ${this.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    let response: Response;
    try {
      response = await fetch(`${this.url}${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
    } catch (error) {
      const { cause } = error as { cause?: unknown };
      const reason = cause instanceof Error && cause.message !== '' ? cause.message : (error as Error).message;
      throw new ApiError(`The server at ${this.url} cannot be reached: ${reason}.`);
    }
    if (response.ok) return response;
    throw new ApiError(explain(response.status, await response.text()));
  }
}

function explain(status: number, text: string): string {
  try {
    const { detail = '', errors = [] } = JSON.parse(text) as ProblemBody;
    const fields = errors.map((error) => `${error.pointer.slice(1)} ${error.detail}`).join('; ');
    return `The server answered ${status}: ${fields === '' ? detail : `${fields}.`}`;
  } catch {
    return `The server answered ${status}, and not as Quartermaster does: check --url.`;
  }
}
