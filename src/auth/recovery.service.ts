import { Injectable } from '@nestjs/common';
import { AuditLog } from '../audit/audit-log.js';
import type { Caller, Origin } from '../common/caller.js';
import { Problem } from '../common/problem.js';
import { Env } from '../config/env.js';
import { Database } from '../database/database.js';
import { resetLink } from '../mail/mails.js';
import type { TokenKind } from '../users/account-token.entity.js';
import { AccountTokensRepository, type NewToken, type TokenRule } from '../users/account-tokens.repository.js';
import { readToken, type TokenClaims } from '../users/account-tokens.js';
import { turnOf } from '../users/hash-queue.js';
import { Notices } from '../users/notices.js';
import { Passwords } from '../users/passwords.js';
import { UsersRepository } from '../users/users.repository.js';
import { UsersService } from '../users/users.service.js';
import { RecoveryRequests } from './recovery-requests.js';
import { SignInThrottle } from './sign-in-throttle.js';

/** The rule for the links of administrators: no limit on their number. */
const LINK: TokenRule = { lifetime: 1_800, pause: 0, perHour: 2 ** 31 - 1 };

/** The kinds of tokens that set a password. */
const RESETTING: TokenKind[] = ['reset', 'link'];

/** Restores access to accounts, and confirms e-mail addresses. */
@Injectable()
export class RecoveryService {
  constructor(
    private readonly env: Env,
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly accounts: UsersRepository,
    private readonly passwords: Passwords,
    private readonly tokens: AccountTokensRepository,
    private readonly notices: Notices,
    private readonly requests: RecoveryRequests,
    private readonly throttle: SignInThrottle,
    private readonly audit: AuditLog,
  ) {}

  /**
   * Accepts a request to recover an account. Does the same whether or not the account exists, to prevent enumeration.
   * @throws Problem too_many_attempts
   */
  async ask(login: string, { ip }: Origin): Promise<void> {
    await this.throttle.count('recovery', ip);
    await this.requests.add(login);
  }

  /**
   * Sets a password with a token, and ends all sessions. Checks the token first: without a valid token, a client learns
   * nothing about the policy and causes no hash. A password that breaks the policy does not use up the token.
   * @throws Problem invalid_token; account_disabled, which does not use up the token either; validation_failed;
   * overloaded
   */
  async recover(token: string, newPassword: string, origin: Origin): Promise<void> {
    const claims = read(token);
    const known = await this.tokens.find(claims, RESETTING);
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

  /** @throws Problem not_found */
  async makeLink(reference: string, caller: Caller): Promise<NewToken & { url: string }> {
    const id = await this.users.idOf(reference, caller);
    const made = await this.database.transaction(async (tx) => {
      if (!(await this.tokens.lockAccount(tx, id))) throw new Problem('not_found');
      await this.audit.record(tx, caller, 'password.link', id);
      return this.tokens.renew(tx, id, 'link', LINK);
    });
    if (!made) throw new Error('No link was made, although links are not limited');
    return { ...made, url: resetLink(this.env.publicUrl, made.token) };
  }

  /** @throws Problem nothing_to_confirm, too_many_attempts */
  async askConfirmation(caller: Caller): Promise<void> {
    await this.database.transaction((tx) => this.notices.confirmationAsked(tx, caller.userId));
  }

  /** @throws Problem invalid_token */
  async confirmEmail(token: string, origin: Origin): Promise<void> {
    const claims = read(token);
    await this.database.transaction(async (tx) => {
      const account = await this.tokens.lockAccount(tx, claims.ownerId);
      if (!account || !(await this.tokens.use(tx, claims, ['confirm']))) throw new Problem('invalid_token');
      await this.tokens.confirmEmail(tx, claims.ownerId);
      const actor = { userId: claims.ownerId, origin };
      await this.audit.record(tx, actor, 'email.confirm', claims.ownerId, { email: { to: account.email } });
    });
  }
}

function read(token: string): TokenClaims {
  const claims = readToken(token);
  if (!claims) throw new Problem('invalid_token');
  return claims;
}
