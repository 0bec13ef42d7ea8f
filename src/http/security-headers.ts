import helmet from '@fastify/helmet';
import type { FastifyInstance } from 'fastify';

/** Security headers of responses that are data, not pages (OWASP REST Security Cheat Sheet). */
export const DATA_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

/** Sets security headers: all of helmet on pages, DATA_HEADERS on data. */
export async function protect(server: FastifyInstance): Promise<void> {
  await server.register(helmet, {
    // Only pages need all headers, which cost a fifth of the time of a small response: see protect().
    global: false,
    // Swagger UI uses inline styles. All other content comes from this server.
    contentSecurityPolicy: {
      directives: {
        scriptSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        upgradeInsecureRequests: null,
      },
    },
    // The proxy that terminates TLS decides this.
    strictTransportSecurity: false,
  });
  server.addHook('onRequest', (request, reply, done) => {
    if (request.url.startsWith('/docs')) reply.helmet();
    else reply.headers(DATA_HEADERS);
    done();
  });
}
