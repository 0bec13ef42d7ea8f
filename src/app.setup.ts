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
import { Authenticator } from './auth/authenticator.js';
import { watchContentDigests } from './auth/content-digest.js';
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
import { MAX_PARAM_LENGTH, RouteTable } from './common/route-table.js';
import { hasSecret } from './common/secret-shapes.js';
import { RequestValidationPipe } from './common/validation.pipe.js';
import { type Env } from './config/env.js';
import { Idempotency } from './idempotency/idempotency.js';
import { RequestRecorder } from './metrics/request-recorder.js';
import { RequestStatistics } from './metrics/request-statistics.js';
import { CallRanks } from './quota/call-ranks.js';
import { serveStore } from './store/store.route.js';
import { StoreService } from './store/store.service.js';

/** What routes ask for in their `config`. */
interface RouteMarks {
  /** An ETag of the object that is answered, and 304. */
  tagged?: boolean;
  /** 304: the route sets the ETag. */
  versioned?: boolean;
  /** See `Created`. */
  location?: string;
  /** A link to the next page. */
  paged?: boolean;
}

/** All answers, and all large bodies of the store, that are under way in this process. */
const UNDER_WAY_BYTES = 268_435_456;

/**
 * The log: pino's JSON lines. Refusals are `info`, faults `error`, everything else `debug`. No query, header or body
 * is ever in it, since any of them may hold a secret.
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

/** What is logged of an error. A database's own words may hold the values of a statement: its codes stand for them. */
function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = sqlState(error);
  const where = error.stack?.split('\n').filter((line) => /^ +at /.test(line));
  const message = code === undefined ? error.message : undefined;
  return { type: error.name, code, constraint: violatedConstraint(error), message, stack: where?.join('\n') };
}

/** Builds the whole server, ready to listen. The same for `main` and for whoever writes the OpenAPI document. */
export async function createApp(env: Env, logger: Logger): Promise<NestFastifyApplication> {
  const addCorsHeaders = corsHeadersFor(env.corsOrigins);
  const adapter = new FastifyAdapter({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: requestIds(),
    // A logger of its own for each request costs more than most requests log: what is logged names its request itself.
    childLoggerFactory: (parent: FastifyBaseLogger) => parent,
    bodyLimit: env.bodyLimit,
    trustProxy: typeof env.trustProxy === 'string' ? isInNetworks(env.trustProxy) : env.trustProxy,
    // Nest's middleware layer is not used and would cost every request; guards authorise, never middleware.
    skipMiddie: true,
    multipart: false,
    // What was accepted is served, also while the server stops.
    return503OnClosing: false,
    keepAliveTimeout: 72_000,
    requestTimeout: env.requestTimeout,
    // Of silence.
    connectionTimeout: 120_000,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH, ignoreTrailingSlash: false, caseSensitive: true },
    clientErrorHandler: answerUnreadable,
    // A path that cannot be decoded, or is too long: the router gives up before any handler of ours.
    frameworkErrors: (_error: Error, request: FastifyRequest, reply: FastifyReply) => {
      // No hook has run.
      reply.headers({ ...DATA_HEADERS, 'x-request-id': request.id });
      addCorsHeaders(request, reply);
      sendProblem(new Problem('validation_failed', { detail: 'The address cannot be read.' }), request, reply);
    },
    http: httpOptions(env),
  });
  const server = adapter.getInstance<FastifyInstance>();
  const budget = new ByteBudget(UNDER_WAY_BYTES);
  limitRequests(server, DATA_HEADERS);
  limitAnswers(server, budget);
  const recorder = new RequestRecorder();
  const patterns: [method: string, pattern: string][] = [];
  server.addHook('onRoute', (route) => {
    // Whatever is under /docs is a file, or is not there.
    if (!route.url.startsWith('/docs/')) {
      for (const each of [route.method].flat()) patterns.push([each, route.url]);
    }
    if (env.requestStatistics === 'on') recorder.watch(route);
    // Hooks of their own routes only, in place of Nest interceptors: those cost every route an Observable.
    const { tagged, versioned, location, paged } = (route.config ?? {}) as RouteMarks;
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
    // Only pages need all of it, and it costs a fifth of a small answer: see protect().
    global: false,
    // Swagger UI styles itself inline; everything else comes from here.
    contentSecurityPolicy: {
      directives: {
        scriptSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        upgradeInsecureRequests: null,
      },
    },
    // To be decided by whoever terminates TLS.
    strictTransportSecurity: false,
  });
  await server.register(compress, {
    encodings: ['br', 'gzip'],
    threshold: 1_024,
    // What a compressed body unpacks to has no bound: none is accepted.
    globalDecompression: false,
  });
  server.addHook('onRoute', (route) => {
    const { tagged, versioned } = (route.config ?? {}) as RouteMarks;
    // Behind the hook that compresses.
    if (tagged || versioned) route.onSend = [route.onSend ?? [], tagCoding].flat();
  });
  protect(server);
  serveIndex(server);
  await serveDocs(app, server);
  serveRecoveryPages(server, env);
  observe(server, logger, env.requestStatistics === 'on' ? recorder : undefined);
  // After the hooks whose headers an answer to a preflight needs too.
  allowOrigins(server, env.corsOrigins, addCorsHeaders);
  await serveCalls(server, app.get(CallsService, { strict: false }));
  // After /call, whose bodies are not read here.
  watchContentDigests(server);
  await serveStore(server, {
    store: app.get(StoreService, { strict: false }),
    authentication: app.get(Authenticator, { strict: false }),
    idempotency: app.get(Idempotency, { strict: false }),
    budget,
    pipe: new RequestValidationPipe(env),
  });
  const [statistics, ranks] = [app.get(RequestStatistics, { strict: false }), app.get(CallRanks, { strict: false })];
  statistics.start(recorder);
  // Once every request is answered, and before the pool closes.
  server.addHook('onClose', () => Promise.all([statistics.stop(), ranks.stop()]));
  await app.init();
  for (const [method, pattern] of patterns) routes.add(method, pattern);
  return app;
}

