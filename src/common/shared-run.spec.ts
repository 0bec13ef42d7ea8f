import { SharedRun } from './shared-run.js';

/** A run that ends when it is told to. */
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

describe('a shared run', () => {
  test('begins at once, and again for whoever asks meanwhile, together', async () => {
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

  test('never runs twice at the same time, whoever asks in the very moment it ends', async () => {
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

  test('runs on after it has failed, and tells those whose run it was', async () => {
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
