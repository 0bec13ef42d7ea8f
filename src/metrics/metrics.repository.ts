import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { KEY_SERIES } from './key-series.statements.js';
import { REQUESTS, type RankedBy } from './metrics.dto.js';
import {
  BATCH,
  LINES,
  PLATFORM,
  ROUTES,
  SERIES,
  SUMMED_UNTIL,
  SUM_HOURS,
  TOP,
  USAGE,
  USER,
  deleteOlder,
  type Kept,
} from './metrics.statements.js';

export type { Kept } from './metrics.statements.js';

export interface PlatformNumbers {
  asOf: Date;
  users: number;
  tasks: number;
  resources: number;
  storeEntries: number;
  /** A whole number of any size. */
  creditsGranted: string;
  callsGranted: number;
  callsDenied: number;
  requests: number;
  errors: number;
}

export interface UserNumbers {
  /** Null if unlimited. */
  credits: number | null;
  tasks: number;
  completed: number;
  resources: number;
  entries: number;
  bytes: number;
  /** Calls by API. Null if there are none. */
  calls: { meter: string; granted: number; denied: number }[] | null;
  requests: number;
  errors: number;
}

export interface RankRow {
  id: string;
  username: string | null;
  email: string | null;
  value: number;
}

export interface PointRow {
  at: Date;
  granted: number;
  denied: number;
}

export interface RouteRow {
  method: string;
  route: string;
  requests: number;
  clientErrors: number;
  serverErrors: number;
  milliseconds: number;
}

export interface UsageRow {
  hour: Date;
  ownerId: string;
  /** The username, or else the e-mail. Null if the user was deleted. */
  ownerName: string | null;
  keyId: string;
  /** Null if the key was deleted. */
  keyName: string | null;
  meter: string;
  granted: number;
  denied: number;
}

/** A time range; `to` is exclusive. */
export interface Range {
  from: Date;
  to: Date;
}

/** Key of the advisory lock on deleting old rows. An arbitrary number, the same in every process. */
const RETENTION_LOCK = 0x716d_6d72;

@Injectable()
export class MetricsRepository {
  constructor(private readonly database: Database) {}

  async ofPlatform(): Promise<PlatformNumbers> {
    const [row] = await this.database.query<PlatformNumbers>(PLATFORM, []);
    if (!row) throw new Error('The platform has no numbers');
    return row;
  }

  async ofUser(id: string): Promise<UserNumbers | null> {
    return (await this.database.query<UserNumbers>(USER, [id]))[0] ?? null;
  }

  async top(by: RankedBy, limit: number): Promise<{ asOf: Date; rows: RankRow[] }> {
    const [row] = await this.database.query<{ asOf: Date; rows: RankRow[] }>({ text: TOP[by] }, [limit]);
    if (!row) throw new Error('The database returned no top list');
    return row;
  }

  /** Returns only steps with data, unordered. @param ownerId null for all users */
  async series(meter: string, step: string, { from, to }: Range, ownerId: string | null): Promise<PointRow[]> {
    const values = [step, from, to];
    if (meter === REQUESTS) {
      return ownerId === null
        ? this.database.query<PointRow>(SERIES.platformRequests, values)
        : this.database.query<PointRow>(SERIES.userRequests, [...values, ownerId]);
    }
    if (ownerId !== null) return this.database.query<PointRow>(SERIES.userCalls, [...values, meter, ownerId]);
    const [summed] = await this.database.query<{ until: Date }>(SUMMED_UNTIL, []);
    return this.database.query<PointRow>(SERIES.platformCalls, [...values, meter, summed?.until]);
  }

  /** Like `series`, of one key. */
  keySeries(meter: string, step: string, { from, to }: Range, ownerId: string, keyId: string): Promise<PointRow[]> {
    return this.database.query<PointRow>(KEY_SERIES, [step, from, to, meter, ownerId, keyId]);
  }

  /** Lists routes, most requests first. */
  routes({ from, to }: Range): Promise<RouteRow[]> {
    return this.database.query<RouteRow>(ROUTES, [from, to]);
  }

  /** Streams the ledger from one snapshot, ordered by hour, owner, key and meter. Holds a connection until the end. */
  usage({ from, to }: Range): AsyncGenerator<UsageRow[]> {
    return this.database.stream<UsageRow>(USAGE, [from, to], LINES);
  }

  /** Sums the calls of all owners in past hours, so that `series` need not read them all. */
  async sumHours(): Promise<void> {
    await this.database.query(SUM_HOURS, []);
  }

  /** Deletes a batch of rows older than `days`. @returns whether more may remain; false also while another process does it */
  async deleteOlder(table: Kept, days: number): Promise<boolean> {
    return this.database.transaction(async (tx) => {
      if (!(await this.database.tryLock(tx, RETENTION_LOCK))) return false;
      const rows = await this.database.query<{ count: number }>(deleteOlder(table), [days], tx);
      return (rows[0]?.count ?? 0) >= BATCH;
    });
  }
}
