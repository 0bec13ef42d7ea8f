import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { Problem } from '../common/problem.js';
import { refuse, toProblem } from '../http/problem.filter.js';
import type { DeclaredOptions } from '../http/route-options.js';
import type { RequestValidationPipe } from '../http/validation.pipe.js';
import { METHODS } from './call.route.js';
import type { CallsService } from './calls.service.js';
import { ForwardAuthQuery } from './forward-auth.dto.js';

const PATH = '/v1/forward-auth';

/** Maximum number of validated queries to keep. Gateways send the few that their configurations contain. */
const QUERIES = 1_000;

/** Statuses that a gateway may not understand as a denial. */
const DENIALS = [402, 429];

/**
 * Serves `/v1/forward-auth`, any method: a gateway asks whether it may serve a request, and spends the units of it. As
 * hot as `/call`, so it bypasses Nest too.
 *
 * Some gateways (Envoy) append the path and query of the client to the path. The route below therefore takes nothing
 * from its path and query, because the client chose them.
 */
export async function serveForwardAuth(
  server: FastifyInstance,
  calls: CallsService,
  pipe: RequestValidationPipe,
): Promise<void> {
  const queries = new LRUCache<string, ForwardAuthQuery>({ max: QUERIES });
  const queryOf = async ({ url, query }: FastifyRequest): Promise<ForwardAuthQuery> => {
    const known = queries.get(url);
    if (known) return known;
    const read = (await pipe.transform(query, { type: 'query', metatype: ForwardAuthQuery })) as ForwardAuthQuery;
    queries.set(url, read);
    return read;
  };

  const answer = async (request: FastifyRequest, reply: FastifyReply, isBelow: boolean): Promise<void> => {
    const { api, cost, denyStatus } = isBelow ? new ForwardAuthQuery() : await queryOf(request);
    const slug = api ?? request.headers['x-quartermaster-api'];
    if (slug === undefined) throw Problem.field('/api', 'is required, or the header X-Quartermaster-Api');
    const call = await calls.authorize(request, { slug: String(slug), cost }).catch((error: unknown) => {
      throw denyStatus === undefined ? error : denied(error, Number(denyStatus));
    });
    closeIfUnread(request, reply);
    reply.headers(call.headers);
    reply.headers({ 'x-quartermaster-owner': call.ownerId, 'x-quartermaster-key': call.keyId });
    if (call.isReplayed) reply.header('idempotency-replayed', 'true');
    void reply.send();
  };
  await server.register((scope, _options, registered) => {
    scope.setErrorHandler((error, request, reply) => {
      const problem = toProblem(error) ?? new Problem('not_found');
      closeIfUnread(request, reply);
      void reply.header('x-quartermaster-code', problem.code);
      refuse(error, problem, request, reply);
    });
    for (const [url, isBelow] of [
      [PATH, false],
      [`${PATH}/*`, true],
    ] as const) {
      const config: DeclaredOptions = { isForwarded: true, passesOn: isBelow };
      scope.route({
        ...{ method: METHODS, url, config, exposeHeadRoute: false, compress: false },
        // Answers before the body is parsed: some gateways forward Content-Length and Content-Type without the body.
        preParsing: (request, reply, payload, done) => {
          server.usage.watch(request, reply);
          // Marks the body as not to be read: `refuse` would wait for it.
          request.body = payload;
          answer(request, reply, isBelow).catch(done);
        },
        handler: () => {
          throw new Error('The hook has answered');
        },
      });
    }
    registered();
  });
}

/** Closes the connection if the body did not arrive: the next request would be taken for it. */
function closeIfUnread({ raw }: FastifyRequest, reply: FastifyReply): void {
  const { 'transfer-encoding': coding, 'content-length': length = '0' } = raw.headers;
  if ((coding !== undefined || length !== '0') && !raw.complete) void reply.header('connection', 'close');
}

/** Returns the error with a status that the gateway understands. */
function denied(error: unknown, status: number): unknown {
  if (!(error instanceof Problem) || !DENIALS.includes(error.status)) return error;
  return new Problem(error.code, { ...error.extra, status });
}
