import type { IncomingMessage } from 'node:http';
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bearerTokenOf } from './caller/bearer.js';
import type { AuthenticatedRequest } from './caller/caller.js';
import { isDatabaseUnavailable, isOverload } from '../common/database-error.js';
import { Env } from '../config/env.js';
import { htmlPage, prefersHtml, type HtmlPage } from './html-page.js';
import { PROBLEMS, Problem, type FieldError, type ProblemCode } from '../common/problem.js';
import { RouteTable } from './route-table.js';
import { concealSecrets } from '../common/secret-shapes.js';

/** Turns every thrown error into a documented response. Never returns the message of an error that is not a Problem. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  private readonly notFound: HtmlPage;

  constructor(
    private readonly routes: RouteTable,
    { basePath }: Env,
  ) {
    this.notFound = htmlPage(
      'Page not found',
      `<p>This page does not exist. <a href="${basePath}/">Go to the home page</a>.</p>`,
    );
  }

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const known = toProblem(thrown);
    const problem = known ?? this.unknownRoute(request);
    const isPage = !known && problem.code === 'not_found' && ['GET', 'HEAD'].includes(request.method);
    if (isPage && prefersHtml(request, reply)) {
      request.server.usage.watch(request, reply);
      void reply.code(404).headers(this.notFound.headers).send(this.notFound.html);
      return;
    }
    refuse(thrown, problem, request, reply);
  }

  private unknownRoute(request: FastifyRequest): Problem {
    const path = pathOf(request);
    const allow = this.routes.methodsOf(path);
    if (allow.length === 0 && BELOW_A_KEY.test(path)) return new Problem('not_found', { detail: SLASH_IN_A_KEY });
    if (allow.length === 0 || allow.includes(request.method)) return new Problem('not_found');
    return new Problem('method_not_allowed', { allow });
  }
}

/** A path below a store entry. No route matches it, but the client probably did not encode a `/` in the key. */
const BELOW_A_KEY = /^\/v1\/store\/.*\//;

const SLASH_IN_A_KEY = 'No route has this path. Write a "/" in a key as %2F.';

/** Returns the problem for a thrown error; undefined if the route is unknown. */
export function toProblem(thrown: unknown): Problem | undefined {
  if (thrown instanceof Problem) return thrown;
  if (isDatabaseUnavailable(thrown)) return new Problem('database_unavailable', { retryAfter: 1 });
  if (isOverload(thrown)) return new Problem('overloaded', { retryAfter: 1 });
  const status = statusOf(thrown);
  // @fastify/static throws 403 for a path outside its folder.
  if (status === 404 || status === 403) return undefined;
  if (status === 413) return new Problem('body_too_large');
  if (status === 415) return new Problem('unsupported_media_type', { detail: 'Send application/json.' });
  if (status === 400) return new Problem('validation_failed');
  if (status === 503) return new Problem('overloaded', { retryAfter: 1 });
  return new Problem('internal_error');
}

/** At most this many bytes of an unread body are read and discarded before the response. */
const MAX_DRAINED = 16_777_216;

function drain(body: IncomingMessage, done: () => void): void {
  let left = MAX_DRAINED;
  const finish = (): void => {
    body.off('data', count).off('end', finish).off('close', finish);
    done();
  };
  const count = (chunk: Buffer): void => {
    left -= chunk.length;
    if (left < 0) finish();
  };
  body.on('data', count).once('end', finish).once('close', finish).resume();
}

/** Whether a request was rejected before its body was read, or because of its size. */
function hasUnreadBody({ raw, body }: FastifyRequest): boolean {
  const { headers } = raw;
  const isPassedOn = body !== undefined && body !== null;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  return hasBody && !isPassedOn && !raw.readableEnded && !raw.destroyed;
}

/** Sends the problem for a thrown error, and logs a server error. */
export function refuse(thrown: unknown, problem: Problem, request: FastifyRequest, reply: FastifyReply): void {
  // The client disconnected in the middle of the request.
  if (request.raw.destroyed && !request.raw.complete) return;
  request.server.usage.watch(request, reply);
  // Overload is not a server error, and clients must not be able to flood the log with it.
  if (problem.status >= 500 && !(thrown instanceof Problem && problem.code === 'overloaded')) {
    const err = thrown instanceof Problem ? (thrown.extra.cause ?? thrown) : thrown;
    request.log.error({ reqId: request.id, err, code: problem.code }, 'request failed');
  }
  if (reply.sent || reply.raw.headersSent) return;
  const send = (): void => {
    sendProblem(problem, request, reply);
  };
  // Closing with the body unread resets the connection, and the client would not get the response.
  if (hasUnreadBody(request)) drain(request.raw, send);
  else send();
}

