import { Coalescer, type CoalescerOptions } from './coalescer.js';

interface Call {
  batch: string[];
  answer: (answers?: string[]) => void;
  fail: (error: unknown) => void;
}

/** Statements that end when the test says so. */
function statements() {
  const calls: Call[] = [];
  const run = (batch: readonly string[]): Promise<string[]> =>
    new Promise((resolve, reject) => {
      calls.push({
        batch: [...batch],
        answer: (answers = batch.map((request) => `${request}!`)) => {
          resolve(answers);
        },
        fail: reject,
      });
    });
  return { calls, run };
}

function make(options: CoalescerOptions<string> = {}) {
  const { calls, run } = statements();
  return { calls, coalescer: new Coalescer(run, options) };
}

/** One turn of the event loop, after which what was added has been sent. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const batches = (calls: Call[]): string[] => calls.map((call) => call.batch.join(''));

const databaseError = (code: string): Error => Object.assign(new Error(code), { code });

describe('a coalescer', () => {
  test('sends one request at once, alone', async () => {
    const { calls, coalescer } = make();
    for (const request of ['a', 'b', 'c']) {
      const answer = coalescer.add(request);
      await turn();
      expect(calls.at(-1)?.batch).toEqual([request]);
      calls.at(-1)?.answer();
      expect(await answer).toBe(`${request}!`);
    }
    expect(calls).toHaveLength(3);
  });

  test('lets nobody wait while fewer statements than allowed are in flight', async () => {
    const { calls, coalescer } = make({ inFlight: 2 });
    const first = coalescer.add('a');
    await turn();
    const second = coalescer.add('b');
    await turn();
    expect(batches(calls)).toEqual(['a', 'b']);
    calls[1]?.answer();
    expect(await second).toBe('b!');
    calls[0]?.answer();
    expect(await first).toBe('a!');
  });

  test('sends together what arrived while its statements were in flight, in order of arrival', async () => {
    const { calls, coalescer } = make({ inFlight: 1 });
    const answers = [coalescer.add('a')];
    await turn();
    for (const request of ['d', 'c', 'b']) {
      answers.push(coalescer.add(request));
      await turn();
    }
    expect(batches(calls)).toEqual(['a']);
    calls[0]?.answer();
    await turn();
    expect(batches(calls)).toEqual(['a', 'dcb']);
    calls[1]?.answer();
    expect(await Promise.all(answers)).toEqual(['a!', 'd!', 'c!', 'b!']);
  });

  test('sends together what arrives in one turn, at most maxBatch in a statement, at most inFlight statements', async () => {
    const { calls, coalescer } = make({ inFlight: 2, maxBatch: 3 });
    const answers = Promise.all([...'abcdefgh'].map((request) => coalescer.add(request)));
    await turn();
    expect(batches(calls)).toEqual(['abc', 'def']);
    calls[1]?.answer();
    await turn();
    expect(batches(calls)).toEqual(['abc', 'def', 'gh']);
    calls[0]?.answer();
    calls[2]?.answer();
    expect((await answers).join('')).toBe('a!b!c!d!e!f!g!h!');
  });

  test('asks once for requests with one key, and gives each the answer', async () => {
    const { calls, coalescer } = make({ key: (request) => request.toLowerCase() });
    const answers = Promise.all([...'aBAbc'].map((request) => coalescer.add(request)));
    await turn();
    expect(batches(calls)).toEqual(['aBc']);
    calls[0]?.answer(['1', '2', '3']);
    expect(await answers).toEqual(['1', '2', '1', '2', '3']);
  });

  test('never answers a request from a statement that was sent before it, whatever its key', async () => {
    const { calls, coalescer } = make({ key: (request) => request });
    const before = coalescer.add('a');
    await turn();
    const after = coalescer.add('a');
    await turn();
    calls[0]?.answer(['old']);
    expect(await before).toBe('old');
    calls[1]?.answer(['new']);
    expect(await after).toBe('new');
  });

  test('refuses one more than may wait, and takes requests again when there is room', async () => {
    const { calls, coalescer } = make({ inFlight: 1, maxWaiting: 2 });
    const answers = [coalescer.add('a')];
    await turn();
    answers.push(coalescer.add('b'), coalescer.add('c'));
    await expect(coalescer.add('d')).rejects.toMatchObject({
      code: 'overloaded',
      status: 503,
      extra: { retryAfter: 1 },
    });
    calls[0]?.answer();
    await turn();
    answers.push(coalescer.add('e'));
    calls[1]?.answer();
    await turn();
    calls[2]?.answer();
    expect(await Promise.all(answers)).toEqual(['a!', 'b!', 'c!', 'e!']);
    expect(batches(calls)).toEqual(['a', 'bc', 'e']);
  });

  describe('of requests that have a size', () => {
    /** As long as they are written. */
    const sizeOf = (request: string): number => request.length;

    test('sends as many together as fit, in order of arrival, and leaves the rest to the next', async () => {
      const { calls, coalescer } = make({ inFlight: 1, maxBatch: 5, sizeOf });
      const answers = Promise.all(['aa', 'bb', 'cc', 'd', 'eeee', 'f', 'g'].map((request) => coalescer.add(request)));
      const sent = ['aabb', 'ccd', 'eeeef', 'g'];
      for (const [i] of sent.entries()) {
        await turn();
        calls[i]?.answer();
      }
      expect(await answers).toEqual(['aa!', 'bb!', 'cc!', 'd!', 'eeee!', 'f!', 'g!']);
      expect(batches(calls)).toEqual(sent);
    });

    test('sends alone what is larger than a statement may be, in its turn', async () => {
      const { calls, coalescer } = make({ inFlight: 1, maxBatch: 3, sizeOf });
      const answers = Promise.all(['a', 'bbbbbbb', 'c', 'dd', 'eeee'].map((request) => coalescer.add(request)));
      const sent = ['a', 'bbbbbbb', 'cdd', 'eeee'];
      for (const [i] of sent.entries()) {
        await turn();
        calls[i]?.answer();
      }
      await answers;
      expect(batches(calls)).toEqual(sent);
    });

    test('lets no more wait than the bound, however few they are, and takes as much again as was sent', async () => {
      const { calls, coalescer } = make({ inFlight: 1, maxBatch: 4, maxWaiting: 6, sizeOf });
      const answers = [coalescer.add('a')];
      await turn();
      answers.push(coalescer.add('bbb'), coalescer.add('cc'));
      await expect(coalescer.add('dd')).rejects.toMatchObject({ code: 'overloaded' });
      // What was refused takes no room.
      answers.push(coalescer.add('e'));
      await expect(coalescer.add('f')).rejects.toMatchObject({ code: 'overloaded' });
      calls[0]?.answer();
      await turn();
      answers.push(coalescer.add('ggg'));
      await expect(coalescer.add('h')).rejects.toMatchObject({ code: 'overloaded' });
      for (let i = 1; i < 4; i++) {
        calls[i]?.answer();
        await turn();
      }
      expect(await Promise.all(answers)).toEqual(['a!', 'bbb!', 'cc!', 'e!', 'ggg!']);
      expect(batches(calls)).toEqual(['a', 'bbb', 'cce', 'ggg']);
    });

    test('takes one that is larger than all that may wait while nothing waits, and only then', async () => {
      const { calls, coalescer } = make({ inFlight: 1, maxBatch: 2, maxWaiting: 3, sizeOf });
      const answers = [coalescer.add('a')];
      await turn();
      answers.push(coalescer.add('bbbbbb'));
      await expect(coalescer.add('c')).rejects.toMatchObject({ code: 'overloaded' });
      calls[0]?.answer();
      await turn();
      answers.push(coalescer.add('dd'));
      await expect(coalescer.add('eeeeee')).rejects.toMatchObject({ code: 'overloaded' });
      calls[1]?.answer();
      await turn();
      calls[2]?.answer();
      expect(await Promise.all(answers)).toEqual(['a!', 'bbbbbb!', 'dd!']);
      expect(batches(calls)).toEqual(['a', 'bbbbbb', 'dd']);
    });
  });

  test('fails the request that the database refuses, and none of its neighbours', async () => {
    const refusal = databaseError('23503');
    const run = (batch: readonly string[]): Promise<string[]> =>
      batch.includes('x') ? Promise.reject(refusal) : Promise.resolve([...batch]);
    const coalescer = new Coalescer(run);
    const answers = await Promise.allSettled([...'abxcdef'].map((request) => coalescer.add(request)));
    expect(answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : answer.reason))).toEqual([
      ...['a', 'b', refusal, 'c', 'd', 'e', 'f'],
    ]);
  });

  test.each(['ECONNRESET', '57P01', '40P01'])('tells all of a batch of %s, and tries no halves', async (code) => {
    const error = databaseError(code);
    const { calls, coalescer } = make();
    const answers = Promise.allSettled([...'abc'].map((request) => coalescer.add(request)));
    await turn();
    calls[0]?.fail(error);
    expect((await answers).map((answer) => answer.status === 'rejected' && answer.reason)).toEqual([
      error,
      error,
      error,
    ]);
    expect(calls).toHaveLength(1);
  });

  test('asks once more after a lost connection where that is harmless', async () => {
    const { calls, coalescer } = make({ readOnly: true });
    const answers = Promise.all([...'ab'].map((request) => coalescer.add(request)));
    await turn();
    calls[0]?.fail(databaseError('ECONNRESET'));
    await turn();
    calls[1]?.answer();
    expect(await answers).toEqual(['a!', 'b!']);
    expect(batches(calls)).toEqual(['ab', 'ab']);
  });

  test('asks no third time', async () => {
    const { calls, coalescer } = make({ readOnly: true });
    const refusal = coalescer.add('a').catch((error: unknown) => error);
    await turn();
    calls[0]?.fail(databaseError('ECONNRESET'));
    await turn();
    calls[1]?.fail(databaseError('57P03'));
    expect(await refusal).toMatchObject({ code: '57P03' });
    expect(calls).toHaveLength(2);
  });

  test('goes on after a failure', async () => {
    const { calls, coalescer } = make({ inFlight: 1 });
    const failed = coalescer.add('a').catch(String);
    await turn();
    calls[0]?.fail(databaseError('ECONNRESET'));
    expect(await failed).toContain('ECONNRESET');
    const answer = coalescer.add('b');
    await turn();
    calls[1]?.answer();
    expect(await answer).toBe('b!');
  });

  test.each([[['a']], [['a', 'b', 'c']]])(
    'runs nothing again when two requests got the answers %j: what was sent has happened',
    async (given) => {
      const sent: string[] = [];
      const coalescer = new Coalescer((batch: readonly string[]) => {
        sent.push(batch.join(''));
        return Promise.resolve(sent.length === 1 ? given : batch);
      });
      const answers = await Promise.allSettled([coalescer.add('a'), coalescer.add('b')]);
      expect(sent).toEqual(['ab']);
      expect(answers.map((answer) => answer.status)).toEqual(['rejected', 'rejected']);
    },
  );
});

