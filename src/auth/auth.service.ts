import { Injectable } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import type { Caller, Origin } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { Database } from '../database/database.js';
import { turnOf } from '../users/hash-queue.js';
import { Notices } from '../users/notices.js';
import { Passwords, type Fit } from '../users/passwords.js';
import { UsersRepository, type Credentials } from '../users/users.repository.js';
import type { ChangePasswordDto, LoginDto } from './auth.dto.js';
import { PasswordCheck } from './password-check.js';
import { SessionsService, type SignIn } from './sessions.service.js';
import { SignInThrottle, type Attempt } from './sign-in-throttle.js';
import { TotpService } from './totp.service.js';

/** Signs users in, and changes passwords. */
@Injectable()
export class AuthService {
  constructor(
    private readonly database: Database,
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly sessions: SessionsService,
    private readonly passwordCheck: PasswordCheck,
    private readonly throttle: SignInThrottle,
    private readonly totp: TotpService,
    private readonly audit: AuditLog,
    private readonly notices: Notices,
  ) {}

  /**
   * @throws Problem invalid_credentials and too_many_attempts, each the same for an unknown login and a wrong password;
   * account_disabled; totp_required, invalid_totp
   */
  async login({ login, ...secrets }: LoginDto, origin: Origin): Promise<SignIn> {
    const account = await this.accounts.findCredentials(login);
    const { attempt, fit } = await this.passwordCheck.check(login, account, secrets.password, origin.ip);
    if (!account) throw new Problem('invalid_credentials');
    return this.throttle.settling(attempt, () => this.begin(account, secrets, fit, attempt, origin));
  }

  /** @throws Problem invalid_credentials, too_many_attempts, validation_failed */
  async changePassword(caller: Caller, { currentPassword, newPassword }: ChangePasswordDto): Promise<void> {
    const { attempt, passwordHash } = await this.passwordCheck.confirm(caller, currentPassword);
    await this.throttle.settle(attempt, 'void');
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

  /** Starts a session after the password was checked. */
  private async begin(
    account: Credentials,
    { password, code }: Pick<LoginDto, 'password' | 'code'>,
    fit: Fit,
    attempt: Attempt,
    origin: Origin,
    mayTryAgain = true,
  ): Promise<SignIn> {
    const ownerId = account.id;
    if (account.status === 'disabled') throw new Problem('account_disabled');
    const newHash =
      fit === 'outdated' ? await this.passwords.hash(password, turnOf(origin, true)) : account.passwordHash;
    const actor = { userId: ownerId, origin };
    const session = await this.database.transaction(async (tx) => {
      const started = await this.sessions.start(tx, { ...account, newHash }, origin);
      if (!started) return null;
      await this.totp.use(tx, actor, ownerId, code);
      await this.throttle.settle(attempt, 'passed', tx);
      return started;
    });
    if (!session) {
      const now = await this.accounts.findCredentialsById(ownerId);
      if (now?.status === 'disabled') throw new Problem('account_disabled');
      // Another sign-in may have renewed the hash in the meantime.
      const fitNow = mayTryAgain
        ? await this.passwords.inTurn(turnOf(origin, true), () => this.passwords.fitOf(password, now?.passwordHash))
        : 'wrong';
      if (!now || fitNow === 'wrong') throw new Problem('invalid_credentials');
      return this.begin(now, { password, ...(code === undefined ? {} : { code }) }, fitNow, attempt, origin, false);
    }
    const signIn = await this.sessions.issue(session);
    if (!signIn) throw new Problem('invalid_credentials');
    return signIn;
  }
}
