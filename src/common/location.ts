import { applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiExtension } from '@nestjs/swagger';
import type { preSerializationHookHandler } from 'fastify';
import { TAGGED } from './etag.js';

/**
 * A route that answers 201 with a `Location`.
 * @param location a path in which `:name` stands for that member of the answer, or that parameter of the route
 * @param isTagged whether the answer is the object itself, as a GET of that path answers it, and has its `ETag`
 */
export const Created = (location: string, { isTagged = true } = {}): MethodDecorator =>
  applyDecorators(RouteConfig({ location, tagged: isTagged }), ...(isTagged ? [ApiExtension(TAGGED, true)] : []));

/** Sets `Location` as the route declares it. */
export function locate(location: string): preSerializationHookHandler {
  return (request, reply, payload, done) => {
    const known = { ...(request.params as Record<string, unknown>), ...(payload as Record<string, unknown>) };
    const path = location.replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(String(known[name])));
    reply.header('location', path);
    done(null, payload);
  };
}
