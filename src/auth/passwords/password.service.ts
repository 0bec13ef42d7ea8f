import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import type { Caller } from '../../http/caller/caller.js';
import { Problem } from '../../common/problem.js';
import { Database, type Transaction } from '../../database/database.js';
import { turnOf } from '../../passwords/hash-queue.js';
import { Notices } from '../../users/notices.js';
import { Passwords } from '../../passwords/passwords.js';
import { UsersRepository, type Credentials } from '../../users/users.repository.js';
import type { ChangePasswordDto } from '../auth.dto.js';
import { SignInThrottle } from '../throttle/sign-in-throttle.js';

/** The password of a signed-in user: confirm it, and change it. */
@Injectable()
export class PasswordService {
  constructor(
    private readonly database: Database,
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly throttle: SignInThrottle,
    private readonly notices: Notices,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Checks the password of the caller once more, and then runs `complete` in one transaction.
   * @throws Problem invalid_credentials, too_many_attempts, and what `complete` throws
   */
  async confirm<T>(
    caller: Caller,
    password: string,
    complete: (tx: Transaction, account: Credentials) => Promise<T>,
  ): Promise<T> {
    const account = await this.accounts.findCredentialsById(caller.userId);
    if (!account) throw new Problem('invalid_token');
    return this.throttle.run(this.throttle.byCaller(caller), {
      check: async () => {
        const isRight = await this.passwords.verify(password, account.passwordHash);
        if (!isRight) throw new Problem('invalid_credentials', { detail: 'The current password is wrong.' });
        return account;
      },
      complete,
      success: 'void',
    });
  }

  /** @throws Problem invalid_credentials, too_many_attempts, validation_failed */
  async change(caller: Caller, { currentPassword, newPassword }: ChangePasswordDto): Promise<void> {
    const { passwordHash } = await this.confirm(caller, currentPassword, (_tx, account) => Promise.resolve(account));
    // Each change sends an e-mail, to an address that may not belong to the caller.
    await this.throttle.count(`password:${caller.userId}`, caller.origin.ip);
    const replacement = await this.passwords.hashNew(newPassword, '/newPassword', turnOf(caller.origin, true));
    await this.database.transaction(async (tx) => {
      // Another request changed the password in the meantime.
      if (!(await this.accounts.replacePassword(tx, caller.userId, passwordHash, replacement))) {
        throw new Problem('invalid_credentials');
      }
      const endedSessions = { to: await this.accounts.endSessions(tx, caller.userId, caller.sessionId) };
      await this.notices.passwordChanged(tx, caller.userId);
      await this.audit.record(tx, caller, 'password.change', caller.userId, { password: {}, endedSessions });
    });
  }
}
