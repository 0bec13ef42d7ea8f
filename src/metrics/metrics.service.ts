import { Injectable } from '@nestjs/common';
import type { Caller } from '../http/caller/caller.js';
import { Problem } from '../common/problem.js';
import { SharedRead } from '../common/shared-read.js';
import { slugOf } from '../quota/meters.js';
import { UsersService } from '../users/users.service.js';
import type {
  MetricsResponse,
  PointResponse,
  RangeQuery,
  RankResponse,
  RouteResponse,
  SeriesQuery,
  TopQuery,
  UserMetricsResponse,
} from './metrics.dto.js';
import { MetricsRepository, type UserNumbers } from './metrics.repository.js';
import { rangeOf, stepsOf } from './range.js';
import { RequestStatistics } from './requests/request-statistics.js';

/** Maximum age of the sums over the platform, which read many rows. */
const SHARED_MS = 5_000;

/** Default length of a series: a day of hours, or a month of days. */
const STEPS = { hour: 24, day: 30 };

/** Reads usage metrics. Flushes this process's request counts before it reads them. */
@Injectable()
export class MetricsService {
  private readonly platform = new SharedRead(SHARED_MS, () => this.readPlatform());

  constructor(
    private readonly users: UsersService,
    private readonly metrics: MetricsRepository,
    private readonly statistics: RequestStatistics,
  ) {}

  /** Returns sums that can be up to SHARED_MS old. */
  ofPlatform(): Promise<MetricsResponse> {
    return this.platform.get();
  }

  /** @throws Problem not_found */
  async ofUser(reference: string, caller: Caller): Promise<UserMetricsResponse> {
    const id = await this.users.idOf(reference, caller);
    await this.statistics.flush();
    const numbers = await this.metrics.ofUser(id);
    if (!numbers) throw new Problem('not_found');
    return toUserMetrics(numbers);
  }

  async top({ by, limit }: TopQuery): Promise<RankResponse[]> {
    if (by === 'requests') await this.statistics.flush();
    const rows = await this.metrics.top(by, limit);
    return rows.map(({ value, ...user }, i) => ({ rank: i + 1, user, value }));
  }

  /** @throws Problem forbidden, not_found; validation_failed for an invalid range */
  async series(query: SeriesQuery, caller: Caller): Promise<PointResponse[]> {
    const { meter, step, user } = query;
    const ownerId = await this.whose(user, caller);
    const range = rangeOf(query, step, STEPS[step]);
    await this.statistics.flush();
    const rows = await this.metrics.series(meter, step, range, ownerId);
    const points = new Map(rows.map((row) => [row.at.getTime(), row]));
    return stepsOf(range, step).map((at) => {
      const { granted = 0, denied = 0 } = points.get(at.getTime()) ?? {};
      return { at: at.toISOString(), granted, denied };
    });
  }

  /** @throws Problem validation_failed for an invalid range */
  async routes(query: RangeQuery): Promise<RouteResponse[]> {
    const range = rangeOf(query, 'hour', STEPS.hour);
    await this.statistics.flush();
    const rows = await this.metrics.routes(range);
    return rows.map(({ milliseconds, ...row }) => ({
      ...row,
      averageMilliseconds: Math.round((milliseconds / row.requests) * 1_000) / 1_000,
    }));
  }

  private async readPlatform(): Promise<MetricsResponse> {
    await this.statistics.flush();
    const { asOf, users, tasks, resources, storeEntries, ...sums } = await this.metrics.ofPlatform();
    return {
      asOf: asOf.toISOString(),
      users,
      objects: { total: users + tasks + resources + storeEntries, users, tasks, resources, storeEntries },
      credits: { granted: Number(sums.creditsGranted), used: tasks },
      calls: { granted: sums.callsGranted, denied: sums.callsDenied },
      requests: { total: sums.requests, errors: sums.errors },
    };
  }

  private async whose(user: string | undefined, caller: Caller): Promise<string | null> {
    if (user !== undefined) return this.users.idOf(user, caller);
    return caller.role === 'admin' ? null : caller.userId;
  }
}

function toUserMetrics(numbers: UserNumbers): UserMetricsResponse {
  const { tasks, completed, resources, entries, bytes, requests, errors } = numbers;
  const credits = numbers.credits === null ? null : Math.min(numbers.credits, Number.MAX_SAFE_INTEGER);
  const calls = numbers.calls ?? [];
  return {
    credits,
    remainingCredits: credits === null ? null : Math.max(0, credits - tasks),
    tasks: { total: tasks, completed },
    resources,
    store: { entries, bytes },
    calls: {
      granted: calls.reduce((sum, { granted }) => sum + granted, 0),
      denied: calls.reduce((sum, { denied }) => sum + denied, 0),
      byApi: Object.fromEntries(
        calls.map(({ meter, granted, denied }) => [slugOf(meter) ?? meter, { granted, denied }]),
      ),
    },
    requests: { total: requests, errors },
  };
}
