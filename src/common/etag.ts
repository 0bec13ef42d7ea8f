import { createHash } from 'node:crypto';
import { applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiExtension, ApiHeader } from '@nestjs/swagger';
import type { onSendHookHandler } from 'fastify';
import type { Operation } from './api-headers.js';

/** A route that answers with an `ETag` of its content and honours `If-None-Match`. */
export const Tagged = (): MethodDecorator =>
  applyDecorators(RouteConfig({ tagged: true }), ApiExtension(TAGGED, true), ApiHeader(IF_NONE_MATCH));

const TAGGED = 'x-tagged';

const IF_NONE_MATCH = {
  ...{ name: 'If-None-Match', required: false, schema: { type: 'string' } },
  description: 'Only if it is another by now than the one with this `ETag`',
};

/** Completes an operation of the document that is `Tagged`. */
export function documentTag(operation: Operation): void {
  if (!Reflect.has(operation, TAGGED)) return;
  Reflect.deleteProperty(operation, TAGGED);
  const headers = { ETag: { required: true, description: 'Of its content', schema: { type: 'string' } } } as const;
  const { 200: found } = operation.responses;
  operation.responses[200] = { ...found, headers } as NonNullable<typeof found>;
  operation.responses[304] = { description: 'It is the one that `If-None-Match` names', headers };
}

/** Whether `If-None-Match` names a tag: weak comparison (RFC 9110, section 13.1.2). */
export function matchesTag(header: string, tag: string): boolean {
  const opaque = (text: string): string => text.trim().replace(/^W\//, '');
  return header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
}

/**
 * Tags a 200, and answers 304 without the content to whoever has it already. The content was read from the database
 * all the same: only its way to the client is saved.
 */
export const tag: onSendHookHandler = (request, reply, payload, done) => {
  if (reply.statusCode !== 200 || typeof payload !== 'string') {
    done(null, payload);
    return;
  }
  const etag = `"${createHash('sha1').update(payload).digest('base64url')}"`;
  reply.header('etag', etag).header('cache-control', 'private, no-cache');
  const known = request.headers['if-none-match'];
  if (known !== undefined && matchesTag(known, etag)) {
    reply.code(304).removeHeader('content-length').removeHeader('content-type');
    done(null, null);
    return;
  }
  done(null, payload);
};
