import type { FastifyInstance, FastifyRequest, onRequestHookHandler } from 'fastify';
import type { ByteBudget } from '../http/byte-budget.js';
import { isReadable } from '../http/json-body.js';
import { declaredOptions } from '../http/route-options.js';
import type { AuthenticationGuard } from './authentication.guard.js';

/** Larger bodies count against the byte budget and are read only after the caller is authenticated. */
const SMALL_BYTES = 65_536;

/**
 * Authenticates requests to routes with raw bodies, which can be large, before their body is read: a stranger must not
 * make the server hold large bodies. Bodies that the parser would reject count as large, so that strangers get 401.
 */
export function admitLargeBodies(server: FastifyInstance, guard: AuthenticationGuard, budget: ByteBudget): void {
  server.addHook('onRoute', (route) => {
    if (!declaredOptions(route).rawBody) return;
    const limit = route.bodyLimit ?? Number(server.initialConfig.bodyLimit);
    const admit: onRequestHookHandler = (request, reply, done) => {
      const size = Math.min(sizeOfBody(request), limit);
      if (size <= SMALL_BYTES && (size === 0 || isReadable(request.headers))) {
        done();
        return;
      }
      guard
        .admit(request, reply)
        .then(() => {
          if (size > SMALL_BYTES) budget.hold(size, reply.raw);
        })
        .then(() => {
          done();
        }, done);
    };
    route.onRequest = [route.onRequest ?? [], admit].flat();
  });
}

/** The size of a body in bytes; infinite if the headers do not state it. */
function sizeOfBody({ headers }: FastifyRequest): number {
  return headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : Infinity;
}
