import type { ServerResponse } from 'node:http';
import { Problem } from '../common/problem.js';

/**
 * Limits the memory that large requests and responses use together. Bytes are held until the response closes: sent, or
 * aborted by the client.
 */
export class ByteBudget {
  private held = 0;

  /** @param max total bytes; a single request or response may be larger if nothing else is held */
  constructor(private readonly max: number) {}

  /** @throws Problem overloaded if the budget is exhausted */
  hold(bytes: number, response: ServerResponse): void {
    if (this.held > 0 && this.held + bytes > this.max) throw new Problem('overloaded', { retryAfter: 1 });
    // No `close` event would release the bytes.
    if (response.closed) return;
    this.held += bytes;
    response.once('close', () => {
      this.held -= bytes;
    });
  }
}
