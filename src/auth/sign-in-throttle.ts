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

/** An admitted attempt. It counts as failed until it is settled. */
export interface Attempt extends Suspect {
  id: string;
}

const SWEEP_MS = 60_000;

/** Maximum number of retries of an attempt whose verdict depends on attempts that are still in flight. */
const PATIENCE = 40;

/** Runs `run` when its turn in the hash queue comes. */
type InTurn = <T>(turn: Turn, run: () => Promise<T>) => Promise<T>;

/** Thrown within a turn of the hash queue to give the turn to others. */
class InFlight extends Error {}

/**
 * Throttles repeated failed sign-ins, the same on every node: the database judges each attempt before a password is
 * hashed. The limits are defined in `judge_sign_in` (migration 0005). An attempt counts as failed from its admission
 * until it is settled. Otherwise many concurrent attempts could pass before the first failure is recorded.
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
   * Identifies an attempt by its account, so that username and e-mail share one limit, or by the login if no account
   * has it. Both are stored as keyed hashes, because people sometimes type a password as their login.
   * @param ownerId of the account; null if no account has this login
   */
  suspect(login: string, ownerId: string | null, ip: string | null): Suspect {
    const account = this.hash(ownerId === null ? `login:${loginKey(login) ?? login}` : `account:${ownerId}`);
    return { account, ownerId, place: placeOf(ip) };
  }

  /**
   * Like `suspect`, for a signed-in user who must enter the password again. Uses nothing that a stranger could enter at
   * sign-in.
   */
  suspectOwner(ownerId: string, ip: string | null): Suspect {
    return { account: this.hash(`owner:${ownerId}`), ownerId, place: placeOf(ip) };
  }

  /**
   * Admits an attempt and runs its work, both within one turn of the hash queue, so that few run at once.
   * @param work its result tells whether the attempt failed. The attempt must then be settled; if `work` throws, it
   * counts as failed
   * @throws Problem too_many_attempts
   */
  async attempt<T>(suspect: Suspect, inTurn: InTurn, work: () => Promise<T>): Promise<{ attempt: Attempt; result: T }> {
    // Judged before it is queued: a rejected attempt must not wait for a turn, nor take one from others.
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
   * Counts an action that is rare from one address and whose result must not be disclosed. It always counts as a
   * failure.
   * @throws Problem too_many_attempts
   */
  async count(what: string, ip: string | null): Promise<void> {
    const place = placeOf(ip);
    const account = this.hash(`${what}:${place}`);
    await this.settle(await this.admitted({ account, ownerId: null, place }), 'counted');
  }

  /** Admits an attempt that needs no hash. @throws Problem too_many_attempts */
  async admitted(suspect: Suspect): Promise<Attempt> {
    const { attempt } = await this.attempt(
      suspect,
      (_turn, run) => run(),
      () => Promise.resolve(),
    );
    return attempt;
  }

  /**
   * Makes the place of an account recovery the only known one, because an attacker may have used the earlier places.
   */
  async settleOwner(tx: Transaction, ownerId: string, ip: string | null): Promise<void> {
    await this.attempts.replacePlaces(tx, ownerId, placeOf(ip));
  }

  /**
   * Runs the work of an admitted attempt. If it succeeds, the work settles the attempt. If it fails, a wrong code
   * counts like a wrong password; other failures do not count.
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

  /** @param tx set it if the outcome must commit together with other writes */
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
