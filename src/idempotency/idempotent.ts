import { createHash } from 'node:crypto';
import { applyDecorators, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiExtension, ApiHeader } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Fails } from '../http/docs/api-docs.js';
import { REPEATABLE_MARK } from '../http/docs/api-headers.js';
import type { AuthenticatedRequest } from '../http/caller/caller.js';
import { pathOf } from '../http/problem.filter.js';
import type { Attempt, Repeatable } from './idempotency.js';

/** The owner id of anonymous requests. */
export const NOBODY = '00000000-0000-0000-0000-000000000000';

export const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  required: false,
  description:
    'Up to 255 characters. A request repeated with the same key within 24 hours gets the first response again',
};

/** Documents that a route supports `Idempotency-Key`. */
export const Idempotent = () =>
  applyDecorators(
    ApiHeader({ ...IDEMPOTENCY_KEY, schema: { type: 'string', maxLength: 255 } }),
    ApiExtension(REPEATABLE_MARK, true),
    Fails('idempotency_in_progress', 'idempotency_key_reused'),
  );

/** Injects the input of `Idempotency.respond`. */
export const CurrentAttempt = createParamDecorator((_data: unknown, context: ExecutionContext): Attempt => {
  const http = context.switchToHttp();
  const request = http.getRequest<AuthenticatedRequest>();
  return {
    request: toRepeatable(request, request.user?.userId ?? NOBODY, 'user'),
    reply: http.getResponse<FastifyReply>(),
  };
});

/** @param credential separates the keys of different clients of the same owner */
export function toRepeatable(request: FastifyRequest, ownerId: string, credential: string): Repeatable {
  const header = request.headers['idempotency-key'];
  const key = Array.isArray(header) ? header.join(', ') : header;
  return {
    key,
    ownerId,
    credential,
    method: request.method,
    path: pathOf(request),
    body: key !== undefined && Buffer.isBuffer(request.body) ? digestOf(request.body) : request.body,
  };
}

/** A digest in place of a raw body, which can have megabytes. */
function digestOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('base64');
}
