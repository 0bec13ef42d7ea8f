import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import fastifyStatic from '@fastify/static';
import type { OpenAPIObject } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import Negotiator from 'negotiator';
import { STYLE, htmlOf, pageDocument } from './docs-page.js';
import { pageScript } from './docs-script.js';
import { matchesTag } from '../conditional/etag.js';
import { addVary } from '../conditional/vary.js';

/** The files of swagger-ui-dist that the page needs. */
const FILES = /^\/(swagger-ui\.css|swagger-ui-bundle\.js|favicon-32x32\.png)$/;

/**
 * Serves the document at /openapi.json, and Swagger UI at /docs with its own reduced document.
 * @param document is called at the first request
 */
export async function serveDocs(server: FastifyInstance, document: () => OpenAPIObject): Promise<void> {
  serveDocument(server, '/openapi.json', document);
  serveDocument(server, '/docs/page.json', () => pageDocument(document(), server.basePath));
  const page = htmlOf(server.basePath);
  for (const [path, type, text] of [
    ['/docs', 'text/html', page],
    ['/docs/', 'text/html', page],
    ['/docs/index.html', 'text/html', page],
    ['/docs/page.css', 'text/css', STYLE],
    ['/docs/page.js', 'text/javascript', pageScript(server.basePath)],
  ] as const) {
    server.get(path, (_request, reply) =>
      reply.header('cache-control', 'no-cache').type(`${type}; charset=utf-8`).send(text),
    );
  }
  await server.register(fastifyStatic, {
    root: dirname(fileURLToPath(import.meta.resolve('swagger-ui-dist/package.json'))),
    prefix: '/docs/',
    ...{ decorateReply: false, index: false, allowedPath: (path: string) => FILES.test(path) },
  });
}

function serveDocument(server: FastifyInstance, path: string, make: () => OpenAPIObject): void {
  let packed: PackedDocument | undefined;
  server.get(path, { compress: false }, (request, reply) => {
    packed ??= pack(make());
    const { etag, codings } = packed;
    addVary(reply, 'accept-encoding');
    reply.headers({ etag, 'cache-control': 'no-cache' }).type('application/json; charset=utf-8');
    if (matchesTag(request.headers['if-none-match'] ?? '', etag)) return reply.code(304).send();
    // A client that accepts no coding gets the plain text.
    const coding = new Negotiator(request).encoding([...codings.keys()]) ?? 'identity';
    if (coding !== 'identity') reply.header('content-encoding', coding);
    return reply.send(codings.get(coding));
  });
}

/** The serialized document: half a megabyte that anyone can request, so it is serialized and compressed only once. */
interface PackedDocument {
  etag: string;
  /** Bodies by content coding, best first. */
  codings: Map<string, Buffer>;
}

function pack(document: OpenAPIObject): PackedDocument {
  const plain = Buffer.from(JSON.stringify(document));
  return {
    etag: `W/"${createHash('sha1').update(plain).digest('base64url')}"`,
    codings: new Map([
      ['br', brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } })],
      ['gzip', gzipSync(plain)],
      ['identity', plain],
    ]),
  };
}
