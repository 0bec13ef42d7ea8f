import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import { RequestRecorder, UNMATCHED, type Batch } from './request-recorder.js';

/** Maximum number of users with unwritten counts. */
const MAX_USERS = 100_000;

interface Answered {
  status?: number;
  milliseconds?: number;
  method?: string;
  /** Caller with an access token. */
  user?: string;
  /** Owner of the API key. */
  keyOwner?: string;
}

/** Creates a watched route that can answer requests. */
function route(recorder: RequestRecorder, method: string | string[], url: string, more: object = {}) {
  const options = { method, url, ...more } as RouteOptions;
  recorder.watch(options);
  const hooks = [options.onResponse ?? []].flat() as ((...args: unknown[]) => void)[];
  return {
    hooks,
    answer: ({ status = 200, milliseconds = 1, method: sent = 'GET', user, keyOwner }: Answered = {}): number => {
      let done = 0;
      const request = {
        method: sent,
        ...(user === undefined ? {} : { caller: { userId: user } }),
        ...(keyOwner === undefined ? {} : { keyOwnerId: keyOwner }),
      };
      for (const hook of hooks) hook(request, { statusCode: status, elapsedTime: milliseconds }, () => done++);
      return done;
    },
  };
}

/** Returns what a batch would write. */
function written({ users, routes }: Batch): unknown {
  return {
    users: Object.fromEntries(users),
    routes: routes.map(({ load, of }) => [load.method, load.route, of.place + 1, of.requests, of.milliseconds]),
  };
}

const NOTHING = { users: {}, routes: [] };

test('counts requests by caller, route and class of status, with their durations', () => {
  const recorder = new RequestRecorder();
  const things = route(recorder, 'GET', '/v1/things/:id');
  things.answer({ user: 'a', milliseconds: 2 });
  things.answer({ user: 'a', status: 304, milliseconds: 3 });
  things.answer({ user: 'a', status: 404, milliseconds: 4 });
  things.answer({ keyOwner: 'b', status: 429 });
  things.answer({ status: 401, milliseconds: 5 });
  things.answer({ user: 'b', status: 503, milliseconds: 0.5 });
  things.answer({ user: 'b', status: 200, milliseconds: 0.25 });
  expect(recorder.waiting).toBe(2);
  expect(written(recorder.take())).toEqual({
    users: { a: { total: 3, errors: 1 }, b: { total: 3, errors: 2 } },
    routes: [
      ['GET', '/v1/things/:id', 2, 2, 2.25],
      ['GET', '/v1/things/:id', 3, 1, 3],
      ['GET', '/v1/things/:id', 4, 3, 10],
      ['GET', '/v1/things/:id', 5, 1, 0.5],
    ],
  });
  expect(recorder.waiting).toBe(0);
  expect(written(recorder.take())).toEqual(NOTHING);
  // The counts for Prometheus are not reset.
  const [load] = recorder.routes();
  expect(load).toMatchObject({ method: 'GET', route: '/v1/things/:id', requests: [0, 2, 1, 3, 1] });
  expect([load?.seconds.count, load?.seconds.sum.toFixed(5)]).toEqual([7, '0.01575']);
});

test('counts an unknown status in the nearest class', () => {
  const recorder = new RequestRecorder();
  const things = route(recorder, 'GET', '/v1/things');
  for (const status of [0, 101, 999]) things.answer({ status });
  expect(recorder.routes()[0]?.requests).toEqual([2, 0, 0, 0, 1]);
});

test('counts the methods of a route separately, and adds up the same route registered twice', () => {
  const recorder = new RequestRecorder();
  const calls = route(recorder, ['GET', 'POST'], '/call/:slug');
  calls.answer();
  calls.answer({ method: 'POST' });
  calls.answer({ method: 'POST' });
  // A method that the route does not serve is not counted.
  calls.answer({ method: 'PUT' });
  route(recorder, 'GET', '/call/:slug').answer();
  expect(recorder.routes().map(({ method, route, requests }) => [method, route, requests[1]])).toEqual([
    ['GET', '/call/:slug', 2],
    ['POST', '/call/:slug', 2],
  ]);
});

