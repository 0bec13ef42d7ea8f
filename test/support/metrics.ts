import type { Api } from './api.js';
import { expectDone } from './fleet.js';

/** Reads the metrics of the platform, as of this call or later: a slow read is shared for some seconds. */
export async function platformMetrics(admin: Api): Promise<any> {
  const calledAt = Date.now();
  for (;;) {
    const { body } = expectDone(await admin.get('/v1/metrics'));
    if (Date.parse(body.asOf) >= calledAt) return body;
    stale++;
  }
}

let stale = 0;

/** Number of requests of `platformMetrics` that got older numbers. */
export function staleReads(): number {
  return stale;
}
