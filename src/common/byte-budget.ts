import type { ServerResponse } from 'node:http';
import { Problem } from './problem.js';

/**
 * Bounds what large requests and answers hold in memory together. Bytes are held until the response is over: sent, or
 * given up by the client.
 */
export class ByteBudget {
  private held = 0;

  /** @param max bytes in all; one request or answer alone may be larger */
  constructor(private readonly max: number) {}

  /** @throws Problem overloaded when there is no room now */
  hold(bytes: number, response: ServerResponse): void {
    if (this.held > 0 && this.held + bytes > this.max) throw new Problem('overloaded', { retryAfter: 1 });
    // Nothing would let go of it.
    if (response.closed) return;
    this.held += bytes;
    response.once('close', () => {
      this.held -= bytes;
    });
  }
}
