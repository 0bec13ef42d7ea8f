import compress from '@fastify/compress';
import { NotFoundException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import type { Logger } from 'pino';
import { allowOrigins, corsHeadersFor } from './http/cors.js';
import { serveConsole } from './http/console.js';
import { serveDocs } from './http/docs/docs.js';
import { answerUnreadable, httpOptions, limitAnswers, limitRequests } from './http/limits.js';
import { AppModule } from './app.module.js';
import { serveIndex } from './http/index-page.js';
import { isInNetworks } from './common/address.js';
import { ByteBudget } from './http/byte-budget.js';
import { answerKnown, tagBody, tagCoding } from './http/conditional/etag.js';
import { acceptJsonBodies } from './http/json-body.js';
import { locate } from './http/conditional/location.js';
import { linkNextPage } from './http/conditional/page-link.js';
import { Problem } from './common/problem.js';
import { pathOf, sendProblem } from './http/problem.filter.js';
import { declaredOptions } from './http/route-options.js';
import { MAX_PARAM_LENGTH, RouteTable } from './http/route-table.js';
import { hasBarePercent, refuseMalformedQueries } from './http/url-text.js';
import { openApiDocument } from './openapi-document.js';
import type { Env } from './config/env.js';
import { nestLogger } from './http/logger.js';
import { logRequests, requestIds } from './http/request-log.js';
import { DATA_HEADERS, protect } from './http/security-headers.js';

/** Builds the whole server, ready to listen. */
export async function createApp(env: Env, logger: Logger): Promise<NestFastifyApplication> {
  const addCorsHeaders = corsHeadersFor(env.corsOrigins);
  const adapter = new FastifyAdapter({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestIds(),
    // No child logger per request: it costs more than most requests log. Log lines contain the request id instead.
    childLoggerFactory: (parent: FastifyBaseLogger) => parent,
    bodyLimit: env.bodyLimit,
    trustProxy: typeof env.trustProxy === 'string' ? isInNetworks(env.trustProxy) : env.trustProxy,
    // Skips Nest's middleware layer, which is not used and would slow down every request. Guards authorise, not
    // middleware.
    skipMiddie: true,
    multipart: false,
    // Serves accepted connections also while the server stops.
    return503OnClosing: false,
    keepAliveTimeout: 72_000,
    requestTimeout: env.requestTimeout,
    // Closes a connection after two minutes without data.
    connectionTimeout: 120_000,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH, ignoreTrailingSlash: false, caseSensitive: true },
    clientErrorHandler: answerUnreadable,
    // A path that cannot be decoded or is too long: the router rejects it before any hook or handler.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      // No hook has run, so sets the headers here.
      reply.headers({ ...DATA_HEADERS, 'x-request-id': request.id });
      addCorsHeaders(request, reply);
      const detail = hasBarePercent(pathOf(request))
        ? 'A % in the path is written as %25.'
        : 'The URL path is invalid or too long.';
      sendProblem(new Problem('validation_failed', { detail }), request, reply);
    },
    http: httpOptions(env),
  });
  const server = adapter.getInstance<FastifyInstance>();
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(env), adapter, {
    logger: nestLogger(logger),
    bodyParser: false,
    abortOnError: false,
  });
  limitRequests(server, DATA_HEADERS);
  limitAnswers(server, app.get(ByteBudget));
  const routes = app.get(RouteTable);
  server.addHook('onRoute', (route) => {
    // Paths under /docs are static files.
    if (!route.url.startsWith('/docs/')) {
      for (const each of [route.method].flat()) routes.add(each, route.url);
    }
    // Route hooks, not Nest interceptors: a further interceptor costs more than the work of these.
    const { tagged, versioned, location, paged, bodyLimit } = declaredOptions(route);
    if (bodyLimit !== undefined) route.bodyLimit = bodyLimit;
    route.preSerialization = [
      ...(tagged ? [tagBody] : []),
      ...(location === undefined ? [] : [locate(location)]),
      ...(paged ? [linkNextPage] : []),
    ];
    if (tagged || versioned) route.onSend = [route.onSend ?? [], answerKnown].flat();
  });

  acceptJsonBodies(server);
  await protect(server);
  await server.register(compress, {
    encodings: ['br', 'gzip'],
    threshold: 1_024,
    // Compressed request bodies are rejected, because their decompressed size has no limit.
    globalDecompression: false,
  });
  server.addHook('onRoute', (route) => {
    const { tagged, versioned } = declaredOptions(route);
    // Must run after the compression hook.
    if (tagged || versioned) route.onSend = [route.onSend ?? [], tagCoding].flat();
  });
  serveIndex(server);
  await serveConsole(server);
  await serveDocs(server, () => openApiDocument(app));
  logRequests(server, logger);
  // After the hooks whose headers a preflight response needs too.
  allowOrigins(server, env.corsOrigins, addCorsHeaders);
  refuseUnknownRoutes(server);
  refuseMalformedQueries(server);
  // Modules add their routes and hooks.
  return app.init();
}

/** Rejects a request without a route before its body is read: 404 or 405, whatever the body is. */
function refuseUnknownRoutes(server: FastifyInstance): void {
  server.addHook('onRequest', (request, _reply, done) => {
    done(request.is404 ? new NotFoundException() : undefined);
  });
}
