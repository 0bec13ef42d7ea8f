import type { FastifyInstance } from 'fastify';
import { prefersHtml } from './html-page.js';
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

/** Serves `/`: redirects browsers to the console, and returns the paths of the server as JSON to programs. */
export function serveIndex(server: FastifyInstance): void {
  const index = indexOf(server.basePath);
  server.get('/', (request, reply) =>
    prefersHtml(request, reply) ? reply.redirect(`${server.basePath}/console`, 303) : reply.send(index),
  );
}
