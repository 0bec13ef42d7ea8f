import { applyDecorators } from '@nestjs/common';
import { RouteConfig } from '@nestjs/platform-fastify';
import { ApiExtension, type OpenAPIObject } from '@nestjs/swagger';
import type { preSerializationHookHandler } from 'fastify';
import { TAGGED } from './etag.js';

/** How the routes that create stand in the document while it is being made. */
const CREATED = 'x-created';

/**
 * A route that answers 201 with a `Location`.
 * @param location a path in which `:name` stands for that member of the answer, or that parameter of the route
 * @param isTagged whether the answer is the object itself, as a GET of that path answers it, and has its `ETag`
 */
export const Created = (location: string, { isTagged = true } = {}): MethodDecorator =>
  applyDecorators(
    RouteConfig({ location, tagged: isTagged }),
    ApiExtension(CREATED, true),
    ...(isTagged ? [ApiExtension(TAGGED, true)] : []),
  );

/** The header in the document. */
export const LOCATION = {
  Location: { required: true, description: 'Its address', schema: { type: 'string' } },
} as const;

/** Completes an operation of the document that is `Created`. */
export function documentLocation(operation: NonNullable<OpenAPIObject['paths'][string]['get']>): void {
  if (!Reflect.has(operation, CREATED)) return;
  Reflect.deleteProperty(operation, CREATED);
  const response = operation.responses[201];
  if (response && 'description' in response) response.headers = { ...response.headers, ...LOCATION };
}

/** Sets `Location` as the route declares it. */
export function locate(location: string): preSerializationHookHandler {
  return (request, reply, payload, done) => {
    const known = { ...(request.params as Record<string, unknown>), ...(payload as Record<string, unknown>) };
    const path = location.replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(String(known[name])));
    reply.header('location', path);
    done(null, payload);
  };
}