/** Small, seeded, good enough to shuffle a schedule (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** As `expect`, which is too slow to be asked a million times. */
function check(holds: boolean, rule: string): void {
  if (!holds) throw new Error(rule);
}

interface Request {
  number: number;
  size: number;
  addedAt: number;
  key: string;
  poisoned: boolean;
}

interface Reply {
  key: string;
  number: number;
  beganAt: number;
}

/** Drives one coalescer through a random schedule of arrivals, ends, refusals, lost connections and lost replies. */
async function simulate(seed: number): Promise<void> {
  const random = randomOf(seed);
  const chance = (percent: number): boolean => random(100) < percent;
  const [inFlight, maxBatch] = [1 + random(3), 1 + random(6)];
  const [keyed, readOnly, sized] = [chance(50), chance(50), chance(50)];
  const faults = chance(50) ? 0 : 10;
  let clock = 0;
  const flying: (() => void)[] = [];
  const applied = new Map<number, number>();

  const run = (batch: readonly Request[]): Promise<Reply[]> => {
    const beganAt = clock++;
    const size = batch.reduce((sum, request) => sum + request.size, 0);
    check(batch.length === 1 || (batch.length > 1 && size <= maxBatch), 'a batch has maxBatch at most, or one request');
    check(
      batch.every(({ number }, i) => i === 0 || number > (batch[i - 1]?.number ?? 0)),
      'a batch is in order of arrival',
    );
    check(!keyed || new Set(batch.map(({ key }) => key)).size === batch.length, 'a batch has each key once');
    return new Promise((resolve, reject) => {
      flying.push(() => {
        if (chance(faults)) {
          reject(databaseError('ECONNREFUSED'));
        } else if (batch.some((request) => request.poisoned)) {
          reject(databaseError('23514'));
        } else {
          for (const { number } of batch) applied.set(number, (applied.get(number) ?? 0) + 1);
          if (chance(faults)) reject(databaseError('ECONNRESET'));
          else resolve(batch.map(({ key, number }) => ({ key, number, beganAt })));
        }
      });
      check(flying.length <= inFlight, 'inFlight statements at most');
    });
  };

  const coalescer = new Coalescer<Request, Reply>(run, {
    ...{ inFlight, maxBatch, readOnly },
    ...(keyed ? { key: (request: Request) => request.key } : {}),
    ...(sized ? { sizeOf: (request: Request) => request.size } : {}),
  });
  const outcomes: Promise<unknown>[] = [];
  const requests = 5 + random(25);
  let settled = 0;
  while (settled < requests) {
    for (let arrivals = random(4); arrivals > 0 && outcomes.length < requests; arrivals--) {
      const number = outcomes.length;
      const poisoned = chance(5);
      const key = poisoned ? `poison ${String(number)}` : `key ${String(keyed ? random(4) : number)}`;
      const request = { number, size: sized ? 1 + random(4) : 1, addedAt: clock++, key, poisoned };
      const outcome = coalescer.add(request).then(
        (reply) => {
          check(!poisoned, 'what is refused is not answered');
          check(reply.key === key && (keyed || reply.number === number), 'an answer is to its own request');
          check(reply.beganAt > request.addedAt, 'an answer is from a statement sent after its request');
          check(applied.has(reply.number), 'what is answered has happened');
        },
        (error: unknown) => {
          const { code } = error as { code: string };
          check(poisoned || code !== '23514', 'no request fails for its neighbour');
          check(code === '23514' || (faults > 0 && code.startsWith('ECONN')), 'a failure is what the database said');
        },
      );
      outcomes.push(outcome.finally(() => settled++));
    }
    await turn();
    for (let ends = random(3); ends > 0 && flying.length > 0; ends--) flying.splice(random(flying.length), 1)[0]?.();
    await turn();
  }
  await Promise.all(outcomes);
  check(flying.length === 0, 'no statement is left over');
  check(readOnly || [...applied.values()].every((times) => times === 1), 'only what is harmless happens twice');
}

test('under 500 random schedules every request gets its own answer, from a statement sent after it', async () => {
  const failures: string[] = [];
  await Promise.all(
    Array.from({ length: 500 }, (_, seed) =>
      simulate(seed).catch((error: unknown) => failures.push(`seed ${String(seed)}: ${String(error)}`)),
    ),
  );
  expect(failures).toEqual([]);
});
