import { EventEmitter } from 'node:events';
import type { FastifyReply } from 'fastify';
import type { AuthenticatedRequest } from '../../http/caller/caller.js';
import type { Env } from '../../config/env.js';
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

function make(requestStatistics: 'on' | 'off' = 'on'): RequestRecorder {
  return new RequestRecorder({ requestStatistics } as Env);
}

/** Creates a request and its reply, whose response is not sent yet. */
function exchange(url: string, { method = 'GET', user, keyOwner }: Answered = {}, isMatched = true) {
  const request = {
    method,
    url,
    is404: !isMatched,
    routeOptions: { url: isMatched ? url : undefined },
    ...(user === undefined ? {} : { user: { userId: user } }),
    ...(keyOwner === undefined ? {} : { keyOwnerId: keyOwner }),
  } as unknown as AuthenticatedRequest;
  const raw = Object.assign(new EventEmitter(), { closed: false });
  const reply = { statusCode: 200, elapsedTime: 1, raw };
  return { request, reply: reply as unknown as FastifyReply, raw };
}

/** Returns a function that answers a request to a route. */
function route(recorder: RequestRecorder, url: string) {
  return (answered: Answered = {}): void => {
    const { request, reply, raw } = exchange(url, answered);
    recorder.watch(request, reply);
    Object.assign(reply, { statusCode: answered.status ?? 200, elapsedTime: answered.milliseconds ?? 1 });
    raw.emit('close');
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
  const recorder = make();
  const things = route(recorder, '/v1/things/:id');
  things({ user: 'a', milliseconds: 2 });
  things({ user: 'a', status: 304, milliseconds: 3 });
  things({ user: 'a', status: 404, milliseconds: 4 });
  things({ keyOwner: 'b', status: 429 });
  things({ status: 401, milliseconds: 5 });
  things({ user: 'b', status: 503, milliseconds: 0.5 });
  things({ user: 'b', status: 200, milliseconds: 0.25 });
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
  const recorder = make();
  const things = route(recorder, '/v1/things');
  for (const status of [0, 101, 999]) things({ status });
  expect(recorder.routes()[0]?.requests).toEqual([2, 0, 0, 0, 1]);
});

test('counts the methods of a route separately', () => {
  const recorder = make();
  const calls = route(recorder, '/call/:slug');
  calls();
  calls({ method: 'POST' });
  calls({ method: 'POST' });
  calls({ method: 'HEAD' });
  expect(recorder.routes().map(({ method, route: url, requests }) => [method, url, requests[1]])).toEqual([
    ['GET', '/call/:slug', 1],
    ['POST', '/call/:slug', 2],
    ['HEAD', '/call/:slug', 1],
  ]);
});

test('counts a request once, however often it is watched, with the status and the caller at its end', () => {
  const recorder = make();
  const { request, reply, raw } = exchange('/v1/things');
  recorder.watch(request, reply);
  recorder.watch(request, reply);
  expect(recorder.routes()).toEqual([]);
  Object.assign(reply, { statusCode: 304 });
  Object.assign(request, { user: { userId: 'a' } });
  raw.emit('close');
  recorder.watch(request, reply);
  expect(written(recorder.take())).toEqual({
    users: { a: { total: 1, errors: 0 } },
    routes: [['GET', '/v1/things', 3, 1, 1]],
  });
});

test('counts a request whose client is gone before it is watched', () => {
  const recorder = make();
  const { request, reply, raw } = exchange('/v1/things', { user: 'a' });
  raw.closed = true;
  recorder.watch(request, reply);
  expect(written(recorder.take())).toMatchObject({ users: { a: { total: 1, errors: 0 } } });
});

test('REQUEST_STATISTICS=off: counts nothing', () => {
  const recorder = make('off');
  route(recorder, '/v1/things')({ user: 'a' });
  expect(written(recorder.take())).toEqual(NOTHING);
});

test.each(['/', '/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/swagger-ui.css', '/console/*'])(
  'does not count %s',
  (url) => {
    const recorder = make();
    route(recorder, url)({ user: 'a' });
    expect([recorder.routes(), recorder.waiting]).toEqual([[], 0]);
  },
);

test.each(['/v1/metrics', '/v1/metrics/top', '/metricsx', '/livezz', '/document', '/.well-known/jwks.json'])(
  'counts %s',
  (url) => {
    const recorder = make();
    route(recorder, url)();
    expect(recorder.routes()).toHaveLength(1);
  },
);

test('counts all unmatched requests under one name', () => {
  const recorder = make();
  const ask = (method: string, url: string, statusCode: number): void => {
    const { request, reply, raw } = exchange(url, { method }, false);
    recorder.watch(request, reply);
    Object.assign(reply, { statusCode });
    raw.emit('close');
  };
  for (let i = 0; i < 100; i++) ask(`M${i}`, `/nowhere/${i}`, 404);
  ask('DELETE', '/v1/users', 405);
  ask('POST', '/livez', 405);
  ask('GET', '/docs/nothing.js', 404);
  expect(recorder.routes().map(({ method, route: url, requests }) => [method, url, requests])).toEqual([
    ['*', UNMATCHED, [0, 0, 0, 102, 0]],
  ]);
});

describe('putBack', () => {
  test('adds counts to those recorded in the meantime, without counting twice', () => {
    const recorder = make();
    const things = route(recorder, '/v1/things');
    things({ user: 'a', milliseconds: 2 });
    things({ user: 'b', status: 400 });
    const lost = recorder.take();
    things({ user: 'a', status: 500, milliseconds: 3 });
    things({ user: 'c', milliseconds: 4 });
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
    const recorder = make();
    const things = route(recorder, '/v1/things');
    for (let i = 0; i < 10; i++) {
      things({ user: 'a' });
      recorder.putBack(recorder.take());
    }
    expect(written(recorder.take())).toEqual({
      users: { a: { total: 10, errors: 0 } },
      routes: [['GET', '/v1/things', 2, 10, 10]],
    });
  });

  test('keeps counts for at most 100,000 users; drops further users but counts their requests by route', () => {
    const recorder = make();
    const things = route(recorder, '/v1/things');
    for (let i = 0; i < MAX_USERS; i++) things({ user: `u${i}` });
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 0]);
    things({ user: 'one more' });
    things({ user: 'one more', status: 400 });
    // A known user is still counted.
    things({ user: 'u0' });
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 2]);
    const lost = recorder.take();
    expect(lost.users.get('u0')).toEqual({ total: 2, errors: 0 });
    expect(lost.routes.map(({ of }) => of.requests)).toEqual([MAX_USERS + 2, 1]);
    // Users added in the meantime stay; the last users of the batch no longer fit.
    things({ user: 'new' });
    things({ user: 'newer' });
    recorder.putBack(lost);
    expect([recorder.waiting, recorder.dropped]).toEqual([MAX_USERS, 4]);
    const { users, routes } = recorder.take();
    expect([users.has('new'), users.has('newer'), users.has(`u${MAX_USERS - 1}`)]).toEqual([true, true, false]);
    expect(routes.map(({ of }) => of.requests)).toEqual([MAX_USERS + 4, 1]);
  });
});
