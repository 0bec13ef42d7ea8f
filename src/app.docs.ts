import { createHash } from 'node:crypto';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import { callPaths } from './apis/call.docs.js';
import { documentProblems, markOf, operationsOf } from './common/api-docs.js';
import { documentTag, matchesTag } from './common/etag.js';
import { documentLocation } from './common/location.js';
import { addVary } from './common/vary.js';
import { storePaths } from './store/store.docs.js';
import { STORE_MODELS } from './store/store.dto.js';
import { VERSION } from './version.js';

const DESCRIPTION = `Accounts and sign-in, exact quotas, metered APIs, tasks paid with credits, owned resources, a JSON store, and the
metrics of all of it.

**To try it here**: run \`POST /v1/auth/login\` below; this page then signs its requests with the token it got.
Every refusal is \`application/problem+json\` (RFC 9457) with a stable \`code\`.`;

const SIGNATURE = `A signature by RFC 9421 in place of a token: \`Signature-Input\` and \`Signature\`, and \`Content-Digest\` (RFC 9530) where
there is a body. It covers \`@method\`, \`@authority\`, \`@path\`, \`@query\` where there is one, and \`content-digest\` where there is
a body, with the parameters \`created\`, \`nonce\` (used once), \`keyid\` (the id of a signing key) and \`alg="ed25519"\`.`;

/** What the parameters of paths stand for. */
const PATH_PARAMETERS: Record<string, { description: string; example: string }> = {
  user: { description: 'An id, a username, an e-mail, or `me`', example: 'me' },
  meter: {
    description:
      'What is counted: resources, tasks, store.entries, store.bytes, api:<slug>, or api:* for the calls of all APIs',
    example: 'resources',
  },
  slug: { description: 'The name in addresses', example: 'api1' },
  id: { description: 'An id (UUIDv7)', example: '019aa5d2-7c1e-7b1a-9d54-3f0f5a1f2b3c' },
};

/** The OpenAPI document of the whole API. Takes tens of milliseconds: made when first asked for, not at the start. */
export function openApiDocument(app: NestFastifyApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setTitle('Quartermaster')
    .setDescription(DESCRIPTION)
    .setVersion(VERSION)
    .setLicense('MIT', 'https://opensource.org/license/mit')
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
    .addTag('Platform', 'Settings and bounds of the whole')
    .addTag('Metrics', 'What everyone used')
    .addTag('Health', 'For whoever watches over the server')
    .addBearerAuth({ type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token' })
    .addSecurity('signature', {
      // OpenAPI has no type for it; this page cannot sign.
      ...{ type: 'apiKey', in: 'header', name: 'Signature' },
      description: SIGNATURE,
    })
    .addApiKey({ type: 'apiKey', in: 'header', name: 'X-API-Key', description: 'An API key' }, 'key')
    .build();
  const document = SwaggerModule.createDocument(app, config, {
    extraModels: STORE_MODELS,
    operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}_${method}`,
  });
  for (const { patch, put, delete: remove } of Object.values(document.paths)) {
    // Also where an object has no `ETag`: then no tag matches.
    const changes = [patch, put, remove].filter((operation) => operation !== undefined);
    for (const operation of changes) Object.assign(operation, Object.fromEntries([markOf('version_mismatch')]));
  }
  Object.assign(document.paths, callPaths(), storePaths());
  for (const path of Object.values(document.paths)) {
    for (const operation of operationsOf(path)) {
      for (const parameter of operation.parameters ?? []) {
        if ('in' in parameter && parameter.in === 'path') Object.assign(parameter, PATH_PARAMETERS[parameter.name]);
      }
      documentTag(operation, operation === path.get);
      documentLocation(operation);
      documentProblems(operation);
    }
  }
  return document;
}

/**
 * Runs in the browser, which gets its text: a sign-in made on the page signs the page in. Must use nothing from here.
 */
function signInFromThePage(response: { url: string; ok: boolean; body?: { accessToken?: string } }): unknown {
  const page = globalThis as unknown as { ui?: { preauthorizeApiKey(scheme: string, token: string): void } };
  const token = response.body?.accessToken;
  if (response.ok && token && /\/v1\/auth\/(login|refresh)$/.test(response.url)) {
    page.ui?.preauthorizeApiKey('bearer', token);
  }
  return response;
}

/** Serves Swagger UI at /docs and the document at /openapi.json. */
export function serveDocs(app: NestFastifyApplication, server: FastifyInstance): void {
  // The page fetches the document: its script would be as large, and packed anew for each who asks.
  SwaggerModule.setup('docs', app, () => null as unknown as OpenAPIObject, {
    raw: false,
    swaggerUrl: '/openapi.json',
    customSiteTitle: 'Quartermaster API',
    swaggerOptions: {
      persistAuthorization: true,
      displayRequestDuration: true,
      tryItOutEnabled: true,
      responseInterceptor: signInFromThePage,
    },
  });
  let packed: PackedDocument | undefined;
  server.get('/openapi.json', { compress: false }, (request, reply) => {
    packed ??= pack(openApiDocument(app));
    const { etag, codings } = packed;
    addVary(reply, 'accept-encoding');
    reply.headers({ etag, 'cache-control': 'no-cache' }).type('application/json; charset=utf-8');
    if (matchesTag(request.headers['if-none-match'] ?? '', etag)) return reply.code(304).send();
    const accepted = request.headers['accept-encoding'] ?? '';
    const [coding, bytes] = codings.find(([name]) => name === '' || isAccepted(accepted, name)) ?? [
      '',
      Buffer.alloc(0),
    ];
    if (coding !== '') reply.header('content-encoding', coding);
    return reply.send(bytes);
  });
}

/** The document as it is sent: half a megabyte that anyone may ask for, so it is written and packed once. */
interface PackedDocument {
  etag: string;
  /** By the name of the coding, the best first, and last without any. */
  codings: [name: string, bytes: Buffer][];
}

function pack(document: OpenAPIObject): PackedDocument {
  const plain = Buffer.from(JSON.stringify(document));
  return {
    etag: `W/"${createHash('sha1').update(plain).digest('base64url')}"`,
    codings: [
      ['br', brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })],
      ['gzip', gzipSync(plain)],
      ['', plain],
    ],
  };
}

/** RFC 9110, section 12.5.3: named, and not with a weight of nothing. */
function isAccepted(header: string, coding: string): boolean {
  return header.split(',').some((each) => {
    const [name = '', ...parameters] = each.toLowerCase().split(';');
    return name.trim() === coding && !parameters.some((parameter) => /^ *q *= *0(\.0*)? *$/.test(parameter));
  });
}
