import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { Env } from '../config/env.js';
import { Sweeper } from '../database/sweeper.js';
import { MetricsRepository, type Kept } from './metrics.repository.js';

const SWEEP_MS = 600_000;

/** Days for which request statistics are kept. */
const REQUEST_DAYS = 30;

/** Sums past hours, and deletes rows past their retention time, in batches. Lifetime totals are stored elsewhere. */
@Injectable()
export class MetricsRetention implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly sweeper: Sweeper;

  constructor({ usageRetentionDays }: Env, metrics: MetricsRepository) {
    const days: Record<Kept, number> = {
      usage_hours: usageRetentionDays,
      platform_hours: usageRetentionDays,
      request_hours: REQUEST_DAYS,
      request_routes: REQUEST_DAYS,
    };
    this.sweeper = new Sweeper(SWEEP_MS, async () => {
      await metrics.sumHours();
      let hasMore = false;
      for (const table of Object.keys(days) as Kept[]) {
        if (await metrics.deleteOlder(table, days[table])) hasMore = true;
      }
      return hasMore;
    });
  }

  onApplicationBootstrap(): void {
    this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }
}
