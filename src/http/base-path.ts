import type { IncomingMessage } from 'node:http';

declare module 'fastify' {
  interface FastifyInstance {
    /** BASE_PATH: links to this server start with it. */
    basePath: string;
  }
}

/** No route has this path. */
const NOWHERE = '/.';

/**
 * Returns a function that removes BASE_PATH from the target of a request, so that routes are declared without it. A
 * target outside of it matches no route. `request.originalUrl` keeps the target as sent.
 */
export function belowBasePath(basePath: string): (request: IncomingMessage) => string {
  // A target in absolute form begins with an origin (RFC 9112, section 3.2.2).
  const below = /^([a-z][a-z0-9+.-]*:\/\/[^/?#]*)?(.*)$/is;
  return ({ url = '' }) => {
    const [, origin = '', path = ''] = below.exec(url) ?? [];
    if (!path.startsWith(basePath)) return NOWHERE;
    const rest = path.slice(basePath.length);
    if (rest.startsWith('/')) return origin + rest;
    return rest === '' || /^[?#]/.test(rest) ? `${origin}/${rest}` : NOWHERE;
  };
}
