import type { FastifyReply, FastifyRequest } from 'fastify';

/** Counts requests for the usage metrics. The metrics module provides it as `server.usage`. */
export interface UsageRecorder {
  /**
   * Counts a request when its response is sent or aborted. Everything that answers requests calls it: for controllers
   * the usage interceptor, for errors `refuse`. Further calls for the same request have no effect.
   */
  watch(request: FastifyRequest, reply: FastifyReply): void;
}

declare module 'fastify' {
  interface FastifyInstance {
    usage: UsageRecorder;
  }
}
