import { Problem } from '../common/problem.js';
import { HashQueue } from './hash-queue.js';

/** Runs work that ends on request. */
class Bench {
  readonly started: string[] = [];
  readonly refused: string[] = [];
  atOnce = 0;
  private readonly ends: (() => void)[] = [];

  constructor(private readonly queue: HashQueue) {}

  ask(name: string, place = name.replace(/\d+$/, ''), isKnown = false): void {
    void this.queue
      .run({ place, isKnown }, () => {
        this.started.push(name);
        this.atOnce++;
        return new Promise<void>((end) => this.ends.push(end)).then(() => {
          this.atOnce--;
        });
      })
      .catch((error: unknown) => {
        this.refused.push(error instanceof Problem && error.code === 'overloaded' ? name : String(error));
      });
  }

  /** Ends the oldest running work. */
  async end(times = 1): Promise<void> {
    for (let i = 0; i < times; i++) {
      this.ends.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

const ask = (bench: Bench, place: string, count: number): void => {
  for (let i = 1; i <= count; i++) bench.ask(`${place}${i}`);
};

describe('the queue of hashes', () => {
  test('runs as many at once as it has lanes, in order of arrival at one place', async () => {
    const bench = new Bench(new HashQueue(2, 10));
    ask(bench, 'a', 6);
    expect(bench.started).toEqual(['a1', 'a2']);
    while (bench.started.length < 6) {
      await bench.end();
      expect(bench.atOnce).toBe(2);
    }
    expect(bench.started).toEqual(['a1', 'a2', 'a3', 'a4', 'a5', 'a6']);
    await bench.end(2);
    bench.ask('a7');
    expect(bench.started.at(-1)).toBe('a7');
  });

  test('takes places in turn, even if many wait at one of them', async () => {
    const bench = new Bench(new HashQueue(1, 100));
    ask(bench, 'flood', 20);
    ask(bench, 'a', 2);
    ask(bench, 'b', 1);
    await bench.end(6);
    expect(bench.started).toEqual(['flood1', 'flood2', 'a1', 'b1', 'flood3', 'a2', 'flood4']);
  });

  test('runs known places first', async () => {
    const bench = new Bench(new HashQueue(1, 100));
    ask(bench, 'x', 1);
    ask(bench, 'y', 1);
    bench.ask('owner', 'home', true);
    await bench.end(2);
    expect(bench.started).toEqual(['x1', 'owner', 'y1']);
  });

  test('gives every third turn to strangers, even if many known places wait', async () => {
    const bench = new Bench(new HashQueue(1, 100));
    for (let i = 1; i <= 9; i++) bench.ask(`owner${i}`, 'home', true);
    ask(bench, 'x', 2);
    await bench.end(6);
    expect(bench.started).toEqual(['owner1', 'owner2', 'owner3', 'x1', 'owner4', 'owner5', 'x2']);
  });

  test('rejects waiters of the place with the most waiters when it is full', async () => {
    const bench = new Bench(new HashQueue(1, 4));
    ask(bench, 'flood', 7);
    expect(bench.refused).toEqual([]);
    await bench.end(0);
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(bench.refused).toEqual(['flood6', 'flood7']);
    bench.ask('a1');
    bench.ask('a2');
    // Now each place has its full share.
    bench.ask('a3');
    bench.ask('flood8');
    await new Promise((resolve) => setImmediate(resolve));
    expect(bench.refused.slice(2)).toEqual(['flood5', 'flood4', 'a3', 'flood8']);
    await bench.end(5);
    expect(bench.started).toEqual(['flood1', 'flood2', 'a1', 'flood3', 'a2']);
  });

  test('makes room for a known place among any number of strangers', async () => {
    const bench = new Bench(new HashQueue(1, 4));
    for (const place of ['a', 'b', 'c', 'd', 'e', 'f']) ask(bench, place, 1);
    bench.ask('owner', 'home', true);
    await bench.end(1);
    expect(bench.refused).toHaveLength(2);
    expect(bench.started).toEqual(['a1', 'owner']);
    // Known places share fairly among themselves, too.
    for (let i = 0; i < 6; i++) bench.ask(`greedy${i}`, 'greedy', true);
    bench.ask('other', 'elsewhere', true);
    await bench.end(2);
    expect(bench.started).toEqual(['a1', 'owner', 'greedy0', 'other']);
  });

  test('continues when work fails', async () => {
    const queue = new HashQueue(1, 4);
    const turn = { place: 'a', isKnown: false };
    const failing = queue.run(turn, () => Promise.reject(new Error('no')));
    const next = queue.run(turn, () => Promise.resolve('done'));
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('done');
  });
});
