import type { OpenAPIObject } from '@nestjs/swagger';
import { markOf } from '../common/api-docs.js';
import type { ProblemCode } from '../common/problem.js';
import { IDEMPOTENCY_KEY } from '../idempotency/idempotent.js';

type Paths = OpenAPIObject['paths'];
type Operation = NonNullable<Paths[string]['get']>;

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const;

const REFUSALS: ProblemCode[] = [
  'unauthenticated',
  'invalid_api_key',
  'account_disabled',
  'not_found',
  'scope_denied',
  'idempotency_in_progress',
  'idempotency_key_reused',
  'upstream_failed',
  'overloaded',
  'database_unavailable',
];

const header = (description: string, example: string) => ({
  description,
  schema: { type: 'string' as const, example },
});

/** The operations of `/call`, which Nest does not know of (see call.route.ts). */
export function callPaths(): Paths {
  return {
    '/call/{slug}': pathOf('', []),
    '/call/{slug}/{path}': pathOf('_below', [
      {
        ...{ name: 'path', in: 'path', required: true, schema: { type: 'string' } },
        description: 'Whatever stands below: passed on to the upstream of the API, if it has one',
        example: 'search',
      },
    ]),
  };
}

function pathOf(suffix: string, parameters: NonNullable<Operation['parameters']>): Paths[string] {
  return Object.fromEntries(METHODS.map((method) => [method, operationOf(`Calls_${method}${suffix}`, parameters)]));
}

function operationOf(operationId: string, parameters: NonNullable<Operation['parameters']>): Operation {
  return {
    operationId,
    summary: 'Call a metered API: spends a unit, and answers with its text or what its upstream answers',
    tags: ['Calls'],
    security: [{ key: [] }, { bearer: [] }],
    parameters: [
      { name: 'slug', in: 'path', required: true, schema: { type: 'string' } },
      ...parameters,
      { ...IDEMPOTENCY_KEY, in: 'header', schema: { type: 'string', maxLength: 255 } },
    ],
    responses: {
      200: {
        description: 'The answer',
        headers: {
          'RateLimit-Policy': header(
            'Every limit that was judged: its amount and its window in seconds',
            '"day";q=1000;w=86400',
          ),
          RateLimit: header('What is left of each, and the seconds until it is whole again', '"day";r=42;t=3600'),
        },
        content: { 'text/plain': { schema: { type: 'string' }, example: 'API1' } },
      },
    },
    ...Object.fromEntries(REFUSALS.map((code) => markOf(code))),
    ...Object.fromEntries([markOf('quota_exceeded', 429)]),
  };
}
