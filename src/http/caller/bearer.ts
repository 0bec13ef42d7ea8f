import type { FastifyRequest } from 'fastify';

/**
 * Returns the bearer token of a request (RFC 6750, section 2.1), or undefined if it has none. The scheme is
 * case-insensitive (RFC 9110, section 11.1).
 */
export function bearerTokenOf({ headers }: Pick<FastifyRequest, 'headers'>): string | undefined {
  const { authorization } = headers;
  if (authorization?.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
  return authorization.slice(7).trim() || undefined;
}
