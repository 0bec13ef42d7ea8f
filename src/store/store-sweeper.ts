import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { StoreRepository } from './store.repository.js';

const SWEEP_MS = 1_000;

/** Entries of one transaction: who writes to the same store waits for it. */
const BATCH = 500;

/**
 * Removes what has expired. Nobody sees it and it counts no more, swept or not: this is housekeeping, done by one node at a
 * time.
 */
@Injectable()
export class StoreSweeper implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private timer: NodeJS.Timeout | undefined;
  private sweeping: Promise<void> | undefined;
  private stopped = false;

  constructor(private readonly store: StoreRepository) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => {
      this.sweeping ??= this.sweep().finally(() => {
        this.sweeping = undefined;
      });
    }, SWEEP_MS).unref();
  }

  /** The pool closes after this: what is under way ends first. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    await this.sweeping;
  }

  private async sweep(): Promise<void> {
    try {
      while (!this.stopped && (await this.store.sweep(BATCH)) === BATCH);
    } catch {
      // The next sweep tries again.
    }
  }
}
