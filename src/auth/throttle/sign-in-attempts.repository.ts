import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../../database/database.js';
import { FORGET_PLACES, JUDGE, KNOW_PLACE, SETTLE, SWEEP, SWEEP_PLACES } from './sign-in-attempts.statements.js';

/** The account that an attempt is for, and the place that it comes from. */
export interface Suspect {
  /** Keyed hash. */
  account: Buffer;
  /** Null if there is no such account. */
  ownerId: string | null;
  place: string;
}

export interface Verdict {
  /** Null if the attempt is not admitted. */
  attempt: string | null;
  /** In seconds. Above 0, the attempt is rejected. */
  retryAfter: number;
  /** Whether the verdict depends on attempts that are still in flight. */
  mustWait: boolean;
  /** Whether the account has recently signed in from this place. */
  isKnown: boolean;
}

/** How an attempt ended. `counted`: a failure that adds to no streak. `void`: as if the attempt had not happened. */
export type Outcome = 'failed' | 'counted' | 'void' | 'passed';

@Injectable()
export class SignInAttemptsRepository {
  constructor(private readonly database: Database) {}

  /** @param reserve whether the attempt counts from now on, if it is admitted */
  async judge({ account, ownerId, place }: Suspect, reserve: boolean): Promise<Verdict> {
    const [verdict] = await this.database.query<Verdict>(JUDGE, [account, ownerId, place, reserve]);
    if (!verdict) throw new Error('judge_sign_in returned no row');
    return verdict;
  }

  async settle(attempt: Suspect & { id: string }, outcome: Outcome, tx?: Transaction): Promise<void> {
    const values = [attempt.id, attempt.account, attempt.ownerId, attempt.place, outcome];
    await this.database.query(SETTLE, values, tx);
  }

  /** Makes `place` the only place that the account is known to have signed in from. */
  async replacePlaces(tx: Transaction, ownerId: string, place: string): Promise<void> {
    await this.database.query(FORGET_PLACES, [ownerId], tx);
    await this.database.query(KNOW_PLACE, [ownerId, place], tx);
  }

  /** @returns whether there may be more */
  async sweep(): Promise<boolean> {
    const swept = [SWEEP, SWEEP_PLACES].map((statement) => this.database.query<{ count: number }>(statement, []));
    return (await Promise.all(swept)).some(([row]) => (row?.count ?? 0) >= 1_000);
  }
}
