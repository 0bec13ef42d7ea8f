import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { Sweeper } from '../database/sweeper.js';
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
  private readonly sweeper: Sweeper;

  constructor(store: StoreRepository) {
    this.sweeper = new Sweeper(SWEEP_MS, async () => (await store.sweep(BATCH)) === BATCH);
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }
}
