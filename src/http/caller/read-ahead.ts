import { Injectable, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { AuthenticatedRequest } from './caller.js';

/** Starts the read of a request for the user that its token names; undefined if the request must wait. */
export type Read = (userId: string, request: FastifyRequest) => Promise<unknown> | undefined;

type Handler = ReturnType<ExecutionContext['getHandler']>;

/**
 * Reads that a route starts while the session of the caller is checked, so that both go to the database together. The
 * token is verified before, and the handler, which runs only if the session is valid, gets the result. For reads of what
 * the user owns, whatever the user's role is.
 */
@Injectable()
export class ReadAhead {
  private readonly reads = new Map<Handler, Read>();

  /** Declares the read of a route. Its handler gets the result from `request.ahead`. */
  declare(handler: Handler, read: Read): void {
    this.reads.set(handler, read);
  }

  /** Returns the read of a route, if it has one. */
  of(handler: Handler): Read | undefined {
    return this.reads.get(handler);
  }
}

/** Starts the read of a request, if its route declares one. Called after its token is verified. */
export function readAhead(request: AuthenticatedRequest, userId: string): void {
  const reading = request.read?.(userId, request);
  if (!reading) return;
  // If the session is not valid, nothing awaits the read.
  reading.catch(() => undefined);
  request.ahead = reading;
}
