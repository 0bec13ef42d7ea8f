import { createHash } from 'node:crypto';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { onSendHookHandler } from 'fastify';

/** A route that answers with an `ETag` of its content and honours `If-None-Match`. */
export const Tagged = (): MethodDecorator => RouteConfig({ tagged: true });

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
