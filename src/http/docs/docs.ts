import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import fastifyStatic from '@fastify/static';
import type { OpenAPIObject } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import { PAGE, STYLE, pageDocument } from './docs-page.js';
import { SCRIPT } from './docs-script.js';
import { packText, sendPacked, type PackedText } from '../packed-text.js';

/** The files of swagger-ui-dist that the page needs. */
const FILES = /^\/(swagger-ui\.css|swagger-ui-bundle\.js|favicon-32x32\.png)$/;

/**
 * Serves the document at /openapi.json, and Swagger UI at /docs with its own reduced document.
 * @param document is called at the first request
 */
export async function serveDocs(server: FastifyInstance, document: () => OpenAPIObject): Promise<void> {
  serveDocument(server, '/openapi.json', document);
  serveDocument(server, '/docs/page.json', () => pageDocument(document()));
  for (const [path, type, text] of [
    ['/docs', 'text/html', PAGE],
    ['/docs/', 'text/html', PAGE],
    ['/docs/index.html', 'text/html', PAGE],
    ['/docs/page.css', 'text/css', STYLE],
    ['/docs/page.js', 'text/javascript', SCRIPT],
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
  let packed: PackedText | undefined;
  server.get(path, { compress: false }, (request, reply) => {
    packed ??= packText(JSON.stringify(make()));
    return sendPacked(request, reply.type('application/json; charset=utf-8'), packed);
  });
}
