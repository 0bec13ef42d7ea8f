import { applyDecorators } from '@nestjs/common';

import { ApiExtension } from '@nestjs/swagger';
import type { preSerializationHookHandler } from 'fastify';
import { TAGGED } from './etag.js';
import { Declare } from '../route-options.js';

/**
 * A route that returns 201 with a `Location`.
 * @param location a path in which `:name` stands for that member of the response, or that parameter of the route
 * @param isTagged whether the response is the object as GET of that path returns it, with its `ETag`
 */
export const Created = (location: string, { isTagged = true } = {}): MethodDecorator =>
  applyDecorators(Declare({ location, tagged: isTagged }), ...(isTagged ? [ApiExtension(TAGGED, true)] : []));

/** Sets `Location` as the route declares it. */
export function locate(location: string): preSerializationHookHandler {
  return (request, reply, payload, done) => {
    const known = { ...(request.params as Record<string, unknown>), ...(payload as Record<string, unknown>) };
    const path = location.replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(String(known[name])));
    reply.header('location', request.server.basePath + path);
    done(null, payload);
  };
}
