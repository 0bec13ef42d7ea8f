import { applyDecorators } from '@nestjs/common';

import { ApiExtension } from '@nestjs/swagger';
import type { preSerializationHookHandler } from 'fastify';
import { PAGED_MARK } from '../docs/api-headers.js';
import type { Page } from '../../common/page.js';
import { Declare } from '../route-options.js';

/** A route that returns one page of a list. */
export const Paged = (): MethodDecorator => applyDecorators(Declare({ paged: true }), ApiExtension(PAGED_MARK, true));

/** Adds `Link: <…>; rel="next"` (RFC 8288) to a page that is not the last. */
export const linkNextPage: preSerializationHookHandler = (request, reply, payload, done) => {
  const { nextCursor } = payload as Partial<Page<unknown>>;
  if (typeof nextCursor === 'string') reply.header('link', nextPageOf(request.originalUrl, nextCursor));
  done(null, payload);
};

/** Returns the link to the next page. @param path the path of the current page, with its query */
export function nextPageOf(path: string, nextCursor: string): string {
  const url = new URL(path, 'http://localhost');
  url.searchParams.set('cursor', nextCursor);
  return `<${url.pathname}${url.search}>; rel="next"`;
}
