import type { FastifyReply, FastifyRequest } from 'fastify';
import { spend, type QuotaOptions } from './quota.js';

export { grantOf } from './quota.js';
export type { Grant, QuotaOptions } from './quota.js';

/**
 * A hook for Fastify 5 (`onRequest`, or `preHandler` if the cost depends on the body): spends the units of each request with
 * its API key, and answers a request that is not granted.
 */
export function requireQuota<Request extends FastifyRequest = FastifyRequest>(
  api: string,
  options: QuotaOptions<Request>,
): (request: Request, reply: FastifyReply) => Promise<FastifyReply | undefined> {
  return async (request, reply) => {
    const { headers, denial } = await spend(api, options, request, request.headers);
    if (!denial) {
      reply.headers(headers);
      return undefined;
    }
    return reply.code(denial.status).headers(denial.headers).send(JSON.stringify(denial.problem));
  };
}
