import type { FastifyInstance } from 'fastify';
import { htmlPage, prefersHtml, type HtmlPage } from './html-page.js';
import { VERSION } from '../config/version.js';

/** The response to programs at `/`. */
const indexOf = (basePath: string): object => ({
  name: 'Quartermaster',
  version: VERSION,
  docs: `${basePath}/docs`,
  openapi: `${basePath}/openapi.json`,
  console: `${basePath}/console`,
  health: `${basePath}/readyz`,
});

const pageOf = (basePath: string): HtmlPage =>
  htmlPage(
    'This server is running',
    `<ul>
<li><a href="${basePath}/docs">Read and try the API</a></li>
<li><a href="${basePath}/openapi.json">The OpenAPI document</a>, for programs</li>
</ul>`,
  );

/** Serves `/`: a page with links for browsers, and the paths of the server as JSON for programs. */
export function serveIndex(server: FastifyInstance): void {
  const [index, page] = [indexOf(server.basePath), pageOf(server.basePath)];
  server.get('/', (request, reply) =>
    prefersHtml(request, reply) ? reply.headers(page.headers).send(page.html) : reply.send(index),
  );
}
