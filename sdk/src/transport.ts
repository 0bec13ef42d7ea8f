import { ConnectionError, QuartermasterError, errorOf } from './errors.js';
import { Signer, type SigningKey } from './signing.js';

/** What a request is made with; at most one of the three. */
export type Credential =
  | { key?: never; token?: never; signingKey?: never }
  /** An API key: works on `call` and `verify`. */
  | { key: string; token?: never; signingKey?: never }
  /** An access token, or a function that returns a valid one. */
  | { key?: never; token: string | (() => string | Promise<string>); signingKey?: never }
  | { key?: never; token?: never; signingKey: SigningKey };

export interface TransportOptions {
  /** Further attempts after the first. Only what cannot be done twice is repeated. Default: 2. */
  retries?: number;
  /** Milliseconds that one attempt may take. Default: 30,000. */
  timeout?: number;
  /** Replaces the global `fetch`. */
  fetch?: typeof globalThis.fetch;
}

/** A request that the server asks to wait longer for fails at once. */
const LONGEST_WAIT_MS = 30_000;

const FIRST_WAIT_MS = 200;

/** Statuses with which a proxy says that a later attempt can succeed. */
const FROM_PROXIES = [408, 429, 502, 503, 504];

/** Sends requests: adds the credential, repeats what is safe to repeat, and throws refusals. */
export class Transport {
  /** Requests with an Idempotency-Key that the server honours. */
  private readonly repeatable = new WeakSet<Request>();
  private readonly signer: Signer | undefined;
  private readonly options: Required<TransportOptions>;

  constructor(
    private readonly credential: Credential,
    { retries = 2, timeout = 30_000, fetch = globalThis.fetch }: TransportOptions,
  ) {
    this.options = { retries, timeout, fetch };
    this.signer = credential.signingKey && new Signer(credential.signingKey);
  }

  /** Makes a request safe to repeat. Keeps an Idempotency-Key of the caller, who may repeat it too. */
  makeRepeatable(request: Request): void {
    if (!request.headers.has('idempotency-key')) {
      // Without retries the key has no use, and a request without one costs the server less.
      if (this.options.retries === 0) return;
      request.headers.set('idempotency-key', crypto.randomUUID());
    }
    this.repeatable.add(request);
  }

  /** @throws QuartermasterError, ConnectionError, or the reason of the caller's abort signal */
  async send(request: Request): Promise<Response> {
    // Firefox has no `body` of a request.
    const bytes = request.body === null ? undefined : await request.arrayBuffer();
    const body = bytes && bytes.byteLength > 0 ? bytes : undefined;
    const isSafe = request.method === 'GET' || request.method === 'HEAD' || this.repeatable.has(request);
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.attempt(request, body);
      if (outcome instanceof Response) return outcome;
      const wait = isSafe && attempt < this.options.retries ? waitAfter(outcome, attempt) : undefined;
      if (wait === undefined) throw outcome;
      await pause(wait, request.signal);
    }
  }

  private async attempt(request: Request, body: ArrayBuffer | undefined): Promise<Response | Error> {
    const { method, url, redirect, signal } = request;
    const headers = new Headers(request.headers);
    await this.authenticate(method, url, headers, body);
    // Not AbortSignal.any and AbortSignal.timeout: Node 20 can collect them before they fire.
    const attempt = new AbortController();
    const abort = (): void => {
      attempt.abort(signal.reason);
    };
    signal.throwIfAborted();
    signal.addEventListener('abort', abort, { once: true });
    const timer = setTimeout(() => {
      attempt.abort(new Error('The timeout is over'));
    }, this.options.timeout);
    try {
      const init = { method, headers, redirect, body: body ?? null, signal: attempt.signal };
      // Not as a method: browsers call `fetch` only on the global object.
      const { fetch } = this.options;
      const response = await fetch(url, init);
      if (response.status >= 400) return await errorOf(response);
      return await received(response);
    } catch (cause) {
      signal.throwIfAborted();
      return new ConnectionError(`No answer from ${new URL(url).origin}`, { cause });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }

  private async authenticate(method: string, url: string, headers: Headers, body?: ArrayBuffer): Promise<void> {
    const { key, token } = this.credential;
    if (key !== undefined) headers.set('x-api-key', key);
    if (token !== undefined) {
      headers.set('authorization', `Bearer ${typeof token === 'function' ? await token() : token}`);
    }
    await this.signer?.sign(method, url, headers, body);
  }
}

/** Reads JSON to its end, so that a connection that is cut in the middle counts as lost. Everything else is streamed. */
async function received(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  if (!headers.get('content-type')?.startsWith('application/json')) return response;
  return new Response(await response.arrayBuffer(), { status, statusText, headers });
}

/** Returns the milliseconds before the next attempt; undefined if a further attempt is of no use. */
function waitAfter(error: Error, attempt: number): number | undefined {
  if (!(error instanceof ConnectionError || error instanceof QuartermasterError) || !isTemporary(error))
    return undefined;
  const jittered = (FIRST_WAIT_MS * 2 ** attempt * (1 + Math.random())) / 2;
  const wait = (error.retryAfter ?? 0) * 1_000 + jittered;
  return wait > LONGEST_WAIT_MS ? undefined : wait;
}

function isTemporary(error: ConnectionError | QuartermasterError): boolean {
  if (error instanceof QuartermasterError) return error.status === 503 || error.code === 'idempotency_in_progress';
  return error.status === undefined || FROM_PROXIES.includes(error.status);
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', abort, { once: true });
  });
}
