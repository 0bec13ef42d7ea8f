import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { Sweeper } from '../database/sweeper.js';
import { StoreRepository } from './store.repository.js';

const SWEEP_MS = 1_000;

/** Entries deleted per transaction. It blocks other writers of the same store. */
const BATCH = 500;

/**
 * Deletes expired entries. They are already invisible and use no quota, so sweeping only frees space. One node sweeps
 * at a time.
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
