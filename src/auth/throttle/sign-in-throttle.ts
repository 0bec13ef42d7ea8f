import { createHmac, randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import type { Caller } from '../../http/caller/caller.js';
import { loginKey } from '../../common/names.js';
import { placeOf } from '../../common/place.js';
import { isDatabaseUnavailable } from '../../common/database-error.js';
import { Problem } from '../../common/problem.js';
import { Secrets } from '../../config/secrets.js';
import { Database, type Transaction } from '../../database/database.js';
import { Sweeper } from '../../database/sweeper.js';
import { Passwords } from '../../passwords/passwords.js';
import { SignInAttemptsRepository, type Outcome, type Suspect, type Verdict } from './sign-in-attempts.repository.js';

const SWEEP_MS = 60_000;

/** Maximum number of times that an attempt is judged while its verdict depends on attempts that are in flight. */
const MAX_TRIES = 40;

/** Runs `work` when its turn in a queue comes. */
type Queue = <T>(work: () => Promise<T>) => Promise<T>;

const NO_QUEUE: Queue = (work) => work();

/** What an attempt does once it is admitted. */
interface Steps<Checked, Result> {
  /**
   * Compares a password with a hash, in a turn of the hash queue. Throws invalid_credentials if it is wrong. Missing if
   * the attempt needs no hash: it does not wait for the queue, and `complete` gets undefined.
   */
  check?: () => Promise<Checked>;
  /**
   * Runs in the transaction that settles the attempt. Throws invalid_totp if a code is wrong. Returns null if it had no
   * effect: the attempt then does not count.
   */
  complete: (tx: Transaction, checked: Checked) => Promise<Result>;
  /** How a success is settled. */
  success: Outcome;
}

/**
 * Throttles repeated failed attempts to sign in or to confirm a password or code, the same on every node: the database
 * judges each attempt before a password is hashed. The limits are defined in `judge_sign_in` (src/database/functions). An
 * attempt counts as failed from its admission until it is settled. Otherwise many concurrent attempts could pass before
 * the first failure is recorded.
 */
@Injectable()
export class SignInThrottle implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly key: Buffer;
  private readonly sweeper: Sweeper;

  constructor(
    private readonly attempts: SignInAttemptsRepository,
    private readonly database: Database,
    private readonly passwords: Passwords,
    secrets: Secrets,
  ) {
    this.key = secrets.derive('sign-in-attempts');
    this.sweeper = new Sweeper(SWEEP_MS, () => attempts.sweep());
  }

  /**
   * Admits an attempt, runs its steps and settles it. Errors invalid_credentials and invalid_totp count as failures;
   * attempts that end with another error do not count.
   * @param suspect whose failures limit this attempt: `byLogin` or `byCaller`
   * @throws Problem too_many_attempts, overloaded, and what the steps throw
   */
  async run<Checked, Result>(suspect: Suspect, { check, complete, success }: Steps<Checked, Result>): Promise<Result> {
    const { id, checked } = check
      ? await this.admit(suspect, await this.hashQueue(suspect), check)
      : await this.admit(suspect, NO_QUEUE, () => Promise.resolve(undefined as Checked));
    const settle = (outcome: Outcome, tx?: Transaction): Promise<void> =>
      this.attempts.settle({ ...suspect, id }, outcome, tx);
    try {
      const passed = await checked;
      return await this.database.transaction(async (tx) => {
        const result = await complete(tx, passed);
        await settle(result === null ? 'void' : success, tx);
        return result;
      });
    } catch (error) {
      // After a lost connection, the transaction may have committed: the attempt counts as failed until it expires.
      if (!isDatabaseUnavailable(error)) await settle(isFailure(error) ? 'failed' : 'void');
      throw error;
    }
  }

  /**
   * Counts an action that is rare from one address and whose result must not be disclosed. It always counts as a
   * failure.
   * @throws Problem too_many_attempts
   */
  async count(action: string, ip: string | null): Promise<void> {
    const place = placeOf(ip);
    const suspect = { account: this.hash(`${action}:${place}`), ownerId: null, place };
    await this.run(suspect, { complete: () => Promise.resolve(), success: 'counted' });
  }

  /**
   * Identifies an attempt by its account, so that username and e-mail share one limit, or by the login if no account
   * has it. Both are stored as keyed hashes, because people sometimes type a password as their login.
   * @param ownerId of the account; null if no account has this login
   */
  byLogin(login: string, ownerId: string | null, ip: string | null): Suspect {
    const name = ownerId === null ? `login:${loginKey(login) ?? login}` : `account:${ownerId}`;
    return { account: this.hash(name), ownerId, place: placeOf(ip) };
  }

  /**
   * Identifies an attempt of a signed-in user, apart from attempts to sign in: strangers cannot stop the user from
   * changing the password.
   */
  byCaller({ userId, origin }: Caller): Suspect {
    return { account: this.hash(`owner:${userId}`), ownerId: userId, place: placeOf(origin.ip) };
  }

  /**
   * Makes the place of an account recovery the only known one, because an attacker may have used the earlier places.
   */
  async replacePlaces(tx: Transaction, ownerId: string, ip: string | null): Promise<void> {
    await this.attempts.replacePlaces(tx, ownerId, placeOf(ip));
  }

  onApplicationBootstrap(): void {
    this.sweeper.start();
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /**
   * Admits an attempt and runs its check in the same turn of the queue, so that few attempts are in flight at once.
   * Waits while the verdict depends on attempts that are in flight.
   * @returns the id of the attempt, and its check, which has ended
   */
  private async admit<Checked>(
    suspect: Suspect,
    queue: Queue,
    check: () => Promise<Checked>,
  ): Promise<{ id: string; checked: Promise<Checked> }> {
    for (let tries = 0; tries <= MAX_TRIES; tries++) {
      if (tries > 0) await sleep(randomInt(25, 150));
      const admitted = await queue(async () => {
        const { attempt: id } = accepted(await this.attempts.judge(suspect, true));
        if (id === null) return null;
        const checked = check();
        await Promise.allSettled([checked]);
        return { id, checked };
      });
      if (admitted) return admitted;
    }
    throw new Problem('overloaded', { retryAfter: 1 });
  }

  /**
   * Judges the attempt without admitting it: a rejected attempt must not take a turn of the hash queue, and attempts
   * from places where the account signed in before get their turns first.
   */
  private async hashQueue(suspect: Suspect): Promise<Queue> {
    const { isKnown } = accepted(await this.attempts.judge(suspect, false));
    return (work) => this.passwords.inTurn({ place: suspect.place, isKnown }, work);
  }

  private hash(name: string): Buffer {
    return createHmac('sha256', this.key).update(name).digest();
  }
}

/** @throws Problem too_many_attempts */
function accepted(verdict: Verdict): Verdict {
  const { retryAfter } = verdict;
  if (retryAfter <= 0) return verdict;
  throw new Problem('too_many_attempts', { retryAfter, detail: 'There were too many attempts. Try again later.' });
}

function isFailure(error: unknown): boolean {
  return error instanceof Problem && (error.code === 'invalid_credentials' || error.code === 'invalid_totp');
}
