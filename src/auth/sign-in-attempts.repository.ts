import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';

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

const JUDGE = {
  name: 'sign-in-judge',
  text: `
    SELECT attempt, retry_after AS "retryAfter", must_wait AS "mustWait", is_known AS "isKnown"
    FROM judge_sign_in($1::bytea, $2::uuid, $3::text, $4::boolean)`,
};

const SETTLE = {
  name: 'sign-in-settle',
  text: 'SELECT settle_sign_in($1::uuid, $2::bytea, $3::uuid, $4::text, $5::text)',
};

/** Deletes expired rows: attempts after 15 minutes, streaks after one idle day, places after 90 days. */
const SWEEP = {
  name: 'sign-in-sweep',
  text: `
    WITH a AS (DELETE FROM sign_in_attempts WHERE id IN (
        SELECT id FROM sign_in_attempts WHERE at < now() - interval '15 minutes' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)
      RETURNING 1),
    s AS (DELETE FROM sign_in_streaks WHERE account IN (
        SELECT account FROM sign_in_streaks WHERE at < now() - interval '1 day' ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED)
      RETURNING 1),
    p AS (DELETE FROM sign_in_places WHERE (owner_id, place) IN (
        SELECT owner_id, place FROM sign_in_places WHERE at < now() - interval '90 days' ORDER BY at LIMIT 1000
        FOR UPDATE SKIP LOCKED)
      RETURNING 1)
    SELECT greatest((SELECT count(*) FROM a), (SELECT count(*) FROM s), (SELECT count(*) FROM p))::integer AS count`,
};

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
    await (tx ? tx.query(SETTLE.text, values) : this.database.query(SETTLE, values));
  }

  /** Makes `place` the only place that the account is known to have signed in from. */
  async replacePlaces(tx: Transaction, ownerId: string, place: string): Promise<void> {
    await tx.query('DELETE FROM sign_in_places WHERE owner_id = $1', [ownerId]);
    await tx.query('INSERT INTO sign_in_places (owner_id, place, at) VALUES ($1, $2, now())', [ownerId, place]);
  }

  /** @returns whether there may be more */
  async sweep(): Promise<boolean> {
    return ((await this.database.query<{ count: number }>(SWEEP, []))[0]?.count ?? 0) >= 1_000;
  }
}
