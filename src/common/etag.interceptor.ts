import { createHash } from 'node:crypto';
import {
  Injectable,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { map, type Observable } from 'rxjs';

/** Whether `If-None-Match` names a tag: weak comparison (RFC 9110, section 13.1.2). */
export function matchesTag(header: string, tag: string): boolean {
  const opaque = (text: string) => text.trim().replace(/^W\//, '');
  return header.trim() === '*' || header.split(',').some((candidate) => opaque(candidate) === opaque(tag));
}

/**
 * Sends the answer with an `ETag` of its content, and 304 without it to whoever has it already. The content is read
 * from the database all the same: only its way to the client is saved.
 */
@Injectable()
export class EtagInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler<object>): Observable<string | undefined> {
    const http = context.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    return next.handle().pipe(
      map((answer) => {
        const body = JSON.stringify(answer);
        const tag = `"${createHash('sha1').update(body).digest('base64url')}"`;
        void reply.header('etag', tag).header('cache-control', 'private, no-cache');
        const known = request.headers['if-none-match'];
        if (known !== undefined && matchesTag(known, tag)) {
          void reply.code(304);
          return undefined;
        }
        void reply.type('application/json; charset=utf-8');
        return body;
      }),
    );
  }
}

/** A route that answers with an `ETag` and honours `If-None-Match`. */
export const Tagged = () => UseInterceptors(EtagInterceptor);
