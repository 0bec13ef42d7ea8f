import { jest } from '@jest/globals';
import { SharedRead } from './shared-read.js';

const MAX_AGE_MS = 5_000;

/** A SharedRead of rising numbers, whose reads take a time on a clock of its own. */
function make(times: number[]) {
  const state = { reads: 0, running: 0, most: 0, now: 0 };
  jest.spyOn(performance, 'now').mockImplementation(() => state.now);
  const shared = new SharedRead(MAX_AGE_MS, async () => {
    const place = state.reads++;
    state.most = Math.max(state.most, ++state.running);
    await new Promise((resolve) => setImmediate(resolve));
    state.now += times[place] ?? 1;
    state.running--;
    return place;
  });
  return { state, shared };
}

describe('SharedRead.get', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  test('fast reads: a new value for each call', async () => {
    const { shared } = make([100, 1, 1]);
    expect([await shared.get(), await shared.get(), await shared.get()]).toEqual([0, 1, 2]);
  });

  test('concurrent calls: one read at a time, and a second one for all that come during the first', async () => {
    const { state, shared } = make([]);
    const first = shared.get();
    const others = Array.from({ length: 20 }, () => shared.get());
    expect(await first).toBe(0);
    expect(new Set(await Promise.all(others))).toEqual(new Set([1]));
    expect(state).toMatchObject({ reads: 2, most: 1 });
  });

  test('slow read: its value is kept for ten times its duration, also for calls that wait', async () => {
    const { state, shared } = make([150, 1]);
    const [first, waiting] = [shared.get(), shared.get()];
    expect([await first, await waiting]).toEqual([0, 0]);
    state.now = 1_499;
    expect(await shared.get()).toBe(0);
    state.now = 1_500;
    expect(await shared.get()).toBe(1);
  });

  test('very slow read: no value is older than the maximum age', async () => {
    const { state, shared } = make([4_000, 6_000, 1]);
    expect(await shared.get()).toBe(0);
    state.now = 4_999;
    expect(await shared.get()).toBe(0);
    state.now = 5_000;
    expect(await shared.get()).toBe(1);
    expect(await shared.get()).toBe(2);
  });

  test('failed read: rejects, and the next call reads again', async () => {
    let isAway = true;
    const shared = new SharedRead(MAX_AGE_MS, () => (isAway ? Promise.reject(new Error('away')) : Promise.resolve(1)));
    await expect(shared.get()).rejects.toThrow('away');
    isAway = false;
    expect(await shared.get()).toBe(1);
  });
});
