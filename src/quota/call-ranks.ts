import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { Flusher } from '../common/flusher.js';
import { Database } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { ALL_CALLS } from './meters.js';
import { NO_KEY } from './quota.entity.js';

const FLUSH_MS = 1_000;

/** Owners of one statement: their spends wait for it. */
const BATCH = 100;

const RANK = { name: 'calls-rank', text: 'SELECT rank_calls($1::uuid[])' };

/** A page of the owners who call, and those of them whose rank is not what they were granted. */
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
 * Keeps owners in the order of how many calls they were granted. What they were granted is exact at every commit; their
 * order follows each second, so that no call has to wait for an index. What a killed process left behind is made good at
 * the next start.
 */
@Injectable()
export class CallRanks implements OnApplicationBootstrap {
  private owners = new Set<string>();
  private last = NO_KEY;
  private readonly flusher = new Flusher(FLUSH_MS, () => this.write());
  private readonly start = new Sweeper(FLUSH_MS, () => this.catchUp());

  constructor(private readonly database: Database) {}

  /** Somebody was granted calls. */
  touch(ownerId: string): void {
    this.owners.add(ownerId);
  }

  onApplicationBootstrap(): void {
    this.flusher.start();
    this.start.start();
  }

  /** Once no request is under way any more. */
  async stop(): Promise<void> {
    await this.start.stop();
    await this.flusher.stop();
  }

  /** Resolves when everyone who was touched before has its rank, or could not get it. Never rejects. */
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

  /** Looks at a page of the owners, once the server runs. @returns whether there is more to look at */
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
