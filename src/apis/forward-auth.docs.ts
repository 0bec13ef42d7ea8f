import type { OpenAPIObject } from '@nestjs/swagger';
import { ACCESS_MARK } from '../http/caller/access.js';
import { markOf } from '../http/docs/api-docs.js';
import { FORWARDED_MARK, REPEATABLE_MARK, headers, type Operation } from '../http/docs/api-headers.js';
import { IDEMPOTENCY_KEY } from '../idempotency/idempotent.js';
import { DOCUMENTED_METHODS, SPEND_REFUSALS } from './call.docs.js';
import { DENY_STATUSES } from './forward-auth.dto.js';
import { MAX_COST } from './verify.dto.js';

type Parameters = NonNullable<Operation['parameters']>;

const QUERY: Parameters = [
  {
    ...{ name: 'api', in: 'query', required: false, schema: { type: 'string', maxLength: 64 } },
    description: 'The slug of the API. Required, unless the gateway sends it as `X-Quartermaster-Api`',
  },
  {
    ...{ name: 'cost', in: 'query', required: false },
    schema: { type: 'integer', minimum: 1, maximum: MAX_COST, default: 1 },
    description: 'The units that the request costs',
  },
  {
    ...{ name: 'denyStatus', in: 'query', required: false },
    schema: { type: 'integer', enum: DENY_STATUSES.map(Number) },
    description: 'Replaces the statuses 402 and 429, for gateways that do not understand them (nginx)',
  },
];

const HEADERS: Parameters = [
  header('X-Quartermaster-Api', 'The slug of the API, if the query has none. The gateway must replace it'),
  header('X-Forwarded-Method', 'The method of the client. With an Idempotency-Key, another method is another request'),
  header('X-Forwarded-Uri', 'The URI of the client. With an Idempotency-Key, another URI is another request'),
  { ...IDEMPOTENCY_KEY, in: 'header', schema: { type: 'string', maxLength: 255 } },
];

function header(name: string, description: string): Parameters[number] {
  return { name, in: 'header', required: false, schema: { type: 'string' }, description };
}

/** The OpenAPI operations of `/v1/forward-auth`. Its routes are outside Nest (see forward-auth.route.ts). */
export function forwardAuthPaths(): OpenAPIObject['paths'] {
  const below: Parameters = [
    {
      ...{ name: 'path', in: 'path', required: true, schema: { type: 'string' } },
      description: 'The path of the client, which some gateways append. Ignored, like the query',
      example: 'search',
    },
  ];
  return {
    '/v1/forward-auth': pathOf('', [...QUERY, ...HEADERS]),
    '/v1/forward-auth/{path}': pathOf('_below', [...below, ...HEADERS]),
  };
}

function pathOf(suffix: string, parameters: Parameters): OpenAPIObject['paths'][string] {
  const operations = DOCUMENTED_METHODS.map((method) => [method, operationOf(method + suffix, parameters)] as const);
  return Object.fromEntries(operations);
}

function operationOf(name: string, parameters: Parameters): Operation {
  return {
    operationId: `ForwardAuth_${name}`,
    summary: 'For gateways: may the key of this request call an API? Spends its units',
    description:
      'Any other method works as well. The body is not read. The response headers are for the gateway to pass on.',
    tags: ['Calls'],
    security: [{ key: [] }],
    [ACCESS_MARK]: { kind: 'key' },
    [REPEATABLE_MARK]: true,
    [FORWARDED_MARK]: true,
    parameters: structuredClone(parameters),
    responses: {
      200: {
        description: 'Granted: serve the request',
        headers: headers('RateLimit-Policy', 'RateLimit', 'X-Quartermaster-Owner', 'X-Quartermaster-Key'),
      },
    },
    ...Object.fromEntries(SPEND_REFUSALS.map((code) => markOf(code))),
    ...Object.fromEntries([markOf('quota_exceeded', 429, ...DENY_STATUSES.map(Number))]),
  };
}
