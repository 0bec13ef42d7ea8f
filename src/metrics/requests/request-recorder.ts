import { Injectable } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { callerIdOf, type AuthenticatedRequest } from '../../http/caller/caller.js';
import { Distribution } from '../../common/distribution.js';
import type { UsageRecorder } from '../../http/caller/usage.js';
import { Env } from '../../config/env.js';

/** Histogram buckets: seconds. */
const DURATIONS = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Status classes: 1xx to 5xx. */
const CLASSES = [1, 2, 3, 4, 5] as const;

/** Route name for requests that match no route. */
export const UNMATCHED = '(unmatched)';

/** Paths that are not counted: monitoring, documentation and the console. */
const LEFT_OUT = ['/', '/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/console'];

/** Maximum number of users with unwritten counts in a process. */
const MAX_USERS = 100_000;

/** Responses of a route since the process started. */
export class RouteLoad {
  /** Requests by status class, starting at 1xx. */
  readonly requests = CLASSES.map(() => 0);
  readonly seconds = new Distribution(DURATIONS);
  /** Counts not yet flushed. */
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

  /** Returns and resets the counts not yet flushed. */
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
  /** Index of the status class, starting at 0. */
  place: number;
  requests: number;
  milliseconds: number;
}

interface UserLoad {
  total: number;
  errors: number;
}

/** Counts since the last flush. */
export interface Batch {
  users: Map<string, UserLoad>;
  routes: { load: RouteLoad; of: Unwritten }[];
}

/** Whether the requests of a route are not counted. */
function isLeftOut(url: string): boolean {
  return LEFT_OUT.some((path) => url === path || url.startsWith(`${path}/`));
}

/** Counts requests in memory by caller, route, status class and duration, including requests that a guard rejects. */
@Injectable()
export class RequestRecorder implements UsageRecorder {
  /** Requests not counted for their user, because too many users have unwritten counts. */
  dropped = 0;
  /** By route and method; null for a route that is left out. */
  private readonly loads = new Map<string, Map<string, RouteLoad> | null>();
  private readonly isOn: boolean;
  private users = new Map<string, UserLoad>();

  constructor({ requestStatistics }: Env) {
    this.isOn = requestStatistics === 'on';
  }

  watch(request: AuthenticatedRequest, reply: FastifyReply): void {
    if (!this.isOn || request.isWatched === true) return;
    request.isWatched = true;
    // The status is known only then: a hook can still turn it into 304 or 503. An aborted request has no other event.
    if (reply.raw.closed) this.record(request, reply);
    else reply.raw.once('close', () => this.record(request, reply));
  }

  /** Returns the load of each route. */
  routes(): RouteLoad[] {
    return [...this.loads.values()].flatMap((byMethod) => [...(byMethod?.values() ?? [])]);
  }

  /** Number of users with unwritten counts. */
  get waiting(): number {
    return this.users.size;
  }

  /** Returns and resets the counts since the last flush. */
  take(): Batch {
    const { users } = this;
    this.users = new Map();
    const routes = this.routes().flatMap((load) => load.take().map((of) => ({ load, of })));
    return { users, routes };
  }

  /** Adds the counts of a failed flush again. */
  putBack({ users, routes }: Batch): void {
    for (const { load, of } of routes) load.postpone(of);
    for (const [id, { total, errors }] of users) this.addUser(id, total, errors);
  }

  private record(request: AuthenticatedRequest, reply: FastifyReply): void {
    const load = this.loadOf(request);
    if (!load) return;
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

  private loadOf(request: AuthenticatedRequest): RouteLoad | undefined {
    // Paths below these are files or missing files.
    if (request.is404 && /^\/(docs|console)/.test(request.url)) return undefined;
    // Unmatched requests count under one method, because clients can send any number of methods.
    const [method, route] = request.is404 ? ['*', UNMATCHED] : [request.method, request.routeOptions.url ?? UNMATCHED];
    let byMethod = this.loads.get(route);
    if (byMethod === undefined) this.loads.set(route, (byMethod = isLeftOut(route) ? null : new Map()));
    if (byMethod === null) return undefined;
    let load = byMethod.get(method);
    if (!load) byMethod.set(method, (load = new RouteLoad(method, route)));
    return load;
  }
}