/** Returns the HTTP status of an error of Nest or Fastify. */
function statusOf(thrown: unknown): number | undefined {
  if (thrown instanceof HttpException) return thrown.getStatus();
  if (thrown instanceof Error && thrown.name === 'FastifyError') {
    return (thrown as Error & { statusCode?: number }).statusCode;
  }
  return undefined;
}

/** Sends a problem. Used by the filter, and for errors outside Nest. */
export function sendProblem(problem: Problem, request: AuthenticatedRequest, reply: FastifyReply): void {
  request.refusal = { code: problem.code, violated: problem.extra.members?.violated };
  void reply
    .code(problem.status)
    .headers(headersOf(problem))
    .type('application/problem+json')
    .send(JSON.stringify(bodyOf(problem, request)));
}

function headersOf(problem: Problem): Record<string, string> {
  const { extra, status } = problem;
  return {
    ...extra.headers,
    ...(extra.retryAfter === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(extra.retryAfter))) }),
    ...(extra.allow ? { allow: extra.allow.join(', ') } : {}),
    ...(status === 401 ? { 'www-authenticate': challengeOf(problem.code) } : {}),
    ...(problem.code === 'invalid_signature' ? { 'accept-signature': WANTED_SIGNATURE } : {}),
    'cache-control': 'no-store',
  };
}

/** RFC 9421, section 5.1: how to sign a request. `@query` if it has a query, `content-digest` if it has a body. */
const WANTED_SIGNATURE =
  'sig=("@method" "@authority" "@path" "@query" "content-digest");created;nonce;keyid;alg="ed25519"';

/** Codes that concern the bearer token. */
const OF_TOKEN: readonly ProblemCode[] = ['invalid_token', 'invalid_api_key'];

/**
 * RFC 6750, section 3: `error` only if a token was sent. Signatures are not an HTTP authentication scheme: RFC 9421
 * uses the field Accept-Signature.
 */
function challengeOf(code: ProblemCode): string {
  return OF_TOKEN.includes(code)
    ? 'Bearer realm="quartermaster", error="invalid_token"'
    : 'Bearer realm="quartermaster"';
}

function bodyOf(problem: Problem, request: FastifyRequest): Record<string, unknown> {
  const { extra, code, status } = problem;
  return {
    type: 'about:blank',
    title: PROBLEMS[code][1],
    status,
    detail: concealSecrets(extra.detail ?? hintOf(problem, request) ?? defaultDetail(problem)),
    instance: shownPathOf(request),
    code,
    requestId: request.id,
    ...(extra.errors ? { errors: extra.errors.map(shown) } : {}),
    ...extra.members,
  };
}

/** Says what to send. An API key where an access token is expected is a frequent mistake. */
function hintOf({ code }: Problem, request: FastifyRequest): string | undefined {
  if (code !== 'unauthenticated' && code !== 'invalid_token') return undefined;
  const { authorization = '', 'x-api-key': key } = request.headers;
  const isKeySent = key !== undefined || /^qm_/i.test(bearerTokenOf(request) ?? authorization);
  if (!isKeySent || !pathOf(request).startsWith('/v1/')) {
    return code === 'unauthenticated' ? 'Sign in, and send the access token as Authorization: Bearer.' : undefined;
  }
  return 'An API key works only on /call/{slug} and /v1/forward-auth, and as `key` of POST /v1/verify. Sign in, and send the access token.';
}

/** Conceals secrets: names of members and parameters come from the client. */
function shown({ pointer, detail }: FieldError): FieldError {
  return { pointer: concealSecrets(pointer), detail: concealSecrets(detail) };
}

function defaultDetail(problem: Problem): string {
  const [first, ...more] = problem.extra.errors ?? [];
  if (!first) return `${PROBLEMS[problem.code][1]}.`;
  const field = first.pointer === '' ? 'The body' : first.pointer.slice(1) || '""';
  return more.length > 0 ? `${field} ${first.detail} (and ${String(more.length)} more).` : `${field} ${first.detail}.`;
}

/** Returns the path of the route, without BASE_PATH and without the query, which may contain secrets. */
export function pathOf(request: FastifyRequest): string {
  return pathIn(request.raw.url ?? '/');
}

function pathIn(target: string): string {
  // In absolute form (RFC 9112, section 3.2.2) the target begins with an origin that the client chose.
  const url = target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, '') || '/';
  const end = url.search(/[?#]/);
  return end === -1 ? url : url.slice(0, end);
}

/** Returns the path as sent, for logs and responses, with secrets concealed: some clients put a key or a token there. */
export function shownPathOf(request: FastifyRequest): string {
  return concealSecrets(pathIn(request.originalUrl));
}
