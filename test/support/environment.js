import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestEnvironment } from 'jest-environment-node';
import { contractOf } from './contract.js';

/** The maximum number of requests, and of lines of each log, in a report. */
const SHOWN = 40;

/** Runs a test file in Node. Adds the requests and server logs of a failed test to its message. */
export default class ServerLogEnvironment extends TestEnvironment {
  /** The size of each log in bytes when the test began. */
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
        // Inserted before the first frame, because Jest formats everything after it as stack frames.
        error.stack = error.stack.replace('\n    at ', () => `\n\n${report}\n    at `);
        break;
      }
    }
  }

  /** @override */
  async setup() {
    await super.setup();
    // Without this, the pools of the global setup would be used in its process.
    this.global.testPools = new Map();
    this.global.contractOf = contractOf;
  }

  /** @override */
  async teardown() {
    const ends = [...(this.global.testPools?.values() ?? [])].map((pool) => pool.end());
    // A failed test can leave a statement that waits for a lock.
    await Promise.race([Promise.all(ends), sleep(1_000, undefined, { ref: false })]);
    await super.teardown();
  }

  /** Returns the logs of the shared server and of servers started by this file. */
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
      // Other tests use the shared server concurrently, so lines are filtered by request id.
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
