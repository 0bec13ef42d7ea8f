import { createHmac, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { loginKey } from '../common/names.js';
import { placeOf } from '../common/place.js';
import { Problem } from '../common/problem.js';
import { Secrets } from '../config/secrets.js';
import type { Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import type { Turn } from '../users/hash-queue.js';
import { SignInAttemptsRepository, type Outcome, type Suspect, type Verdict } from './sign-in-attempts.repository.js';

/** An attempt that was admitted, and counts until it is settled. */
export interface Attempt extends Suspect {
  id: string;
}

const SWEEP_MS = 60_000;

/** How often an attempt is judged again whose turn depends on others that are under way. */
const PATIENCE = 40;

/** Runs what it is given when its turn has come. */
type InTurn = <T>(turn: Turn, run: () => Promise<T>) => Promise<T>;

/** Thrown within a hash's turn to give the turn to others. */
class InFlight extends Error {}

/**
 * Slows down whoever guesses passwords, the same on every node: it is judged in the database, before anything is hashed.
 * What the limits are stands where they are kept, at `judge_sign_in` (migration 0005). An attempt counts as failed from
 * the moment it is admitted until it is settled otherwise, so that many at once are not judged by what none of them has
 * done yet.
 */
@Injectable()
export class SignInThrottle implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly key: Buffer;
  private readonly sweeper: Sweeper;

  constructor(
    private readonly attempts: SignInAttemptsRepository,
    secrets: Secrets,
  ) {
    this.key = secrets.derive('sign-in-attempts');
    this.sweeper = new Sweeper(SWEEP_MS, () => attempts.sweep());
  }

  /**
   * Counts an attempt by the account, so that username and e-mail give no more tries than one of them; by the name where
   * there is no such account. Both are kept as keyed hashes: people type passwords where names belong.
   * @param ownerId of the account; null where there is none of that login
   */
  suspect(login: string, ownerId: string | null, ip: string | null): Suspect {
    const account = this.hash(ownerId === null ? `login:${loginKey(login) ?? login}` : `account:${ownerId}`);
    return { account, ownerId, place: placeOf(ip) };
  }

  /** As `suspect`, of somebody signed in who is asked for the password again: by nothing that a stranger could type. */
  suspectOwner(ownerId: string, ip: string | null): Suspect {
    return { account: this.hash(`owner:${ownerId}`), ownerId, place: placeOf(ip) };
  }

  /**
   * Admits an attempt, and then works on it; both in one turn of the queue of hashes, where few are at once.
   * @param work what tells whether the attempt fails; it is settled by the caller, or as failed when this throws
   * @throws Problem too_many_attempts
   */
  async attempt<T>(suspect: Suspect, inTurn: InTurn, work: () => Promise<T>): Promise<{ attempt: Attempt; result: T }> {
    // Whoever is refused anyway waits for no turn, and takes none from others.
    const { isKnown, ...verdict } = await this.attempts.judge(suspect, false);
    refuse(verdict);
    const turn = { place: suspect.place, isKnown };
    for (let left = PATIENCE; ; left--) {
      try {
        return await inTurn(turn, async () => {
          const attempt = { ...suspect, id: await this.admit(suspect) };
          return { attempt, result: await work() };
        });
      } catch (error) {
        if (!(error instanceof InFlight)) throw error;
        if (left === 0) throw new Problem('overloaded', { retryAfter: 1 });
        await sleep(randomInt(25, 150));
      }
    }
  }

  /**
   * Counts what nobody does often from one address, and whose outcome nobody may learn: as a failure, whatever comes of it.
   * @throws Problem too_many_attempts
   */
  async count(what: string, ip: string | null): Promise<void> {
    const place = placeOf(ip);
    const account = this.hash(`${what}:${place}`);
    await this.settle(await this.admitted({ account, ownerId: null, place }), 'counted');
  }

  /** An attempt at what takes no hash. @throws Problem too_many_attempts */
  async admitted(suspect: Suspect): Promise<Attempt> {
    const { attempt } = await this.attempt(
      suspect,
      (_turn, run) => run(),
      () => Promise.resolve(),
    );
    return attempt;
  }

  /** Whoever recovers an account belongs where that is done, and whoever was there before may have been the thief. */
  async settleOwner(tx: Transaction, ownerId: string, ip: string | null): Promise<void> {
    await this.attempts.replacePlaces(tx, ownerId, placeOf(ip));
  }

  /**
   * Does what an attempt was admitted for, which settles it when it succeeds. When it fails, a wrong code counts as a wrong
   * password does; what else was missing does not.
   */
  async settling<T>(attempt: Attempt, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const isWrong = error instanceof Problem && error.code === 'invalid_totp';
      await this.settle(attempt, isWrong ? 'failed' : 'void');
      throw error;
    }
  }

  /** @param tx where it must not be forgotten, nor remembered, without what else is written */
  async settle(attempt: Attempt, outcome: Outcome, tx?: Transaction): Promise<void> {
    await this.attempts.settle(attempt, outcome, tx);
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  private hash(name: string): Buffer {
    return createHmac('sha256', this.key).update(name).digest();
  }

  private async admit(suspect: Suspect): Promise<string> {
    const verdict = await this.attempts.judge(suspect, true);
    refuse(verdict);
    if (verdict.attempt === null) throw new InFlight();
    return verdict.attempt;
  }
}

function refuse({ retryAfter }: Pick<Verdict, 'retryAfter'>): void {
  if (retryAfter > 0) {
    throw new Problem('too_many_attempts', { retryAfter, detail: 'There were too many attempts. Try again later.' });
  }
}
