import type { FastifyReply, FastifyRequest, RouteOptions, onResponseHookHandler } from 'fastify';
import { callerIdOf, type AuthenticatedRequest } from '../common/caller.js';
import { Distribution } from '../common/distribution.js';

/** Seconds: the steps of what is counted of durations. */
const DURATIONS = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Classes of status: 1xx to 5xx. */
const CLASSES = [1, 2, 3, 4, 5] as const;

/** Requests that no route serves. */
export const UNMATCHED = '(unmatched)';

/** Who watches over the server, and who reads about it, is no user of it. */
const LEFT_OUT = ['/', '/livez', '/readyz', '/metrics', '/openapi.json', '/docs'];

/** Of how many users a process remembers what is not written yet. */
const MAX_USERS = 100_000;

/** What a route has answered since the process started. */
export class RouteLoad {
  /** By class of status, from 1xx on. */
  readonly requests = CLASSES.map(() => 0);
  readonly seconds = new Distribution(DURATIONS);
  /** What of it is not written yet. */
  private readonly unwritten = CLASSES.map(() => ({ requests: 0, milliseconds: 0 }));

  constructor(
    readonly method: string,
    readonly route: string,
  ) {}

  add(status: number, milliseconds: number): void {
    const place = Math.min(Math.max(Math.floor(status / 100), 1), 5) - 1;
    this.requests[place] = (this.requests[place] ?? 0) + 1;
    this.seconds.add(milliseconds / 1_000);
    this.postpone({ place, requests: 1, milliseconds });
  }

  /** Takes what is not written yet. */
  take(): Unwritten[] {
    return this.unwritten.flatMap((each, place) => {
      if (each.requests === 0) return [];
      const taken = { place, ...each };
      Object.assign(each, { requests: 0, milliseconds: 0 });
      return [taken];
    });
  }

  postpone({ place, requests, milliseconds }: Unwritten): void {
    const each = this.unwritten[place];
    if (!each) return;
    each.requests += requests;
    each.milliseconds += milliseconds;
  }
}

interface Unwritten {
  /** The class of status, from 0 on. */
  place: number;
  requests: number;
  milliseconds: number;
}

interface UserLoad {
  total: number;
  errors: number;
}

/** What was counted since the last time, to be written. */
export interface Batch {
  users: Map<string, UserLoad>;
  routes: { load: RouteLoad; of: Unwritten }[];
}

/**
 * Counts requests in memory: by caller, route, class of status and duration, whoever answered them: a guard's refusal is
 * counted like any other. It sits behind each route itself, so that nothing is looked up.
 */
export class RequestRecorder {
  /** Requests of users that are counted for no user, since too many others wait to be written. */
  dropped = 0;
  private readonly loads = new Map<string, RouteLoad>();
  private users = new Map<string, UserLoad>();

  /** Makes a route count its requests. Called for each as it is made. */
  watch(route: RouteOptions): void {
    const { url } = route;
    if (LEFT_OUT.some((path) => url === path || url.startsWith(`${path}/`))) return;
    const loads = new Map([route.method].flat().map((method) => [method, this.loadOf(method, url)]));
    const [only] = loads.values();
    const count: onResponseHookHandler = (request, reply, done) => {
      const load = loads.size === 1 ? only : loads.get(request.method);
      if (load) this.record(load, request, reply);
      done();
    };
    route.onResponse = route.onResponse === undefined ? count : [route.onResponse, count].flat();
  }

  /** Counts a request that no route served. */
  recordUnmatched(request: FastifyRequest, reply: FastifyReply): void {
    // Whatever is under /docs is a file, or is not there. A method is the client's own word: its names must stay few.
    if (request.url.startsWith('/docs')) return;
    this.record(this.loadOf('*', UNMATCHED), request, reply);
  }

  /** What each route has answered so far. */
  routes(): RouteLoad[] {
    return [...this.loads.values()];
  }

  /** How many users' requests wait to be written. */
  get waiting(): number {
    return this.users.size;
  }

  /** Takes what was counted since the last time. */
  take(): Batch {
    const { users } = this;
    this.users = new Map();
    const routes = this.routes().flatMap((load) => load.take().map((of) => ({ load, of })));
    return { users, routes };
  }

  /** Takes back what could not be written. */
  putBack({ users, routes }: Batch): void {
    for (const { load, of } of routes) load.postpone(of);
    for (const [id, { total, errors }] of users) this.addUser(id, total, errors);
  }

  private record(load: RouteLoad, request: AuthenticatedRequest, reply: FastifyReply): void {
    const { statusCode } = reply;
    load.add(statusCode, reply.elapsedTime);
    const caller = callerIdOf(request);
    if (caller !== undefined) this.addUser(caller, 1, statusCode >= 400 ? 1 : 0);
  }

  private addUser(id: string, total: number, errors: number): void {
    const known = this.users.get(id);
    if (known) {
      known.total += total;
      known.errors += errors;
    } else if (this.users.size < MAX_USERS) {
      this.users.set(id, { total, errors });
    } else {
      this.dropped += total;
    }
  }

  private loadOf(method: string, route: string): RouteLoad {
    const name = `${method} ${route}`;
    let load = this.loads.get(name);
    if (!load) this.loads.set(name, (load = new RouteLoad(method, route)));
    return load;
  }
}