test('keeps the existing hooks of a route and calls done', () => {
  const recorder = new RequestRecorder();
  const seen: string[] = [];
  const own = (name: string) => (_request: unknown, _reply: unknown, done: () => void) => {
    seen.push(name);
    done();
  };
  const one = route(recorder, 'GET', '/v1/one', { onResponse: own('one') });
  const two = route(recorder, 'GET', '/v1/two', { onResponse: [own('a'), own('b')] });
  expect([one.answer(), two.answer()]).toEqual([2, 3]);
  expect(seen).toEqual(['one', 'a', 'b']);
  expect(recorder.routes().map(({ requests }) => requests[1])).toEqual([1, 1]);
});

test.each(['/', '/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/', '/docs/swagger-ui.css'])(
  'does not count %s',
  (url) => {
    const recorder = new RequestRecorder();
    expect(route(recorder, 'GET', url).hooks).toEqual([]);
    expect(recorder.routes()).toEqual([]);
  },
);

test.each(['/v1/metrics', '/v1/metrics/top', '/metricsx', '/livezz', '/document', '/.well-known/jwks.json'])(
  'counts %s',
  (url) => {
    expect(route(new RequestRecorder(), 'GET', url).hooks).toHaveLength(1);
  },
);

test('counts all unmatched requests under one name', () => {
  const recorder = new RequestRecorder();
  const ask = (method: string, url: string, statusCode: number): void => {
    const reply = { statusCode, elapsedTime: 1 } as FastifyReply;
    recorder.recordUnmatched({ method, url } as FastifyRequest, reply);
  };
  for (let i = 0; i < 100; i++) ask(`M${i}`, `/nowhere/${i}`, 404);
  ask('DELETE', '/v1/users', 405);
  ask('GET', '/docs/nothing.js', 404);
  expect(recorder.routes().map(({ method, route, requests }) => [method, route, requests])).toEqual([
    ['*', UNMATCHED, [0, 0, 0, 101, 0]],
  ]);
});

describe('putBack', () => {
  test('adds counts to those recorded in the meantime, without counting twice', () => {
    const recorder = new RequestRecorder();
    const things = route(recorder, 'GET', '/v1/things');
    things.answer({ user: 'a', milliseconds: 2 });
    things.answer({ user: 'b', status: 400 });
    const lost = recorder.take();
    things.answer({ user: 'a', status: 500, milliseconds: 3 });
    things.answer({ user: 'c', milliseconds: 4 });
    recorder.putBack(lost);
    expect(written(recorder.take())).toEqual({
      users: { a: { total: 2, errors: 1 }, b: { total: 1, errors: 1 }, c: { total: 1, errors: 0 } },
      routes: [
        ['GET', '/v1/things', 2, 2, 6],
        ['GET', '/v1/things', 4, 1, 1],
        ['GET', '/v1/things', 5, 1, 3],
      ],
    });
    expect(written(recorder.take())).toEqual(NOTHING);
    // The counts for Prometheus do not change.
    expect(recorder.routes()[0]?.seconds.count).toBe(4);
  });

  test('works repeatedly', () => {
    const recorder = new RequestRecorder();
    const things = route(recorder, 'GET', '/v1/things');
    for (let i = 0; i < 10; i++) {
      things.answer({ user: 'a' });
      recorder.putBack(recorder.take());
    }
    expect(written(recorder.take())).toEqual({
      users: { a: { total: 10, errors: 0 } },
      routes: [['GET', '/v1/things', 2, 10, 10]],
    });
  });

  test('keeps counts for at most 100,000 users; drops further users but counts their requests by route', () => {
    const recorder = new RequestRecorder();
    const things = route(recorder, 'GET', '/v1/things');
    for (let i = 0; i < MAX_USERS; i++) things.answer({ user: `u${i}` });
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 0]);
    things.answer({ user: 'one more' });
    things.answer({ user: 'one more', status: 400 });
    // A known user is still counted.
    things.answer({ user: 'u0' });
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 2]);
    const lost = recorder.take();
    expect(lost.users.get('u0')).toEqual({ total: 2, errors: 0 });
    expect(lost.routes.map(({ of }) => of.requests)).toEqual([MAX_USERS + 2, 1]);
    // Users added in the meantime stay; the last users of the batch no longer fit.
    things.answer({ user: 'new' });
    things.answer({ user: 'newer' });
    recorder.putBack(lost);
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 4]);
    const { users, routes } = recorder.take();
    expect([users.has('new'), users.has('newer'), users.has(`u${MAX_USERS - 1}`)]).toEqual([true, true, false]);
    expect(routes.map(({ of }) => of.requests)).toEqual([MAX_USERS + 4, 1]);
  });
});
