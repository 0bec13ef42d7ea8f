import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { callPaths } from './apis/call.docs.js';
import { documentAccess } from './common/access.js';
import { documentProblems, markOf } from './common/api-docs.js';
import { HEADERS, documentHeaders, operationsOf, type Operation } from './common/api-headers.js';
import { documentTag } from './common/etag.js';
import { storePaths } from './store/store.docs.js';
import { STORE_MODELS } from './store/store.dto.js';
import { VERSION } from './version.js';

const DESCRIPTION = `Accounts and sign-in, exact quotas, metered APIs, tasks paid with credits, owned resources, a JSON store, and the
metrics of all of it.

Every refusal is \`application/problem+json\` (RFC 9457) with a stable \`code\`.`;

const SIGNATURE = `A signature by RFC 9421 in place of a token: \`Signature-Input\` and \`Signature\`, and \`Content-Digest\` (RFC 9530) where
there is a body. It covers \`@method\`, \`@authority\`, \`@path\`, \`@query\` where there is one, and \`content-digest\` where there is
a body, with the parameters \`created\`, \`nonce\` (used once), \`keyid\` (the id of a signing key) and \`alg="ed25519"\`.`;

/** The OpenAPI document of the whole API. Takes tens of milliseconds: made when first asked for, not at the start. */
export function openApiDocument(app: NestFastifyApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Quartermaster')
    .setDescription(DESCRIPTION)
    .setVersion(VERSION)
    .setLicense('MIT', 'https://opensource.org/license/mit')
    .addServer('/', 'The server that this document comes from')
    .addTag('Sign-in', 'Registration, sign-in, sessions')
    .addTag('Users', 'Accounts: one’s own, and all for administrators')
    .addTag('Quotas', 'How much a user may use, and has used')
    .addTag('Plans', 'Limits that users share')
    .addTag('Keys', 'API keys: scopes, limits, rotation')
    .addTag('APIs', 'The catalogue of metered APIs')
    .addTag('Calls', 'Metered calls with an API key')
    .addTag('Tasks', 'Work that holds credits, and the credits')
    .addTag('Resources', 'Texts that belong to users, as many as the quota allows')
    .addTag('Store', 'JSON values under keys, in batches and one by one')
    .addTag('Platform', 'Settings and bounds of the whole platform')
    .addTag('Metrics', 'What everyone used')
    .addTag('Audit', 'Who changed what')
    .addTag('Health', 'For programs that monitor the server')
    .addBearerAuth({ type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' })
    .addSecurity('signature', {
      // OpenAPI has no type for it; Swagger UI cannot sign.
      ...{ type: 'apiKey', in: 'header', name: 'Signature' },
      description: SIGNATURE,
    })
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key' }, 'key')
    .build();
  const document = SwaggerModule.createDocument(app, config, {
    extraModels: STORE_MODELS,
    operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}_${method}`,
  });
  const examples = {};
  document.components = { ...document.components, headers: { ...HEADERS }, examples };
  for (const { patch, put, delete: remove } of Object.values(document.paths)) {
    // Also where an object has no `ETag`: then no tag matches.
    const changes = [patch, put, remove].filter((operation) => operation !== undefined);
    for (const operation of changes) Object.assign(operation, Object.fromEntries([markOf('version_mismatch')]));
  }
  Object.assign(document.paths, callPaths(), storePaths());
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
 * Gives the parameters of a path an example each that does no harm when it is sent. Optional parameters have none: Swagger
 * UI would send them.
 */
function documentParameters(operation: Operation, path: string, method: string): void {
  for (const parameter of operation.parameters ?? []) {
    if (!('in' in parameter)) continue;
    if (parameter.in === 'path') Object.assign(parameter, PATH_PARAMETERS[parameter.name]?.(path, method));
    else if (parameter.schema) Reflect.deleteProperty(parameter.schema, 'example');
  }
}

type Described = NonNullable<Extract<NonNullable<Operation['parameters']>[number], { in: string }>>;

/** By name. An administrator who sends a prefilled request must not change or delete their own account by it. */
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
    description: 'The name in addresses',
    example: path.startsWith('/v1/plans') ? 'free' : path.startsWith('/call') || method === 'get' ? 'api1' : 'maps',
  }),
  id: () => ({
    description: 'An id (UUIDv7)',
    example: '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c',
    schema: { type: 'string', format: 'uuid' },
  }),
};