/** What an answer that is data, never a page, needs (OWASP REST Security Cheat Sheet). */
const DATA_HEADERS = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
};

/** Security headers: helmet's on the pages, the few that matter on data. */
function protect(server: FastifyInstance): void {
  server.addHook('onRequest', (request, reply, done) => {
    if (request.url.startsWith('/docs')) reply.helmet();
    else reply.headers(DATA_HEADERS);
    done();
  });
}

/** Puts the request's id on every answer and one line on each into the log. */
function observe(server: FastifyInstance, logger: Logger, recorder: RequestRecorder | undefined): void {
  server.addHook('onRequest', (request, reply, done) => {
    void reply.header('x-request-id', request.id);
    done();
  });
  server.addHook('onResponse', (request: AuthenticatedRequest, reply, done) => {
    const { refusal, spender } = request;
    // A verdict that refuses a call is itself 200.
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
    if (recorder && request.is404) recorder.recordUnmatched(request, reply);
    done();
  });
}

/** Ids that are unique among processes without a random number each; a client's own is kept where it is harmless. */
function requestIds(): (request: { headers: Record<string, string | string[] | undefined> }) => string {
  const process = randomBytes(4).toString('hex');
  let count = 0;
  return ({ headers }) => {
    const given = headers['x-request-id'];
    // It is logged and on record in the audit: no place for a key.
    if (typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) && !hasSecret(given)) return given;
    return `${process}-${(count++).toString(36)}`;
  };
}

/** Nest's own messages: only what is wrong. */
function nestLogger(logger: Logger): LoggerService {
  const at =
    (level: 'debug' | 'warn' | 'trace') =>
    (message: unknown, ...rest: unknown[]) => {
      logger[level]({ rest }, String(message));
    };
  // Its errors at the start are thrown as well, and `main` explains them.
  return { log: at('trace'), error: at('debug'), warn: at('warn'), debug: at('trace'), verbose: at('trace') };
}
