import type { FastifyInstance } from 'fastify';
import { prefersHtml } from './html-page.js';
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

/** Serves `/`: redirects browsers to the console, and returns the paths of the server as JSON to programs. */
export function serveIndex(server: FastifyInstance): void {
  server.get('/', (request, reply) =>
    prefersHtml(request, reply) ? reply.redirect(INDEX.console, 303) : reply.send(INDEX),
  );
}
