import { randomBytes } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { addressOf } from '../common/address.js';
import type { AuthenticatedRequest } from './caller/caller.js';
import { shownPathOf } from './problem.filter.js';
import { hasSecret } from '../common/secret-shapes.js';

/** Adds the request id to every response and logs one line per request. */
export function logRequests(server: FastifyInstance, logger: Logger): void {
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
          user: request.user?.userId,
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
export function requestIds(): (request: { headers: Record<string, string | string[] | undefined> }) => string {
  const process = randomBytes(4).toString('hex');
  let count = 0;
  return ({ headers }) => {
    const given = headers['x-request-id'];
    // The id is logged and recorded in the audit log, so it must not contain a secret.
    if (typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) && !hasSecret(given)) return given;
    return `${process}-${(count++).toString(36)}`;
  };
}
