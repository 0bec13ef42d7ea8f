import type { FastifyInstance } from 'fastify';
import { htmlPage, prefersHtml } from './html-page.js';
import { VERSION } from '../config/version.js';

/** The response to programs at `/`. */
const INDEX = {
  name: 'Quartermaster',
  version: VERSION,
  docs: '/docs',
  openapi: '/openapi.json',
  console: '/console',
  health: '/readyz',
};

const PAGE = htmlPage(
  'This server is running',
  `<ul>
<li><a href="/docs">Read and try the API</a></li>
<li><a href="/openapi.json">The OpenAPI document</a>, for programs</li>
</ul>`,
);

/** Serves `/`: a page with links for browsers, and the paths of the server as JSON for programs. */
export function serveIndex(server: FastifyInstance): void {
  server.get('/', (request, reply) =>
    prefersHtml(request, reply) ? reply.headers(PAGE.headers).send(PAGE.html) : reply.send(INDEX),
  );
}
