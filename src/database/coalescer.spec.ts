import { Coalescer, type CoalescerOptions } from './coalescer.js';

interface Call {
  batch: string[];
  answer: (answers?: string[]) => void;
  fail: (error: unknown) => void;
}

/** Statements that the test ends explicitly. */
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

/** Waits one turn of the event loop, after which added requests have been sent. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const batches = (calls: Call[]): string[] => calls.map((call) => call.batch.join(''));

const databaseError = (code: string): Error => Object.assign(new Error(code), { code });

describe('Coalescer', () => {
  test('sends a lone request immediately', async () => {
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

  test('sends a request immediately while fewer than inFlight statements run', async () => {
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

  test('sends requests that arrived during a statement as one batch, in order of arrival', async () => {
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

  test('batches requests of one turn, with at most maxBatch in a statement and inFlight statements', async () => {
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

  test('sends requests with the same key once and gives each the answer', async () => {
    const { calls, coalescer } = make({ key: (request) => request.toLowerCase() });
    const answers = Promise.all([...'aBAbc'].map((request) => coalescer.add(request)));
    await turn();
    expect(batches(calls)).toEqual(['aBc']);
    calls[0]?.answer(['1', '2', '3']);
    expect(await answers).toEqual(['1', '2', '1', '2', '3']);
  });

  test('never answers a request from a statement sent before it, even with the same key', async () => {
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

  test('rejects requests beyond maxWaiting and accepts them again when there is room', async () => {
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

  describe('with sized requests', () => {
    /** The length of the text. */
    const sizeOf = (request: string): number => request.length;

    test('fills each batch in order of arrival and sends the rest in the next', async () => {
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

    test('sends a request larger than maxBatch alone, in its turn', async () => {
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

    test('limits the total size of waiting requests, and accepts more after a batch is sent', async () => {
      const { calls, coalescer } = make({ inFlight: 1, maxBatch: 4, maxWaiting: 6, sizeOf });
      const answers = [coalescer.add('a')];
      await turn();
      answers.push(coalescer.add('bbb'), coalescer.add('cc'));
      await expect(coalescer.add('dd')).rejects.toMatchObject({ code: 'overloaded' });
      // A rejected request takes no room.
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

    test('accepts a request larger than maxWaiting only while nothing waits', async () => {
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

  test('fails only the request that the database rejects, not the rest of the batch', async () => {
    const refusal = databaseError('23503');
    const run = (batch: readonly string[]): Promise<string[]> =>
      batch.includes('x') ? Promise.reject(refusal) : Promise.resolve([...batch]);
    const coalescer = new Coalescer(run);
    const answers = await Promise.allSettled([...'abxcdef'].map((request) => coalescer.add(request)));
    expect(answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : answer.reason))).toEqual([
      ...['a', 'b', refusal, 'c', 'd', 'e', 'f'],
    ]);
  });

  test.each(['ECONNRESET', '57P01', '40P01'])('fails the whole batch after %s and does not split it', async (code) => {
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

  test('retries a read-only statement once after a lost connection', async () => {
    const { calls, coalescer } = make({ readOnly: true });
    const answers = Promise.all([...'ab'].map((request) => coalescer.add(request)));
    await turn();
    calls[0]?.fail(databaseError('ECONNRESET'));
    await turn();
    calls[1]?.answer();
    expect(await answers).toEqual(['a!', 'b!']);
    expect(batches(calls)).toEqual(['ab', 'ab']);
  });

  test('does not retry a second time', async () => {
    const { calls, coalescer } = make({ readOnly: true });
    const refusal = coalescer.add('a').catch((error: unknown) => error);
    await turn();
    calls[0]?.fail(databaseError('ECONNRESET'));
    await turn();
    calls[1]?.fail(databaseError('57P03'));
    expect(await refusal).toMatchObject({ code: '57P03' });
    expect(calls).toHaveLength(2);
  });

  test('continues after a failure', async () => {
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
    'rejects and does not retry when two requests get the answers %j: the statement has run',
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

/** Seeded random numbers (mulberry32), good enough to shuffle a schedule. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Replaces `expect`, which is too slow for a million checks. */
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

/** Drives a coalescer through a random schedule of arrivals, replies, rejections, lost connections and lost replies. */
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
    check(batch.length === 1 || (batch.length > 1 && size <= maxBatch), 'a batch has at most maxBatch, or one request');
    check(
      batch.every(({ number }, i) => i === 0 || number > (batch[i - 1]?.number ?? 0)),
      'a batch keeps the order of arrival',
    );
    check(!keyed || new Set(batch.map(({ key }) => key)).size === batch.length, 'a batch contains each key once');
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
      check(flying.length <= inFlight, 'at most inFlight statements run');
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
          check(!poisoned, 'a rejected request gets no answer');
          check(reply.key === key && (keyed || reply.number === number), 'a request gets its own answer');
          check(reply.beganAt > request.addedAt, 'an answer comes from a statement sent after its request');
          check(applied.has(reply.number), 'an answered request was applied');
        },
        (error: unknown) => {
          const { code } = error as { code: string };
          check(poisoned || code !== '23514', 'no request fails because of another');
          check(code === '23514' || (faults > 0 && code.startsWith('ECONN')), 'a failure is the database error');
        },
      );
      outcomes.push(outcome.finally(() => settled++));
    }
    await turn();
    for (let ends = random(3); ends > 0 && flying.length > 0; ends--) flying.splice(random(flying.length), 1)[0]?.();
    await turn();
  }
  await Promise.all(outcomes);
  check(flying.length === 0, 'no statement is left in flight');
  check(readOnly || [...applied.values()].every((times) => times === 1), 'only read-only requests run twice');
}

test('500 random schedules: every request gets its own answer, from a statement sent after it', async () => {
  const failures: string[] = [];
  await Promise.all(
    Array.from({ length: 500 }, (_, seed) =>
      simulate(seed).catch((error: unknown) => failures.push(`seed ${String(seed)}: ${String(error)}`)),
    ),
  );
  expect(failures).toEqual([]);
});
