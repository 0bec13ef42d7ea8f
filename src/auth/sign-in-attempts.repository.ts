import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';

/** Whose attempt it is, and from where. */
export interface Suspect {
  /** A keyed hash. */
  account: Buffer;
  /** Null: there is no such account. */
  ownerId: string | null;
  place: string;
}

export interface Verdict {
  /** Null: not admitted. */
  attempt: string | null;
  /** Seconds; above 0: refused. */
  retryAfter: number;
  /** Whether it is refused depends on attempts that are under way. */
  mustWait: boolean;
  /** Whether the account has signed in from there lately. */
  isKnown: boolean;
}

/** How an attempt ended; `counted`: as a failure that makes no streak; `void`: as if it had not been. */
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

/** What is of no account any more: attempts after the 15 minutes, a streak after a day's rest, places after 90 days. */
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

  /** @param reserve whether it counts from now on, if it is admitted */
  async judge({ account, ownerId, place }: Suspect, reserve: boolean): Promise<Verdict> {
    const [verdict] = await this.database.query<Verdict>(JUDGE, [account, ownerId, place, reserve]);
    if (!verdict) throw new Error('An attempt was not judged');
    return verdict;
  }

  async settle(attempt: Suspect & { id: string }, outcome: Outcome, tx?: Transaction): Promise<void> {
    const values = [attempt.id, attempt.account, attempt.ownerId, attempt.place, outcome];
    await (tx ? tx.query(SETTLE.text, values) : this.database.query(SETTLE, values));
  }

  /** The only place from now on that an account is known to have signed in from. */
  async replacePlaces(tx: Transaction, ownerId: string, place: string): Promise<void> {
    await tx.query('DELETE FROM sign_in_places WHERE owner_id = $1', [ownerId]);
    await tx.query('INSERT INTO sign_in_places (owner_id, place, at) VALUES ($1, $2, now())', [ownerId, place]);
  }

  /** @returns whether there may be more */
  async sweep(): Promise<boolean> {
    return ((await this.database.query<{ count: number }>(SWEEP, []))[0]?.count ?? 0) >= 1_000;
  }
}
