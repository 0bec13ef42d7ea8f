import type { IncomingMessage, ServerResponse } from 'node:http';
import { spend, type QuotaOptions } from './quota.js';

export { grantOf } from './quota.js';
export type { Grant, QuotaOptions } from './quota.js';

/**
 * Middleware for Express 5, and for everything that takes `(request, response, next)`: spends the units of each request with
 * its API key, and answers a request that is not granted.
 */
export function requireQuota<Request extends IncomingMessage>(
  api: string,
  options: QuotaOptions<Request>,
): (request: Request, response: ServerResponse, next: (error?: unknown) => void) => void {
  return (request, response, next) => {
    spend(api, options, request, request.headers).then(({ headers, denial }) => {
      for (const [name, value] of Object.entries(denial?.headers ?? headers ?? {})) response.setHeader(name, value);
      if (!denial) {
        next();
        return;
      }
      response.statusCode = denial.status;
      response.end(JSON.stringify(denial.problem));
    }, next);
  };
}
