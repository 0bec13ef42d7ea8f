import { SharedRun } from './shared-run.js';

/** A SharedRun whose runs end only when the test ends them. */
function heldRuns() {
  const ends: { resolve: () => void; reject: (error: Error) => void }[] = [];
  const shared = new SharedRun(
    () =>
      new Promise<void>((resolve, reject) => {
        ends.push({ resolve, reject });
      }),
  );
  return { ends, shared };
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe('SharedRun.run', () => {
  test('first call: runs at once; calls during a run: share the next run', async () => {
    const { ends, shared } = heldRuns();
    const first = shared.run();
    const [second, third] = [shared.run(), shared.run()];
    expect(ends).toHaveLength(1);
    let isSecondDone = false;
    void second.then(() => (isSecondDone = true));
    ends[0]?.resolve();
    await first;
    await settle();
    expect([ends.length, isSecondDone]).toEqual([2, false]);
    ends[1]?.resolve();
    await Promise.all([second, third]);
    const fourth = shared.run();
    expect(ends).toHaveLength(3);
    ends[2]?.resolve();
    await fourth;
  });

  test('call at the moment a run ends: no two runs at the same time', async () => {
    const { ends, shared } = heldRuns();
    const first = shared.run();
    const second = shared.run();
    const third = first.then(() => shared.run());
    ends[0]?.resolve();
    await first;
    await settle();
    expect(ends).toHaveLength(2);
    ends[1]?.resolve();
    await second;
    await settle();
    ends[2]?.resolve();
    await third;
  });

  test('failed run: rejects its own callers only; the next run starts', async () => {
    const { ends, shared } = heldRuns();
    const first = shared.run();
    const second = shared.run();
    ends[0]?.reject(new Error('lost'));
    await expect(first).rejects.toThrow('lost');
    await settle();
    ends[1]?.resolve();
    await expect(second).resolves.toBeUndefined();
  });
});
