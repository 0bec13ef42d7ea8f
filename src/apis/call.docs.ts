import type { OpenAPIObject } from '@nestjs/swagger';
import { ACCESS_MARK } from '../http/caller/access.js';
import { markOf } from '../http/docs/api-docs.js';
import { REPEATABLE_MARK, headers, type Operation } from '../http/docs/api-headers.js';
import type { ProblemCode } from '../common/problem.js';
import { IDEMPOTENCY_KEY } from '../idempotency/idempotent.js';

type Paths = OpenAPIObject['paths'];

export const DOCUMENTED_METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

/** Codes of every request that spends with a key, besides `quota_exceeded`. */
export const SPEND_REFUSALS: ProblemCode[] = [
  'unauthenticated',
  'invalid_api_key',
  'account_disabled',
  'not_found',
  'scope_denied',
  'idempotency_in_progress',
  'idempotency_key_reused',
  'overloaded',
  'database_unavailable',
];

/** The OpenAPI operations of `/call`. Its routes are outside Nest (see call.route.ts). */
export function callPaths(): Paths {
  return {
    '/call/{slug}': pathOf('', []),
    '/call/{slug}/{path}': pathOf('_below', [
      {
        ...{ name: 'path', in: 'path', required: true, schema: { type: 'string' } },
        description: 'The rest of the path: forwarded to the upstream of the API, if it has one',
        example: 'search',
      },
    ]),
  };
}

function pathOf(suffix: string, parameters: NonNullable<Operation['parameters']>): Paths[string] {
  return Object.fromEntries(DOCUMENTED_METHODS.map((method) => [method, operationOf(method, suffix, parameters)]));
}

function operationOf(
  method: (typeof DOCUMENTED_METHODS)[number],
  suffix: string,
  parameters: NonNullable<Operation['parameters']>,
): Operation {
  return {
    operationId: `Calls_${method}${suffix}`,
    summary: 'Call a metered API: spends one unit and returns its fixed text or the response of its upstream',
    description:
      'Any other method works as well. The response of an upstream is returned with its status, headers and body.',
    tags: ['Calls'],
    security: [{ key: [] }],
    [ACCESS_MARK]: { kind: 'key' },
    [REPEATABLE_MARK]: true,
    parameters: [
      { name: 'slug', in: 'path', required: true, schema: { type: 'string' } },
      ...parameters,
      { ...IDEMPOTENCY_KEY, in: 'header', schema: { type: 'string', maxLength: 255 } },
    ],
    ...(['post', 'put', 'patch'].includes(method) ? { requestBody: BODY } : {}),
    responses: {
      200: {
        description: 'The fixed text of the API, or the response of its upstream',
        headers: headers('RateLimit-Policy', 'RateLimit'),
        content: { 'text/plain': { schema: { type: 'string' }, example: 'API1' }, '*/*': { schema: {} } },
      },
      default: { description: 'The response of the upstream', content: { '*/*': { schema: {} } } },
    },
    ...Object.fromEntries(SPEND_REFUSALS.map((code) => markOf(code))),
    ...Object.fromEntries([markOf('upstream_failed'), markOf('quota_exceeded', 429)]),
  };
}

/** Forwarded to the upstream without being read. */
const BODY: NonNullable<Operation['requestBody']> = {
  description: 'For the upstream of the API, if it has one: any media type',
  required: false,
  content: { '*/*': { schema: {} } },
};
