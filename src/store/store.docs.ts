import { getSchemaPath, type OpenAPIObject } from '@nestjs/swagger';
import { ACCESS_MARK, CREDENTIALS, SIGNED_IN, type AccessRule } from '../common/access.js';
import { markOf } from '../common/api-docs.js';
import { PAGED_MARK, REPEATABLE_MARK, type Operation } from '../common/api-headers.js';
import type { ProblemCode } from '../common/problem.js';
import { IDEMPOTENCY_KEY } from '../idempotency/idempotent.js';
import { MAX_TTL_SECONDS } from './store-body.js';
import {
  DeleteDto,
  DeleteResponse,
  PutResponse,
  ReadDto,
  ReadResponse,
  StorePage,
  WriteDto,
  WriteResponse,
} from './store.dto.js';

type Paths = OpenAPIObject['paths'];
type Parameter = NonNullable<Operation['parameters']>[number];
type Model = Parameters<typeof getSchemaPath>[0];

const parameter = (where: 'query' | 'header', name: string, description: string, schema: object = { type: 'string' }) =>
  ({ name, in: where, required: false, description, schema }) as Parameter;

const OWNER = parameter('query', 'owner', 'Administrators only: the owner of the store (id, username or e-mail)');
const KEY: Parameter = {
  ...{ name: 'key', in: 'path', required: true, schema: { type: 'string' } },
  description: '1 to 512 bytes of UTF-8. Write a `/` of the key as `%2F` in the URL',
  example: 'carts/17',
};
const IF_MATCH = parameter(
  'header',
  'If-Match',
  'Proceed only if the stored version has this ETag; `*`: only if the entry exists',
);
const IF_NONE_MATCH = parameter(
  'header',
  'If-None-Match',
  'Proceed only if the stored version does not have this ETag; `*`: only if the entry does not exist',
);
const ETAG = {
  ETag: { required: true, description: 'The version of the entry', schema: { type: 'string', example: '"42"' } },
} as const;
const VALUE = { schema: { description: 'Any JSON' }, example: { items: ['tea', 'sugar'], total: 12.5 } };

const answer = (description: string, model: Model, headers = {}) => ({
  description,
  headers,
  content: { 'application/json': { schema: { $ref: getSchemaPath(model) } } },
});

function operationOf(
  name: string,
  summary: string,
  {
    fails,
    ...rest
  }: Pick<Operation, 'responses' | 'parameters' | 'requestBody'> &
    Partial<Record<`x-${string}`, unknown>> & { fails: ProblemCode[] },
): Operation {
  return {
    operationId: `Store_${name}`,
    summary,
    tags: ['Store'],
    security: CREDENTIALS,
    ...rest,
    [ACCESS_MARK]: { kind: 'owned', reach: 'objects' } satisfies AccessRule,
    ...Object.fromEntries([...SIGNED_IN, ...fails].map((code) => markOf(code))),
  };
}

function batchOf(
  name: string,
  summary: string,
  body: Model,
  result: Model,
  more: Partial<Record<`x-${string}`, unknown>> & { fails: ProblemCode[]; parameters?: Parameter[] },
) {
  return {
    post: operationOf(name, summary, {
      requestBody: { required: true, content: { 'application/json': { schema: { $ref: getSchemaPath(body) } } } },
      responses: { 200: answer('The result', result) },
      ...more,
      fails: ['forbidden', 'not_found', ...more.fails],
    }),
  };
}

/** The OpenAPI operations of the store. Its routes are outside Nest (see store.route.ts). */
export function storePaths(): Paths {
  return {
    '/v1/store': {
      get: operationOf('list', 'List keys in order, optionally with their values', {
        [PAGED_MARK]: true,
        parameters: [
          parameter('query', 'limit', 'The maximum number of items', {
            type: 'integer',
            minimum: 1,
            maximum: 100,
            default: 50,
          }),
          parameter('query', 'cursor', '`nextCursor` of the previous page'),
          parameter('query', 'prefix', 'List only keys that begin with this text'),
          parameter('query', 'values', 'Whether to include the values', { type: 'boolean', default: false }),
          {
            ...OWNER,
            description: 'Administrators only: the owner of the store (id, username or e-mail), or `*` for all stores',
          },
        ],
        responses: { 200: answer('One page', StorePage) },
        fails: ['validation_failed', 'forbidden', 'not_found'],
      }),
    },
    '/v1/store/write': batchOf(
      'write',
      'Write up to 1,000 entries and return a result for each',
      WriteDto,
      WriteResponse,
      {
        [REPEATABLE_MARK]: true,
        parameters: [{ ...IDEMPOTENCY_KEY, in: 'header', schema: { type: 'string', maxLength: 255 } }],
        fails: ['version_mismatch', 'quota_exceeded', 'idempotency_in_progress', 'idempotency_key_reused'],
      },
    ),
    '/v1/store/read': batchOf('read', 'Read up to 1,000 entries in one snapshot', ReadDto, ReadResponse, {
      fails: ['keys_not_found', 'body_too_large'],
    }),
    '/v1/store/delete': batchOf(
      'delete',
      'Delete up to 1,000 entries and release their quota',
      DeleteDto,
      DeleteResponse,
      {
        fails: [],
      },
    ),
    '/v1/store/{key}': {
      get: operationOf('get', 'Read a value exactly as it was written', {
        parameters: [KEY, OWNER, IF_MATCH, IF_NONE_MATCH],
        responses: {
          200: { description: 'The value', headers: ETAG, content: { 'application/json': VALUE } },
          304: { description: 'The stored version is one that `If-None-Match` names', headers: ETAG },
        },
        fails: ['forbidden', 'not_found', 'version_mismatch'],
      }),
      put: operationOf('put', 'Write the request body as the value', {
        parameters: [
          KEY,
          parameter('query', 'ttl', 'Seconds until the entry expires; without it, the entry never expires', {
            type: 'integer',
            minimum: 1,
            maximum: MAX_TTL_SECONDS,
          }),
          ...[OWNER, IF_MATCH, IF_NONE_MATCH],
        ],
        requestBody: { required: true, content: { 'application/json': VALUE } },
        responses: {
          200: answer('Replaced', PutResponse, ETAG),
          201: answer('Created', PutResponse, ETAG),
        },
        fails: ['forbidden', 'not_found', 'version_mismatch', 'quota_exceeded'],
      }),
      delete: operationOf('delete_one', 'Delete an entry and release its quota', {
        parameters: [KEY, OWNER, IF_MATCH, IF_NONE_MATCH],
        responses: { 204: { description: 'Deleted' } },
        fails: ['forbidden', 'not_found', 'version_mismatch'],
      }),
    },
  };
}
