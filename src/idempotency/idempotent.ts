import { applyDecorators, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiExtension, ApiHeader } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Fails } from '../common/api-docs.js';
import { REPEATABLE_MARK } from '../common/api-headers.js';
import type { AuthenticatedRequest } from '../common/caller.js';
import { pathOf } from '../common/problem.filter.js';
import type { Attempt, Repeatable } from './idempotency.js';

/** Stands for whoever has not signed in. */
export const NOBODY = '00000000-0000-0000-0000-000000000000';

export const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  required: false,
  description: 'Up to 255 characters. Sent again with the same key within 24 hours, the request gets its first answer',
};

/** Documents that a route heeds `Idempotency-Key`. */
export const Idempotent = () =>
  applyDecorators(
    ApiHeader({ ...IDEMPOTENCY_KEY, schema: { type: 'string', maxLength: 255 } }),
    ApiExtension(REPEATABLE_MARK, true),
    Fails('idempotency_in_progress', 'idempotency_key_reused'),
  );

/** Injects what `Idempotency.respond` needs of the request. */
export const CurrentAttempt = createParamDecorator((_data: unknown, context: ExecutionContext): Attempt => {
  const http = context.switchToHttp();
  const request = http.getRequest<AuthenticatedRequest>();
  return {
    request: toRepeatable(request, request.caller?.userId ?? NOBODY, 'user'),
    reply: http.getResponse<FastifyReply>(),
  };
});

/** @param credential keeps the keys of one client apart from those of another of the same owner */
export function toRepeatable(request: FastifyRequest, ownerId: string, credential: string): Repeatable {
  const header = request.headers['idempotency-key'];
  return {
    key: Array.isArray(header) ? header.join(', ') : header,
    ownerId,
    credential,
    method: request.method,
    path: pathOf(request),
    body: request.body,
  };
}
