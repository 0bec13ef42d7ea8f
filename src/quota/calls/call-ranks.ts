import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Flusher } from '../../common/flusher.js';
import { Database } from '../../database/database.js';
import { Sweeper } from '../../database/sweeper.js';
import { RANK, UNRANKED } from './call-ranks.statements.js';
import { NO_KEY } from '../quota.entity.js';

const FLUSH_MS = 1_000;

/** Owners per statement. Their spends wait for it. */
const BATCH = 100;

/**
 * Ranks owners by granted calls. Granted calls are exact at every commit. The rank follows within a second, so that no
 * call waits for an index update. After a kill, the next start corrects outdated ranks.
 */
@Injectable()
export class CallRanks implements OnApplicationBootstrap {
  private owners = new Set<string>();
  private last = NO_KEY;
  private readonly flusher = new Flusher(FLUSH_MS, () => this.write());
  private readonly start = new Sweeper(FLUSH_MS, () => this.catchUp());

  constructor(private readonly database: Database) {}

  /** Marks an owner whose granted calls have changed. */
  touch(ownerId: string): void {
    this.owners.add(ownerId);
  }

  onApplicationBootstrap(): void {
    this.flusher.start();
    this.start.start();
  }

  /** Writes the remaining ranks and stops. Call it when no request is in progress. */
  async stop(): Promise<void> {
    await this.start.stop();
    await this.flusher.stop();
  }

  /** Resolves when the rank of every owner touched so far is written, or the write has failed. Never rejects. */
  flush(): Promise<void> {
    return this.flusher.flush();
  }

  private async write(): Promise<void> {
    const owners = [...this.owners].sort();
    this.owners = new Set();
    try {
      while (owners.length > 0) {
        await this.database.query(RANK, [owners.slice(0, BATCH)]);
        owners.splice(0, BATCH);
      }
    } catch {
      for (const owner of owners) this.owners.add(owner);
    }
  }

  /** Corrects the ranks of one page of owners, after the start. @returns whether there are more pages */
  private async catchUp(): Promise<boolean> {
    const page = await this.database.query<{ ownerId: string; isOff: boolean }>(UNRANKED, [this.last, BATCH]);
    const off = page.filter(({ isOff }) => isOff).map(({ ownerId }) => ownerId);
    if (off.length > 0) await this.database.query(RANK, [off]);
    this.last = page.at(-1)?.ownerId ?? this.last;
    if (page.length === BATCH) return true;
    this.start.end();
    return false;
  }
}
