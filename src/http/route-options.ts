import { RouteConfig } from '@nestjs/platform-fastify';
import { FASTIFY_ROUTE_CONFIG_METADATA } from '@nestjs/platform-fastify/constants.js';
import type { RouteOptions } from 'fastify';

/** What the decorators of a route declare in its Fastify `config`. The setup of the server reads it. */
export interface DeclaredOptions {
  /** Sets an ETag of the returned object, and supports 304. */
  tagged?: boolean;
  /** Supports 304 with the ETag that the route sets. */
  versioned?: boolean;
  /** See `Created`. */
  location?: string;
  /** Adds a link to the next page. */
  paged?: boolean;
  /** Passes query and body on to an upstream as they were sent, so nothing else reads them. */
  passesOn?: boolean;
  /** Serves requests that gateways forward: also preflights are requests to the gateway's API. */
  isForwarded?: boolean;
  /** Passes the JSON body as the received bytes. */
  rawBody?: boolean;
  /** The body limit in bytes, if it differs from BODY_LIMIT. */
  bodyLimit?: number;
}

/** Declares options of a route, in addition to those of other decorators: `RouteConfig` would replace them. */
export function Declare(options: DeclaredOptions): MethodDecorator {
  return (target, name, descriptor) => {
    const declared = Reflect.getMetadata(FASTIFY_ROUTE_CONFIG_METADATA, descriptor.value as object) as
      object | undefined;
    RouteConfig({ ...declared, ...options })(target, name, descriptor);
  };
}

/** Returns what a route declares. */
export function declaredOptions({ config }: Pick<RouteOptions, 'config'>): DeclaredOptions {
  return config ?? {};
}
