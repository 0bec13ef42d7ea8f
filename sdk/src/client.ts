import createClient, {
  type Client,
  type ClientPathsWithMethod,
  type FetchResponse,
  type MaybeOptionalInit,
} from 'openapi-fetch';
import { ConnectionError } from './errors.js';
import { REPEATABLE } from './repeatable.js';
import type { components, paths } from './schema.js';
import { Transport, type Credential, type TransportOptions } from './transport.js';

export type QuartermasterOptions = TransportOptions &
  Credential & {
    /** The address of the server, with its BASE_PATH if it has one. */
    url: string;
  };

type Json = 'application/json';

/** What a method returns: the body of the success response. */
type Data<Operation extends Record<string | number, unknown>, Init> = Extract<
  FetchResponse<Operation, Init, `${string}/${string}`>,
  { data: unknown }
>['data'];

type HttpMethod = 'get' | 'post' | 'put' | 'patch' | 'delete';

type Method<M extends HttpMethod> = <
  P extends ClientPathsWithMethod<Client<paths>, M>,
  I extends MaybeOptionalInit<paths[P], M>,
>(
  path: P,
  ...init: undefined extends I ? [I?] : [I]
) => Promise<Data<paths[P][M] & Record<string | number, unknown>, I>>;

interface ListOf<T> {
  get: { responses: { 200: { content: Record<Json, { data: T[]; nextCursor: string | null }> } } };
}

/** The paths of lists. */
export type ListPath = { [P in keyof paths]: paths[P] extends ListOf<unknown> ? P : never }[keyof paths];

/** An item of a list. */
export type ItemOf<P extends ListPath> = paths[P] extends ListOf<infer T> ? T : never;

export type VerifyRequest = components['schemas']['VerifyDto'];

export type Verdict = components['schemas']['VerifyResponse'];

/** Options of `call`. */
export interface CallOptions {
  method?: string;
  /** The rest of the path, from its `/` on, with the query. */
  path?: string;
  headers?: Record<string, string>;
  body?: string | ArrayBuffer | Uint8Array<ArrayBuffer>;
  signal?: AbortSignal;
  /**
   * Whether to repeat the call after a lost connection, with the same Idempotency-Key. Default: for GET and HEAD only. Safe
   * for an API that answers a fixed text. An upstream gets each attempt, and each is a unit.
   */
  repeat?: boolean;
}

/** A client of one server. Every method throws QuartermasterError for a refusal, and ConnectionError without an answer. */
export class Quartermaster {
  readonly get: Method<'get'>;
  readonly post: Method<'post'>;
  readonly put: Method<'put'>;
  readonly patch: Method<'patch'>;
  readonly delete: Method<'delete'>;
  private readonly transport: Transport;
  private readonly api: Client<paths>;
  private readonly url: string;

  constructor(options: QuartermasterOptions) {
    this.url = options.url.replace(/\/$/, '');
    this.transport = new Transport(options, options);
    this.api = createClient<paths>({ baseUrl: this.url, fetch: (request) => this.transport.send(request) });
    this.api.use({
      onRequest: ({ request, schemaPath }) => {
        if (request.method === 'POST' && REPEATABLE.has(schemaPath)) this.transport.makeRepeatable(request);
      },
    });
    this.get = this.method('GET') as Method<'get'>;
    this.post = this.method('POST') as Method<'post'>;
    this.put = this.method('PUT') as Method<'put'>;
    this.patch = this.method('PATCH') as Method<'patch'>;
    this.delete = this.method('DELETE') as Method<'delete'>;
  }

  /** Iterates over all items of a list, page by page. */
  async *list<P extends ListPath>(
    path: P,
    init: { params?: object; signal?: AbortSignal } = {},
  ): AsyncGenerator<ItemOf<P>, void, undefined> {
    const { query = {}, ...params } = (init.params ?? {}) as { query?: object };
    let cursor: string | null | undefined;
    do {
      const page = { ...init, params: { ...params, query: { ...query, ...(cursor ? { cursor } : {}) } } };
      const { data, nextCursor } = (await this.get(path as never, page as never)) as unknown as {
        data: ItemOf<P>[];
        nextCursor: string | null;
      };
      yield* data;
      cursor = nextCursor;
    } while (cursor !== null);
  }

  /** Checks an API key that a client sent to you, and spends units. A denial is not an error: see `allowed`. */
  verify(body: VerifyRequest, init: { signal?: AbortSignal } = {}): Promise<Verdict> {
    return this.post('/v1/verify', { ...init, body });
  }

  /** Calls a metered API with the `key` of this client, and returns the response of the API, which may be a redirect. */
  call(slug: string, { path = '', repeat, ...init }: CallOptions = {}): Promise<Response> {
    const request = new Request(`${this.url}/call/${encodeURIComponent(slug)}${path}`, { ...init, redirect: 'manual' });
    if (repeat ?? ['GET', 'HEAD'].includes(request.method)) this.transport.makeRepeatable(request);
    return this.transport.send(request);
  }

  /** Reads a value of the store as its JSON text. Numbers keep every digit, which `JSON.parse` would round. */
  readText(key: string, init: { params?: { query?: { owner?: string } }; signal?: AbortSignal } = {}): Promise<string> {
    const query = init.params?.query ?? {};
    return this.get('/v1/store/{key}', { ...init, params: { path: { key }, query }, parseAs: 'text' });
  }

  /** Writes a JSON text as a value of the store. */
  writeText(
    key: string,
    text: string,
    init: { params?: { query?: { owner?: string; ttl?: number } }; signal?: AbortSignal } = {},
  ): Promise<components['schemas']['PutResponse']> {
    const query = init.params?.query ?? {};
    const headers = { 'content-type': 'application/json' };
    return this.put('/v1/store/{key}', {
      ...{ ...init, params: { path: { key }, query }, headers, body: text as never },
      bodySerializer: (body: unknown) => body as string,
    });
  }

  private method(name: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE') {
    return async (path: string, init?: object): Promise<unknown> => {
      const send = this.api[name] as unknown as (path: string, init?: object) => Promise<{ data: unknown }>;
      try {
        return (await send(path, init)).data;
      } catch (cause) {
        if (!(cause instanceof SyntaxError)) throw cause;
        throw new ConnectionError(`The answer to ${name} ${path} is not JSON`, { cause });
      }
    };
  }
}
