import { RouteConfig } from '@nestjs/platform-fastify';
import type { preSerializationHookHandler } from 'fastify';
import type { Page } from './page.js';

/** A route that answers one page of a list. */
export const Paged = (): MethodDecorator => RouteConfig({ paged: true });

/** Adds `Link: <…>; rel="next"` (RFC 8288) to a page that is not the last. */
export const linkNextPage: preSerializationHookHandler = (request, reply, payload, done) => {
  const { nextCursor } = payload as Partial<Page<unknown>>;
  if (typeof nextCursor === 'string') {
    const url = new URL(request.url, 'http://localhost');
    url.searchParams.set('cursor', nextCursor);
    reply.header('link', `<${url.pathname}${url.search}>; rel="next"`);
  }
  done(null, payload);
};
