import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import type { Caller } from '../../http/caller/caller.js';
import { Problem } from '../../common/problem.js';
import type { Transaction } from '../../database/database.js';
import { UsersRepository } from '../../users/users.repository.js';
import { PasswordService } from '../passwords/password.service.js';
import { SignInThrottle } from '../throttle/sign-in-throttle.js';
import { TotpCodes } from './totp-codes.js';
import { TotpRepository } from './totp.repository.js';

/** Two-factor sign-in: codes of an authenticator app (TOTP, RFC 6238), and recovery codes in case it is lost. */
@Injectable()
export class TotpService {
  constructor(
    private readonly totp: TotpRepository,
    private readonly codes: TotpCodes,
    private readonly passwords: PasswordService,
    private readonly throttle: SignInThrottle,
    private readonly accounts: UsersRepository,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Creates a secret. It has no effect until a code from it is entered.
   * @throws Problem invalid_credentials, too_many_attempts, totp_enabled
   */
  async prepare(caller: Caller, password: string): Promise<{ secret: string; uri: string }> {
    return this.passwords.confirm(caller, password, async (tx) => {
      const name = caller.usernameKey ?? caller.emailKey ?? caller.userId;
      const { sealed, secret, uri } = this.codes.makeSecret(caller.userId, name);
      if (!(await this.totp.prepare(tx, caller.userId, sealed))) throw new Problem('totp_enabled');
      await this.audit.record(tx, caller, 'totp.prepare', caller.userId, { secret: {} });
      return { secret, uri };
    });
  }

  /**
   * Enables two-factor sign-in: every sign-in then requires a code. Ends the user's other sessions, which began without
   * a code.
   * @returns the recovery codes
   * @throws Problem invalid_totp, too_many_attempts; totp_enabled; not_found before `prepare`
   */
  async enable(caller: Caller, code: string): Promise<string[]> {
    // An attacker with a stolen session does not have the secret, and must not be able to guess a code.
    const complete = async (tx: Transaction): Promise<string[]> => {
      // Waits for concurrent sign-ins that required no code, so that their sessions end as well.
      await this.accounts.lock(tx, caller.userId);
      const state = await this.totp.lock(tx, caller.userId);
      if (!state) throw new Problem('not_found');
      if (state.enabledAt) throw new Problem('totp_enabled');
      const step = this.codes.stepOf(caller.userId, state.secretSealed, code);
      if (step === undefined) throw new Problem('invalid_totp');
      await this.totp.useStep(tx, caller.userId, step);
      await this.totp.enable(tx, caller.userId);
      const endedSessions = { to: await this.accounts.endSessions(tx, caller.userId, caller.sessionId) };
      await this.audit.record(tx, caller, 'totp.enable', caller.userId, { endedSessions });
      return this.renewCodes(tx, caller.userId);
    };
    return this.throttle.run(this.throttle.byCaller(caller), { complete, success: 'void' });
  }

  /** @throws Problem invalid_credentials, invalid_totp, too_many_attempts; not_found if two-factor sign-in is off */
  async disable(caller: Caller, password: string, code: string): Promise<void> {
    await this.withBoth(caller, password, code, async (tx) => {
      await this.totp.delete(tx, caller.userId);
      await this.audit.record(tx, caller, 'totp.disable', caller.userId);
    });
  }

  /** Replaces all recovery codes. @throws Problem like `disable` */
  async renew(caller: Caller, password: string, code: string): Promise<string[]> {
    return this.withBoth(caller, password, code, async (tx) => {
      await this.audit.record(tx, caller, 'totp.renew', caller.userId, { recoveryCodes: {} });
      return this.renewCodes(tx, caller.userId);
    });
  }

  /**
   * Uses up a code: a TOTP code that is later than the last accepted one, or a recovery code. Does nothing if
   * two-factor sign-in is off.
   * @throws Problem totp_required, invalid_totp
   */
  async use(tx: Transaction, user: Pick<Caller, 'userId' | 'origin'>, code: string | undefined): Promise<void> {
    const ownerId = user.userId;
    const state = await this.totp.lock(tx, ownerId);
    if (!state?.enabledAt) return;
    if (code === undefined) throw new Problem('totp_required');
    const step = this.codes.stepOf(ownerId, state.secretSealed, code);
    if (step !== undefined) {
      if (step <= Number(state.lastStep)) throw new Problem('invalid_totp');
      await this.totp.useStep(tx, ownerId, step);
    } else {
      if (!(await this.totp.useRecoveryCode(tx, ownerId, this.codes.hashOf(ownerId, code)))) {
        throw new Problem('invalid_totp');
      }
      await this.audit.record(tx, user, 'totp.use', ownerId, { recoveryCodes: {} });
    }
  }

  private async withBoth<T>(
    caller: Caller,
    password: string,
    code: string,
    work: (tx: Transaction) => Promise<T>,
  ): Promise<T> {
    if (!(await this.totp.isEnabled(caller.userId))) throw new Problem('not_found');
    return this.passwords.confirm(caller, password, async (tx) => {
      // Locks the account before the secret, in the lock order of account deletion, to avoid a deadlock.
      await this.accounts.lock(tx, caller.userId);
      await this.use(tx, caller, code);
      return work(tx);
    });
  }

  private async renewCodes(tx: Transaction, ownerId: string): Promise<string[]> {
    const { codes, hashes } = this.codes.makeRecoveryCodes(ownerId);
    await this.totp.replaceRecoveryCodes(tx, ownerId, hashes);
    return codes;
  }
}
