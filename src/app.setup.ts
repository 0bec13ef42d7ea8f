import { randomBytes } from 'node:crypto';
import compress from '@fastify/compress';
import helmet from '@fastify/helmet';
import type { LoggerService } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import {
  LogController,
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify';
import { pino, type Logger } from 'pino';
import { allowOrigins, corsHeadersFor } from './app.cors.js';
import { serveDocs } from './app.docs.js';
import { answerUnreadable, httpOptions, limitAnswers, limitRequests } from './app.limits.js';
import { serveIndex } from './app.pages.js';
import { serveCalls } from './apis/call.route.js';
import { CallsService } from './apis/calls.service.js';
import { AppModule } from './app.module.js';
import { AuthenticationGuard } from './auth/authentication.guard.js';
import { watchContentDigests } from './auth/content-digest.js';
import { admitLargeBodies } from './auth/large-bodies.js';
import { serveRecoveryPages } from './auth/recovery.pages.js';
import { addressOf, isInNetworks } from './common/address.js';
import { ByteBudget } from './common/byte-budget.js';
import type { AuthenticatedRequest } from './common/caller.js';
import { sqlState, violatedConstraint } from './common/database-error.js';
import { answerKnown, tagBody, tagCoding } from './common/etag.js';
import { acceptJsonBodies } from './common/json-body.js';
import { locate } from './common/location.js';
import { linkNextPage } from './common/page-link.js';
import { Problem } from './common/problem.js';
import { sendProblem, shownPathOf } from './common/problem.filter.js';
import { declaredOptions } from './common/route-options.js';
import { MAX_PARAM_LENGTH, RouteTable } from './common/route-table.js';
import { hasSecret } from './common/secret-shapes.js';
import { type Env } from './config/env.js';
import { RequestStatistics } from './metrics/request-statistics.js';
import { CallRanks } from './quota/call-ranks.js';

/** Byte budget of this process for all responses and all large request bodies. */
const UNDER_WAY_BYTES = 268_435_456;

/**
 * Creates the logger (pino, JSON lines). Rejected requests are `info`, server errors `error`, everything else `debug`.
 * Queries, headers and bodies are never logged, because they can contain secrets.
 * @param file path of the file to append to; default: standard output
 */
export function createLogger(env: Env, file?: string): Logger {
  const options = {
    level: env.logLevel,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: describeError },
  };
  return pino(options, pino.destination({ dest: file ?? 1, sync: true }));
}

/**
 * Serializes an error. Driver messages can contain parameter values, so only SQLSTATE and constraint name are logged.
 */
function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = sqlState(error);
  const where = error.stack?.split('\n').filter((line) => /^ +at /.test(line));
  const message = code === undefined ? error.message : undefined;
  return { type: error.name, code, constraint: violatedConstraint(error), message, stack: where?.join('\n') };
}

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
      sendProblem(new Problem('validation_failed', { detail: 'The URL path is invalid or too long.' }), request, reply);
    },
    http: httpOptions(env),
  });
  const server = adapter.getInstance<FastifyInstance>();
  const budget = new ByteBudget(UNDER_WAY_BYTES);
  limitRequests(server, DATA_HEADERS);
  limitAnswers(server, budget);
  const patterns: [method: string, pattern: string][] = [];
  server.addHook('onRoute', (route) => {
    // Paths under /docs are static files.
    if (!route.url.startsWith('/docs/')) {
      for (const each of [route.method].flat()) patterns.push([each, route.url]);
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

  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(env), adapter, {
    logger: nestLogger(logger),
    bodyParser: false,
    abortOnError: false,
  });
  const routes = app.get(RouteTable);

  acceptJsonBodies(server);
  await server.register(helmet, {
    // Only pages need all headers, which cost a fifth of the time of a small response: see protect().
    global: false,
    // Swagger UI uses inline styles. All other content comes from this server.
    contentSecurityPolicy: {
      directives: {
        scriptSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        upgradeInsecureRequests: null,
      },
    },
    // The proxy that terminates TLS decides this.
    strictTransportSecurity: false,
  });
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
  protect(server);
  serveIndex(server);
  await serveDocs(app, server);
  serveRecoveryPages(server, env);
  observe(server, logger);
  // After the hooks whose headers a preflight response needs too.
  allowOrigins(server, env.corsOrigins, addCorsHeaders);
  await serveCalls(server, app.get(CallsService, { strict: false }));
  // After /call, because its bodies are not read.
  watchContentDigests(server);
  admitLargeBodies(server, app.get(AuthenticationGuard, { strict: false }), budget);
  const [statistics, ranks] = [app.get(RequestStatistics, { strict: false }), app.get(CallRanks, { strict: false })];
  statistics.start();
  // Runs after every request is answered, and before the connection pool closes.
  server.addHook('onClose', () => Promise.all([statistics.stop(), ranks.stop()]));
  await app.init();
  for (const [method, pattern] of patterns) routes.add(method, pattern);
  return app;
}

/** Security headers of responses that are data, not pages (OWASP REST Security Cheat Sheet). */
const DATA_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

/** Sets security headers: all of helmet on pages, DATA_HEADERS on data. */
function protect(server: FastifyInstance): void {
  server.addHook('onRequest', (request, reply, done) => {
    if (request.url.startsWith('/docs')) reply.helmet();
    else reply.headers(DATA_HEADERS);
    done();
  });
}

/** Adds the request id to every response and logs one line per request. */
function observe(server: FastifyInstance, logger: Logger): void {
  server.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    done();
  });
  server.addHook('onResponse', (request: AuthenticatedRequest, reply, done) => {
    const { refusal, spender } = request;
    // A verification that denies a call is itself 200.
    const isRefusal =
      (reply.statusCode >= 400 && reply.statusCode < 500) ||
      reply.statusCode === 503 ||
      (reply.statusCode === 200 && refusal !== undefined);
    const level = isRefusal ? 'info' : 'debug';
    if (logger.isLevelEnabled(level)) {
      logger[level](
        {
          reqId: request.id,
          method: request.method,
          path: shownPathOf(request),
          status: reply.statusCode,
          code: refusal?.code,
          violated: refusal?.violated,
          ms: Math.round(reply.elapsedTime * 10) / 10,
          user: request.caller?.userId,
          key: spender?.keyId ?? undefined,
          owner: spender?.ownerId ?? undefined,
          ip: addressOf(request.ip),
        },
        'request',
      );
    }
    done();
  });
}

/** Generates request ids: a random prefix per process and a counter. Keeps a client's id if it is harmless. */
function requestIds(): (request: { headers: Record<string, string | string[] | undefined> }) => string {
  const process = randomBytes(4).toString('hex');
  let count = 0;
  return ({ headers }) => {
    const given = headers['x-request-id'];
    // The id is logged and recorded in the audit log, so it must not contain a secret.
    if (typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) && !hasSecret(given)) return given;
    return `${process}-${(count++).toString(36)}`;
  };
}

/** Maps Nest's log messages to lower levels, so that normally only warnings appear. */
function nestLogger(logger: Logger): LoggerService {
  const at =
    (level: 'debug' | 'warn' | 'trace') =>
    (message: unknown, ...rest: unknown[]) => {
      logger[level]({ rest }, String(message));
    };
  // Errors at the start are also thrown, and `main` explains them.
  return { log: at('trace'), error: at('debug'), warn: at('warn'), debug: at('trace'), verbose: at('trace') };
}
