import type { Database, Statement } from '../../database/database.js';
import { CallRanks } from './call-ranks.js';

/** Owners per statement. */
const BATCH = 100;

interface Asked {
  name: string | undefined;
  values: unknown[];
}

/** A database whose answers come from the test. */
function make(answer: (asked: Asked, count: number) => unknown[] | Promise<unknown[]> = () => []) {
  const asked: Asked[] = [];
  const query = async ({ name }: Statement, values: unknown[]): Promise<unknown[]> => {
    asked.push({ name, values });
    return answer(asked.at(-1)!, asked.length);
  };
  const ranks = new CallRanks({ query } as unknown as Database);
  return {
    asked,
    ranks,
    ranked: () => asked.filter(({ name }) => name === 'calls-rank').map(({ values }) => values[0]),
  };
}

const LOST = new Error('Connection terminated unexpectedly');

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('flush ranks each touched owner once, in the lock order of spends', async () => {
  const { ranks, ranked } = make();
  for (const owner of ['c', 'a', 'b', 'a', 'c']) ranks.touch(owner);
  await ranks.flush();
  expect(ranked()).toEqual([['a', 'b', 'c']]);
  await ranks.flush();
  expect(ranked()).toHaveLength(1);
});

test('flush ranks owners in batches', async () => {
  const { ranks, ranked } = make();
  const owners = Array.from({ length: 2 * BATCH + 1 }, (_, i) => `o${String(i).padStart(4, '0')}`);
  for (const owner of owners) ranks.touch(owner);
  await ranks.flush();
  expect(ranked().map((batch) => (batch as string[]).length)).toEqual([BATCH, BATCH, 1]);
  expect(ranked().flat()).toEqual(owners);
});

test('flush keeps the owners of a failed batch and of later batches, and retries them', async () => {
  const state = { isAway: false };
  const { ranks, ranked } = make((_asked, count) => {
    if (count === 2) state.isAway = true;
    if (state.isAway) throw LOST;
    return [];
  });
  const owners = Array.from({ length: 2 * BATCH + 1 }, (_, i) => `o${String(i).padStart(4, '0')}`);
  for (const owner of owners) ranks.touch(owner);
  await ranks.flush();
  await ranks.flush();
  expect(ranked()).toEqual([owners.slice(0, BATCH), owners.slice(BATCH, 2 * BATCH), owners.slice(BATCH, 2 * BATCH)]);
  state.isAway = false;
  ranks.touch('o9999');
  await ranks.flush();
  expect(ranked().slice(3).flat()).toEqual([...owners.slice(BATCH), 'o9999']);
  await ranks.flush();
  expect(ranked()).toHaveLength(5);
});

test('flush waits for the flush in progress and for owners touched before the call', async () => {
  let release = (): void => undefined;
  const { ranks, ranked } = make((_asked, count) =>
    count === 1
      ? new Promise(
          (resolve) =>
            (release = () => {
              resolve([]);
            }),
        )
      : [],
  );
  const done: string[] = [];
  ranks.touch('a');
  const first = ranks.flush().then(() => done.push('first'));
  await turn();
  ranks.touch('b');
  const others = [ranks.flush().then(() => done.push('second')), ranks.flush().then(() => done.push('third'))];
  await turn();
  expect([ranked(), done]).toEqual([[['a']], []]);
  release();
  await Promise.all([first, ...others]);
  expect(ranked()).toEqual([['a'], ['b']]);
  expect(done[0]).toBe('first');
});

test('an owner touched while a statement runs is ranked by the next flush', async () => {
  const { ranks, ranked } = make((_asked, count) => {
    if (count === 1) ranks.touch('a');
    return [];
  });
  ranks.touch('a');
  await ranks.flush();
  await ranks.flush();
  expect(ranked()).toEqual([['a'], ['a']]);
});

describe('after the start', () => {
  const clocks = { setInterval };
  /** Runs the work of one interval. */
  let second = (): void => undefined;

  beforeEach(() => {
    globalThis.setInterval = (work: () => void) => {
      second = work;
      return clocks.setInterval(() => undefined, 1_000_000);
    };
  });

  afterEach(() => {
    globalThis.setInterval = clocks.setInterval;
  });

  /** Creates owners; every third one has an outdated rank. */
  function pages(count: number): { ownerId: string; isOff: boolean }[] {
    return Array.from({ length: count }, (_, i) => ({ ownerId: `o${String(i).padStart(5, '0')}`, isOff: i % 3 === 0 }));
  }

  async function untilQuiet(asked: Asked[]): Promise<void> {
    for (let before = -1; before !== asked.length;) {
      before = asked.length;
      for (let i = 0; i < 20; i++) await turn();
    }
  }

  test('reads all owners once, page by page, and corrects outdated ranks', async () => {
    const all = pages(2 * BATCH + 7);
    const { ranks, asked, ranked } = make(({ name, values: [after, limit] }) =>
      name === 'calls-unranked' ? all.filter(({ ownerId }) => ownerId > String(after)).slice(0, Number(limit)) : [],
    );
    ranks.onApplicationBootstrap();
    second();
    await untilQuiet(asked);
    expect(asked.filter(({ name }) => name === 'calls-unranked')).toHaveLength(3);
    expect(ranked().flat()).toEqual(all.filter(({ isOff }) => isOff).map(({ ownerId }) => ownerId));
    const before = asked.length;
    second();
    await untilQuiet(asked);
    expect(asked).toHaveLength(before);
    await ranks.stop();
  });

  test('continues at the failed page after a failure', async () => {
    const all = pages(BATCH + 1);
    const state = { failures: 0 };
    const { ranks, asked, ranked } = make(({ name, values: [after, limit] }) => {
      if (name === 'calls-unranked') {
        return all.filter(({ ownerId }) => ownerId > String(after)).slice(0, Number(limit));
      }
      if (state.failures++ === 0) throw LOST;
      return [];
    });
    ranks.onApplicationBootstrap();
    for (let i = 0; i < 3; i++) {
      second();
      await untilQuiet(asked);
    }
    const off = all.filter(({ isOff }) => isOff).map(({ ownerId }) => ownerId);
    // The first page is ranked twice, because its first attempt failed.
    expect(ranked().slice(1).flat()).toEqual(off);
    await ranks.stop();
  });

  test('stop ranks the touched owners', async () => {
    const { ranks, asked, ranked } = make();
    ranks.onApplicationBootstrap();
    ranks.touch('a');
    await ranks.stop();
    expect(ranked()).toEqual([['a']]);
    second();
    await untilQuiet(asked);
    expect(ranked()).toEqual([['a']]);
  });
});
