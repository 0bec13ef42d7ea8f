import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { addVary } from './conditional/vary.js';
import { declaredOptions } from './route-options.js';

const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';

/** Response headers that a script of another origin may read. */
const EXPOSED_HEADERS = [
  ...['ETag', 'Link', 'Location', 'Retry-After', 'X-Request-Id', 'RateLimit', 'RateLimit-Policy'],
  ...['Idempotency-Replayed', 'Content-Disposition', 'Allow', 'WWW-Authenticate'],
].join(', ');

/** Seconds for which a browser may cache the response to a preflight. */
const MAX_AGE = '600';

/** Adds the CORS headers to a response. */
export type AddCorsHeaders = (request: FastifyRequest, reply: FastifyReply) => void;

/**
 * Returns a function that adds the CORS headers for CORS_ORIGINS (Fetch standard, section 3.2). It runs last, so that
 * the upstream of an API cannot replace them.
 */
export function corsHeadersFor(origins: readonly string[]): AddCorsHeaders {
  if (origins.length === 0) return () => undefined;
  const allowsAny = origins.includes('*');
  return (request, reply) => {
    for (const name of Object.keys(reply.getHeaders())) {
      if (name.startsWith('access-control-')) reply.removeHeader(name);
    }
    const { origin } = request.headers;
    if (!allowsAny) addVary(reply, 'Origin');
    if (isPreflight(request)) addVary(reply, 'Access-Control-Request-Headers');
    if (!allowsAny && (origin === undefined || !origins.includes(origin))) return;
    reply.headers({
      'access-control-allow-origin': allowsAny ? '*' : origin,
      'access-control-expose-headers': EXPOSED_HEADERS,
    });
    if (!isPreflight(request)) return;
    const wanted = request.headers['access-control-request-headers'];
    reply.headers({
      'access-control-allow-methods': METHODS,
      ...(wanted === undefined ? {} : { 'access-control-allow-headers': wanted }),
      'access-control-max-age': MAX_AGE,
    });
  };
}

/** Answers preflights, and adds the CORS headers to every response. Does nothing if no origin is allowed. */
export function allowOrigins(server: FastifyInstance, origins: readonly string[], addHeaders: AddCorsHeaders): void {
  if (origins.length === 0) return;
  server.addHook('onRequest', (request, reply, done) => {
    // The 204 of a preflight would tell a gateway that the call is granted.
    if (!isPreflight(request) || declaredOptions(request.routeOptions).isForwarded) {
      done();
      return;
    }
    server.usage.watch(request, reply);
    void reply.code(204).send();
  });
  server.addHook('onSend', (request, reply, payload, done) => {
    addHeaders(request, reply);
    done(null, payload);
  });
}

/** Whether a request is a CORS preflight. Other OPTIONS requests are processed as without CORS. */
function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined;
}
