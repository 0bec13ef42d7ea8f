import { createHash } from 'node:crypto';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import { openApiDocument } from './app.openapi.js';
import { matchesTag } from './common/etag.js';

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
    reply
      .headers({ etag, 'cache-control': 'no-cache', vary: 'accept-encoding' })
      .type('application/json; charset=utf-8');
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
