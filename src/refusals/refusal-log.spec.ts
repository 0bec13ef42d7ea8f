import type { Call, Spend } from '../quota/calls/spender.js';
import { MAX_OF_OWNER, RefusalLog } from './refusal-log.js';
import type { RefusalRow, RefusalsRepository } from './refusals.repository.js';

const CALL: Call = { hash: '', slug: 'api1', cost: 1, dryRun: false };

/** A log with the batches that it writes. A write fails while `isDown`. */
class Bench {
  isDown = false;
  readonly batches: { rows: readonly RefusalRow[]; trimmed: readonly string[] }[] = [];
  readonly log = new RefusalLog({
    insert: (rows: readonly RefusalRow[], trimmed: readonly string[]) => {
      if (this.isDown) return Promise.reject(new Error('away'));
      this.batches.push({ rows, trimmed });
      return Promise.resolve();
    },
  } as unknown as RefusalsRepository);

  record(ownerId: string | null, requestId: string): void {
    const said = { ownerId, keyId: 'k', moment: 0 };
    this.log.record(requestId, CALL, { code: 'scope_denied', limitResponses: [], said } as unknown as Spend);
  }

  async flush(): Promise<string[]> {
    const before = this.batches.length;
    await this.log.flush();
    return this.batches.slice(before).flatMap(({ rows }) => rows.map(({ requestId }) => requestId));
  }
}

test('writes each refusal once, and nothing if there is none', async () => {
  const bench = new Bench();
  expect(await bench.flush()).toEqual([]);
  bench.record('a', '1');
  bench.record('b', '2');
  bench.record(null, '3');
  expect(await bench.flush()).toEqual(['1', '2']);
  expect(await bench.flush()).toEqual([]);
  expect(bench.batches).toHaveLength(1);
});

test('keeps the last refusals of a flood, and those of other owners', async () => {
  const bench = new Bench();
  bench.record('b', 'other');
  for (let i = 0; i < 1_000; i++) bench.record('a', String(i));
  const written = await bench.flush();
  expect(written).toHaveLength(MAX_OF_OWNER + 1);
  expect(written).toContain('other');
  expect(written.at(-1)).toBe('999');
});

test('keeps 500 refusals of all owners: then each owner keeps its last ones', async () => {
  const bench = new Bench();
  for (let i = 0; i < 500; i++) bench.record(`u${i}`, 'first');
  bench.record('one more', 'lost');
  bench.record('u7', 'last');
  const written = await bench.flush();
  expect(written).toHaveLength(500);
  expect(written.filter((id) => id !== 'first')).toEqual(['last']);
});

test('after a failed write: writes the refusals again, in order', async () => {
  const bench = new Bench();
  bench.record('a', '1');
  bench.isDown = true;
  expect(await bench.flush()).toEqual([]);
  bench.record('a', '2');
  bench.isDown = false;
  expect(await bench.flush()).toEqual(['1', '2']);
});

test('trims an owner after every 200 rows', async () => {
  const bench = new Bench();
  for (let i = 0; i < 10; i++) {
    for (let j = 0; j < MAX_OF_OWNER; j++) bench.record('a', 'x');
    bench.record('b', 'x');
    await bench.flush();
  }
  expect(bench.batches.map(({ trimmed }) => trimmed.length)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  expect(bench.batches.at(-1)?.trimmed).toEqual(['a']);
});
