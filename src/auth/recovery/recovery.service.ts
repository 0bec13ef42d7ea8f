import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import type { Origin } from '../../http/caller/caller.js';
import { Problem } from '../../common/problem.js';
import { Database } from '../../database/database.js';
import type { TokenKind } from '../../users/account-token.entity.js';
import { AccountTokensRepository } from '../../users/account-tokens.repository.js';
import { readToken } from '../../users/account-tokens.js';
import { turnOf } from '../../passwords/hash-queue.js';
import { Notices } from '../../users/notices.js';
import { Passwords } from '../../passwords/passwords.js';
import { UsersRepository } from '../../users/users.repository.js';
import { RecoveryMailer } from './recovery-mailer.js';
import { SignInThrottle } from '../throttle/sign-in-throttle.js';

/** The kinds of tokens that set a password. */
const RESETTING: TokenKind[] = ['reset', 'link'];

/** Sets a new password for users who have lost theirs. */
@Injectable()
export class RecoveryService {
  constructor(
    private readonly database: Database,
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly tokens: AccountTokensRepository,
    private readonly notices: Notices,
    private readonly mailer: RecoveryMailer,
    private readonly throttle: SignInThrottle,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Accepts a request to recover an account. Does the same whether or not the account exists, to prevent enumeration.
   * @throws Problem too_many_attempts
   */
  async ask(login: string, { ip }: Origin): Promise<void> {
    await this.throttle.count('recovery', ip);
    await this.mailer.queue(login);
  }

  /**
   * Sets a password with a token, and ends all sessions. Checks the token first: without a valid token, a client learns
   * nothing about the policy and causes no hash. A password that breaks the policy does not use up the token.
   * @throws Problem invalid_token; account_disabled, which does not use up the token either; validation_failed;
   * overloaded
   */
  async recover(token: string, newPassword: string, origin: Origin): Promise<void> {
    const claims = readToken(token);
    const known = claims && (await this.tokens.find(claims, RESETTING));
    if (!known) throw new Problem('invalid_token');
    if (known.status === 'disabled') throw new Problem('account_disabled');
    const passwordHash = await this.passwords.hashNew(newPassword, '/newPassword', turnOf(origin, true));
    const id = claims.ownerId;
    await this.database.transaction(async (tx) => {
      const account = await this.accounts.lock(tx, id);
      const kind = account && (await this.tokens.use(tx, claims, RESETTING));
      if (!kind) throw new Problem('invalid_token');
      if (account.status === 'disabled') throw new Problem('account_disabled');
      await this.accounts.update(tx, id, { passwordHash });
      // The token was sent to the current e-mail, so it confirms that e-mail. Tokens for an earlier e-mail are void.
      if (kind === 'reset') await this.tokens.confirmEmail(tx, id);
      const endedSessions = { to: await this.accounts.endSessions(tx, id, null) };
      await this.throttle.replacePlaces(tx, id, origin.ip);
      await this.notices.passwordChanged(tx, id);
      const changes = { password: {}, endedSessions, with: { to: kind } };
      await this.audit.record(tx, { userId: id, origin }, 'password.reset', id, changes);
    });
  }
}
