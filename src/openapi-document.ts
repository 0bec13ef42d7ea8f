import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { callPaths } from './apis/call.docs.js';
import { forwardAuthPaths } from './apis/forward-auth.docs.js';
import { documentAccess } from './http/caller/access.js';
import { documentProblems, markOf } from './http/docs/api-docs.js';
import { HEADERS, documentHeaders, operationsOf, type Operation } from './http/docs/api-headers.js';
import { UNCONDITIONAL, documentTag } from './http/conditional/etag.js';
import { Env } from './config/env.js';
import { VERSION } from './config/version.js';

const DESCRIPTION = `Accounts and sign-in, exact quotas, metered APIs, tasks paid with credits, owned resources, a JSON store, and the
metrics of all of it.

Every error response is \`application/problem+json\` (RFC 9457) with a stable \`code\`.`;

const SIGNATURE = `An RFC 9421 signature instead of a token: \`Signature-Input\` and \`Signature\`, and \`Content-Digest\` (RFC 9530) if the
request has a body. The signature covers \`@method\`, \`@authority\`, \`@path\`, \`@query\` if there is a query, and \`content-digest\` if
there is a body. Its parameters are \`created\`, \`nonce\` (used once), \`keyid\` (the id of a signing key) and \`alg="ed25519"\`.`;

/**
 * Builds the OpenAPI document. This takes tens of milliseconds, so it happens at the first request, not at the start.
 */
export function openApiDocument(app: NestFastifyApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Quartermaster')
    .setDescription(DESCRIPTION)
    .setVersion(VERSION)
    .setLicense('MIT', 'https://opensource.org/license/mit')
    .addServer(app.get(Env).basePath || '/', 'The server that serves this document')
    .addTag('Sign-in', 'Registration, sign-in, sessions')
    .addTag('Users', 'Accounts: your own, or all for administrators')
    .addTag('Quotas', 'Limits and usage of a user')
    .addTag('Plans', 'Limits that users share')
    .addTag('Keys', 'API keys: scopes, limits, rotation')
    .addTag('APIs', 'The catalogue of metered APIs')
    .addTag('Calls', 'Metered calls with an API key')
    .addTag('Tasks', 'Tasks, which hold credits, and bonus credits')
    .addTag('Resources', 'Texts owned by users, limited by a quota')
    .addTag('Store', 'JSON values under keys, in batches and one by one')
    .addTag('Platform', 'Settings and limits of the whole platform')
    .addTag('Metrics', 'Usage of users and of the platform')
    .addTag('Audit', 'Who changed what')
    .addTag('Health', 'For programs that monitor the server')
    .addBearerAuth({ type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' })
    .addSecurity('signature', {
      // OpenAPI has no type for signatures, and Swagger UI cannot sign.
      ...{ type: 'apiKey', in: 'header', name: 'Signature' },
      description: SIGNATURE,
    })
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key' }, 'key')
    .build();
  const document = SwaggerModule.createDocument(app, config, {
    operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}_${method}`,
  });
  const examples = {};
  document.components = { ...document.components, headers: { ...HEADERS }, examples };
  for (const { post, patch, put, delete: remove } of Object.values(document.paths)) {
    // Applies also to objects without an `ETag`: no tag matches them.
    const changes = [post, patch, put, remove].filter((operation) => operation !== undefined);
    for (const operation of changes) {
      if (!(UNCONDITIONAL in operation)) Object.assign(operation, Object.fromEntries([markOf('version_mismatch')]));
      Reflect.deleteProperty(operation, UNCONDITIONAL);
    }
  }
  Object.assign(document.paths, callPaths(), forwardAuthPaths());
  for (const [path, item] of Object.entries(document.paths)) {
    for (const [method, operation] of operationsOf(item)) {
      documentParameters(operation, path, method);
      documentAccess(operation);
      documentTag(operation, method === 'get');
      documentProblems(operation, examples);
      documentHeaders(operation);
    }
  }
  return document;
}

/**
 * Gives each path parameter an example that is harmless when sent. Optional parameters have no example, because Swagger
 * UI would send it.
 */
function documentParameters(operation: Operation, path: string, method: string): void {
  for (const parameter of operation.parameters ?? []) {
    if (!('in' in parameter)) continue;
    if (parameter.in === 'path') Object.assign(parameter, PATH_PARAMETERS[parameter.name]?.(path, method));
    else if (parameter.schema) Reflect.deleteProperty(parameter.schema, 'example');
  }
}

type Described = NonNullable<Extract<NonNullable<Operation['parameters']>[number], { in: string }>>;

/** By name. A prefilled request must not change or delete the account of the administrator who sends it. */
const PATH_PARAMETERS: Record<string, (path: string, method: string) => Partial<Described>> = {
  user: (path, method) => ({
    description: 'An id, a username, an e-mail, or `me`',
    example: method === 'get' || (method === 'patch' && path.endsWith('{user}')) ? 'me' : 'grace',
  }),
  meter: (path) => ({
    description:
      'What is counted: resources, tasks, store.entries, store.bytes, api:<slug>, or api:* for the calls of all APIs',
    example: path.startsWith('/v1/users') ? 'resources' : path.startsWith('/v1/keys') ? 'api:api1' : 'api:maps',
  }),
  slug: (path, method) => ({
    description: 'The name in URLs',
    example: path.startsWith('/v1/plans') ? 'free' : path.startsWith('/call') || method === 'get' ? 'api1' : 'maps',
  }),
  key: () => ({
    description: '1 to 512 bytes of UTF-8. Write a `/` of the key as `%2F` in the URL',
    example: 'carts/17',
  }),
  id: () => ({
    description: 'An id (UUIDv7)',
    example: '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c',
    schema: { type: 'string', format: 'uuid' },
  }),
};
