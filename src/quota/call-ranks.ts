import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Flusher } from '../common/flusher.js';
import { Database } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { ALL_CALLS } from './meters.js';
import { NO_KEY } from './quota.entity.js';

const FLUSH_MS = 1_000;

/** Owners per statement. Their spends wait for it. */
const BATCH = 100;

const RANK = { name: 'calls-rank', text: 'SELECT rank_calls($1::uuid[])' };

/** Reads a page of owners with calls, and whether the rank of each differs from its granted calls. */
const UNRANKED = {
  name: 'calls-unranked',
  text: `
    WITH page AS MATERIALIZED (
      SELECT q.owner_id, q.rank FROM quotas q
      WHERE q.owner_id > $1 AND q.key_id = '${NO_KEY}' AND q.meter = '${ALL_CALLS}' ORDER BY q.owner_id LIMIT $2
    )
    SELECT p.owner_id AS "ownerId", p.rank <> (
      SELECT coalesce(sum(k.counts[1]), 0) FROM quotas k
      WHERE k.owner_id = p.owner_id AND k.key_id <> '${NO_KEY}' AND k.meter LIKE 'api:%' AND k.meter <> '${ALL_CALLS}'
    ) AS "isOff"
    FROM page p ORDER BY p.owner_id`,
};

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
