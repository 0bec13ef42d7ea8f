// The load generator: autocannon in a process of its own that lives for the whole run (so it is warm) and does one job
// at a time for its parent.
import autocannon from 'autocannon';

/**
 * @typedef {{ method: 'GET' | 'POST' | 'PUT', path: string, headers?: Record<string, string>, body?: string }} LoadRequest
 * @typedef {{ url: string, connections: number, seconds: number, requests: LoadRequest[] }} Job
 * @typedef {{ rate: number, p50: number, p99: number, statuses: Record<string, number>, errors: number }} Outcome
 *   `rate` in answers a second, latencies in milliseconds
 */

/** autocannon's own histogram knows whole milliseconds only. */
const BUCKETS_PER_MS = 100;
const LONGEST_MS = 10_000;

/**
 * @param {Job} job
 * @returns {Promise<Outcome>}
 */
async function run({ url, connections, seconds, requests }) {
  const histogram = new Uint32Array(LONGEST_MS * BUCKETS_PER_MS + 1);
  /** @type {Record<string, number>} */
  const statuses = {};
  let count = 0;
  let first = 0;
  let last = 0;
  let client = 0;
  /** @type {import('autocannon').Options} */
  const options = {
    url,
    connections,
    duration: seconds,
    sampleInt: 100,
    // Each connection asks for its own share of the requests, so that no two ask for the same at once; where there are
    // fewer requests than connections they have to share.
    setupClient: (each) => {
      const at = client++;
      each.setRequests(
        requests.length < connections
          ? requests.slice(at % requests.length, (at % requests.length) + 1)
          : requests.filter((_request, i) => i % connections === at),
      );
    },
  };
  const { errors, timeouts } = await new Promise((resolve, reject) => {
    const instance = autocannon(options, (/** @type {unknown} */ error, result) => {
      if (error) reject(error);
      else resolve(result);
    });
    instance.on('response', (_client, status, _bytes, ms) => {
      last = performance.now();
      first ||= last;
      count++;
      statuses[status] = (statuses[status] ?? 0) + 1;
      const bucket = Math.min(Math.floor(ms * BUCKETS_PER_MS), histogram.length - 1);
      histogram[bucket] = (histogram[bucket] ?? 0) + 1;
    });
  });
  return {
    rate: (count - 1) / ((last - first) / 1_000),
    p50: percentile(histogram, count * 0.5),
    p99: percentile(histogram, count * 0.99),
    statuses,
    errors: errors + timeouts,
  };
}

/**
 * @param {Uint32Array} histogram
 * @param {number} rank
 */
function percentile(histogram, rank) {
  let seen = 0;
  const bucket = histogram.findIndex((count) => (seen += count) >= rank);
  return (bucket + 0.5) / BUCKETS_PER_MS;
}

process.on('message', (message) => {
  void run(/** @type {Job} */ (message)).then((outcome) => process.send?.(outcome));
});
// Nothing is left behind when the parent is killed.
process.on('disconnect', () => process.exit());
