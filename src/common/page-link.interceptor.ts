import {
  Injectable,
  UseInterceptors,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { tap, type Observable } from 'rxjs';
import type { Page } from './page.js';

/** Adds `Link: <…>; rel="next"` (RFC 8288) to a page that is not the last. */
@Injectable()
export class PageLinkInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler<Page<unknown>>): Observable<Page<unknown>> {
    const http = context.switchToHttp();
    return next.handle().pipe(
      tap(({ nextCursor }) => {
        if (nextCursor === null) return;
        const url = new URL(http.getRequest<FastifyRequest>().raw.url ?? '/', 'http://localhost');
        url.searchParams.set('cursor', nextCursor);
        void http.getResponse<FastifyReply>().header('link', `<${url.pathname}${url.search}>; rel="next"`);
      }),
    );
  }
}

/** A route that answers one page of a list. */
export const Paged = () => UseInterceptors(PageLinkInterceptor);
