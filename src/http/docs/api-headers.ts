import type { OpenAPIObject } from '@nestjs/swagger';

/** An operation of the OpenAPI document. */
export type Operation = NonNullable<OpenAPIObject['paths'][string]['get']> & Record<`x-${string}`, unknown>;

/** A response of an operation. */
export type Response = Exclude<Operation['responses'][string], { $ref: string } | undefined>;

/** Returns the methods of a path with their operations. */
export function operationsOf(path: OpenAPIObject['paths'][string]): [method: string, operation: Operation][] {
  const { get, put, post, patch, delete: remove } = path;
  return Object.entries({ get, put, post, patch, delete: remove }).filter(
    (entry): entry is [string, Operation] => entry[1] !== undefined,
  );
}

const header = (description: string, example: string, required = false) =>
  ({ description, required, schema: { type: 'string' }, example }) as const;

/** Every response header, except those of HTTP itself. */
export const HEADERS = {
  'X-Request-Id': header(
    'The id of the request, also in the log. Sent by the client or generated',
    '7f3a90c1-2b',
    true,
  ),
  Link: header('The next page (RFC 8288). Missing on the last page', '</v1/tasks?cursor=2Zk4>; rel="next"'),
  Location: header('The path of the new object', '/v1/tasks/019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c', true),
  ETag: header('The version of the object', '"42"'),
  'Idempotency-Replayed': header('`true`: this is the stored response to an earlier request', 'true'),
  'RateLimit-Policy': header('Every limit that was checked: amount, and window in seconds', '"day";q=1000;w=86400'),
  RateLimit: header('Units remaining of each limit, and the seconds until it resets', '"day";r=42;t=3600'),
  'Retry-After': header('Seconds after which a retry can succeed', '1'),
  'WWW-Authenticate': header('The challenge (RFC 6750)', 'Bearer realm="quartermaster"', true),
  'Accept-Signature': header('With `invalid_signature`: how to sign (RFC 9421)', 'sig=("@method" "@path");created'),
  'Set-Cookie': header(
    'The cookie `qm_refresh` with the refresh token (HttpOnly, SameSite=Strict), or its deletion',
    'qm_refresh=qmr_AZ2lYs0S; Max-Age=2592000; Path=/v1/auth; HttpOnly; SameSite=Strict',
  ),
  'Content-Disposition': header('The name of the file', 'attachment; filename="usage.csv"', true),
} as const;

/** Returns references to the shared header definitions. */
export function headers(...names: (keyof typeof HEADERS)[]): NonNullable<Response['headers']> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** Adds headers to the responses of an operation whose status passes `isMeant`. */
function addHeaders(operation: Operation, isMeant: (status: string) => boolean, added: Response['headers']): void {
  for (const [status, response] of Object.entries(operation.responses)) {
    if (response && !('$ref' in response) && isMeant(status)) response.headers = { ...response.headers, ...added };
  }
}

/** Marks of an operation that returns one page of a list, or that supports Idempotency-Key. */
export const PAGED_MARK = 'x-paged';
export const REPEATABLE_MARK = 'x-repeatable';

/** Documents the headers that many operations share. */
export function documentHeaders(operation: Operation): void {
  const isSuccess = (status: string): boolean => /^(2|default)/.test(status);
  if (operation[PAGED_MARK] === true) addHeaders(operation, isSuccess, headers('Link'));
  if (operation[REPEATABLE_MARK] === true) addHeaders(operation, isSuccess, headers('Idempotency-Replayed'));
  addHeaders(operation, (status) => status === '201', headers('Location'));
  addHeaders(operation, () => true, headers('X-Request-Id'));
  for (const mark of [PAGED_MARK, REPEATABLE_MARK]) Reflect.deleteProperty(operation, mark);
}
