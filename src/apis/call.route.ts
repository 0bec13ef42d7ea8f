import replyFrom from '@fastify/reply-from';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../common/problem.js';
import { pathOf, refuse, toProblem } from '../http/problem.filter.js';
import type { DeclaredOptions } from '../http/route-options.js';
import type { CallAnswer, CallsService } from './calls.service.js';
import { headersFromUpstream, headersToUpstream } from './upstream-headers.js';

export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Upstream timeout: for the response headers, and between two parts of the body. */
const UPSTREAM_MS = 30_000;

type CallRequest = FastifyRequest<{ Params: { slug: string; '*'?: string } }>;

/**
 * Serves `/call/{slug}` and below, any method. It is the hottest route, so it bypasses Nest's guards, interceptors and
 * pipes. Its only access rule, a valid key, is checked by the spend itself. Bodies are forwarded to upstreams unread.
 */
export async function serveCalls(server: FastifyInstance, calls: CallsService): Promise<void> {
  await server.register(async (scope) => {
    await scope.register(replyFrom, {
      // Request logging would log queries, which can contain secrets.
      ...{ disableRequestLogging: true, disableCache: true },
      // No connection limit: calls that hang at one upstream must not block the calls of other clients.
      undici: { connections: null, headersTimeout: UPSTREAM_MS, bodyTimeout: UPSTREAM_MS },
    });
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', (_request, payload, done) => {
      done(null, payload);
    });
    scope.setErrorHandler((error, request, reply) => {
      refuse(error, toProblem(error) ?? new Problem('not_found'), request, reply);
    });
    const handler = async (request: CallRequest, reply: FastifyReply): Promise<unknown> => {
      server.usage.watch(request, reply);
      if (climbs(pathOf(request))) throw new Problem('not_found');
      return answer(await calls.call(request, request.params.slug), request, reply);
    };
    for (const url of ['/call/:slug', '/call/:slug/*']) {
      const config: DeclaredOptions = { passesOn: true };
      scope.route({ method: METHODS, url, handler, config, exposeHeadRoute: false, compress: false });
    }
  });
}

/** Whether a path contains a `..` segment, in any encoding. Checked before the spend. */
function climbs(path: string): boolean {
  if (!path.includes('..') && !/%2e/i.test(path)) return false;
  const decoded = decodeURIComponent(path).replaceAll('\\', '/');
  return decoded.includes('/..') || decoded.includes('../');
}

function answer(call: CallAnswer, request: CallRequest, reply: FastifyReply): FastifyReply {
  reply.headers(call.headers);
  if (call.isReplayed) reply.header('idempotency-replayed', 'true');
  if (call.upstream === null) return reply.type('text/plain; charset=utf-8').send(call.answer);
  const upstream = { slug: request.params.slug, base: call.upstream, target: targetOf(call.upstream, request) };
  return reply.from(upstream.target, {
    // Forwarded exactly as sent. Only the path is decoded and checked.
    queryString: () => queryOf(request),
    // No retries: one unit is one upstream request. The client decides whether to retry.
    retryDelay: () => null,
    rewriteRequestHeaders: (_request, headers) => headersToUpstream(headers, request, call),
    rewriteHeaders: (headers) => headersFromUpstream(headers, upstream, request),
    onError: (_reply, { error }) => {
      refuse(error, new Problem('upstream_failed'), request, reply);
    },
  });
}

/** Returns the URL to forward a call to, without its query. */
function targetOf(upstream: string, request: CallRequest): string {
  const base = new URL(upstream);
  return base.origin + base.pathname.replace(/\/$/, '') + pathOf(request).replace(/^\/[^/]*\/[^/]*/, '');
}

function queryOf(request: CallRequest): string {
  const { url = '' } = request.raw;
  const [start, end] = [url.indexOf('?'), url.indexOf('#')];
  return start === -1 ? '' : url.slice(start + 1, end === -1 ? undefined : end);
}
