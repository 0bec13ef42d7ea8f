import { Injectable } from '@nestjs/common';
import type { Caller } from '../common/caller.js';
import { Problem, type ProblemExtra } from '../common/problem.js';
import { Passwords, type Fit } from '../users/passwords.js';
import { UsersRepository, type Credentials } from '../users/users.repository.js';
import type { Suspect } from './sign-in-attempts.repository.js';
import { SignInThrottle, type Attempt } from './sign-in-throttle.js';

/** Checks passwords. Each wrong password counts, and the number of attempts is limited. */
@Injectable()
export class PasswordCheck {
  constructor(
    private readonly passwords: Passwords,
    private readonly throttle: SignInThrottle,
    private readonly accounts: UsersRepository,
  ) {}

  /**
   * Checks a password. Does the same work whether or not the account exists.
   * @returns the attempt, which must be settled, and how the password matches
   * @throws Problem too_many_attempts, invalid_credentials
   */
  async check(
    login: string,
    account: Credentials | null,
    password: string,
    ip: string | null,
  ): Promise<{ attempt: Attempt; fit: Fit }> {
    return this.checkOf(this.throttle.suspect(login, account?.id ?? null, ip), account, password);
  }

  /**
   * Checks the password of a signed-in user once more.
   * @returns the attempt, which must be settled, and the hash that the password was checked against
   * @throws Problem too_many_attempts, invalid_credentials
   */
  async confirm(caller: Caller, password: string): Promise<{ attempt: Attempt; passwordHash: string }> {
    const account = await this.accounts.findCredentialsById(caller.userId);
    if (!account) throw new Problem('invalid_token');
    const suspect = this.throttle.suspectOwner(account.id, caller.origin.ip);
    const { attempt } = await this.checkOf(suspect, account, password, { detail: 'The current password is wrong.' });
    return { attempt, passwordHash: account.passwordHash };
  }

  private async checkOf(
    suspect: Suspect,
    account: Credentials | null,
    password: string,
    refusal: ProblemExtra = {},
  ): Promise<{ attempt: Attempt; fit: Fit }> {
    const { attempt, result: fit } = await this.throttle.attempt(
      suspect,
      (turn, run) => this.passwords.inTurn(turn, run),
      () => this.passwords.fitOf(password, account?.passwordHash),
    );
    if (fit !== 'wrong') return { attempt, fit };
    await this.throttle.settle(attempt, 'failed');
    throw new Problem('invalid_credentials', refusal);
  }
}
