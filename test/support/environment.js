import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestEnvironment } from 'jest-environment-node';
import { contractOf } from './contract.js';

/** Requests, and lines of each log, that a report shows at most: the last ones. */
const SHOWN = 40;

/** Runs a file of tests in Node; the message of a test that fails also has its requests and what the servers logged. */
export default class ServerLogEnvironment extends TestEnvironment {
  /** Bytes of each log when the test began. */
  /** @type {Map<string, number>} */
  sizes = new Map();

  /** @param {{ name: string, test?: { errors: any[] } }} event */
  handleTestEvent(event) {
    const { global } = this;
    if (event.name === 'test_start') {
      global.testRequests = [];
      this.sizes = new Map(this.logs().map((log) => [log, statSync(log).size]));
    } else if (event.name === 'test_done' && event.test && event.test.errors.length > 0) {
      const report = this.report();
      for (const entry of event.test.errors) {
        const error = Array.isArray(entry) ? (entry[0] ?? entry[1]) : entry;
        if (!(error?.stack?.includes('\n    at ') ?? false)) continue;
        // Before the first frame: what stands behind it is formatted as frames.
        error.stack = error.stack.replace('\n    at ', () => `\n\n${report}\n    at `);
        break;
      }
    }
  }

  /** @override */
  async setup() {
    await super.setup();
    // Else, in the process of the global setup, that of the setup.
    this.global.testPools = new Map();
    this.global.contractOf = contractOf;
  }

  /** @override */
  async teardown() {
    const ends = [...(this.global.testPools?.values() ?? [])].map((pool) => pool.end());
    // A test that has failed may have left a statement that waits for a lock.
    await Promise.race([Promise.all(ends), sleep(1_000, undefined, { ref: false })]);
    await super.teardown();
  }

  /** Logs of the shared server and of those that this file has started. */
  logs() {
    const shared = process.env.TEST_SERVER_LOG;
    return [...(shared === undefined ? [] : [shared]), ...(this.global.testLogs ?? [])];
  }

  report() {
    const requests = this.global.testRequests ?? [];
    const ids = requests.map(({ id }) => `"${id}"`);
    const lines = requests.slice(-SHOWN).map(({ id, line }) => `  ${id}  ${line}`);
    const logged = this.logs().flatMap((log) => {
      const text = readFrom(log, this.sizes.get(log) ?? 0);
      const isShared = log === process.env.TEST_SERVER_LOG;
      // Other tests use the shared server at the same time.
      const own = text.split('\n').filter((line) => line !== '' && (!isShared || ids.some((id) => line.includes(id))));
      return own.slice(-SHOWN).map((line) => `  ${line}`);
    });
    return ['Requests of this test:', ...lines, 'Log of the servers meanwhile:', ...logged].join('\n');
  }
}

/**
 * @param {string} file
 * @param {number} start
 */
function readFrom(file, start) {
  const length = Math.max(0, statSync(file).size - start);
  const bytes = Buffer.alloc(length);
  const handle = openSync(file, 'r');
  readSync(handle, bytes, 0, length, start);
  closeSync(handle);
  return bytes.toString();
}
