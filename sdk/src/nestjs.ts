import { HttpException, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { spend, type QuotaOptions } from './quota.js';

export { grantOf } from './quota.js';
export type { Grant, QuotaOptions } from './quota.js';

/** The part of a request that both platforms have. */
interface HttpRequest {
  headers: Record<string, string | string[] | undefined>;
}

/** The part of a response that both platforms have. */
interface HttpResponse {
  header(name: string, value: string): unknown;
}

/**
 * A guard for NestJS 12, on Express and on Fastify: spends the units of each request with its API key, and answers a request
 * that is not granted.
 */
export function requireQuota<Request extends HttpRequest>(api: string, options: QuotaOptions<Request>): CanActivate {
  return {
    async canActivate(context: ExecutionContext): Promise<boolean> {
      const http = context.switchToHttp();
      const request = http.getRequest<Request>();
      const response = http.getResponse<HttpResponse>();
      const { headers, denial } = await spend(api, options, request, request.headers);
      for (const [name, value] of Object.entries(denial?.headers ?? headers ?? {})) response.header(name, value);
      if (denial) throw new HttpException(denial.problem, denial.status);
      return true;
    },
  };
}
