import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import { isSelf, type Caller } from '../../http/caller/caller.js';
import type { Page, PageQuery } from '../../common/page.js';
import { Problem } from '../../common/problem.js';
import { Env } from '../../config/env.js';
import { Database } from '../../database/database.js';
import { resetLink } from '../../mail/mails.js';
import { AccountTokensRepository, type NewToken, type TokenRule } from '../../users/account-tokens.repository.js';
import { UsersService } from '../../users/users.service.js';
import { AccountSecurityRepository, type AccountSecurity } from './account-security.repository.js';
import type { Session } from '../sessions/session.entity.js';
import { SessionsService } from '../sessions/sessions.service.js';
import { TotpRepository } from '../totp/totp.repository.js';

/** The rule for the links of administrators: no limit on their number. */
const LINK: TokenRule = { lifetime: 1_800, pause: 0, perHour: 2 ** 31 - 1 };

/** The security settings of an account, for its user and for administrators. */
@Injectable()
export class AccountSecurityService {
  constructor(
    private readonly env: Env,
    private readonly database: Database,
    private readonly users: UsersService,
    private readonly accounts: AccountSecurityRepository,
    private readonly tokens: AccountTokensRepository,
    private readonly totp: TotpRepository,
    private readonly sessions: SessionsService,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem not_found */
  async get(reference: string, caller: Caller): Promise<AccountSecurity> {
    const found = await this.accounts.find(await this.users.idOf(reference, caller));
    if (!found) throw new Problem('not_found');
    return found;
  }

  /** @throws Problem not_found, also for a session of another account */
  async endSession(reference: string, id: string, caller: Caller): Promise<void> {
    const ownerId = await this.users.idOf(reference, caller);
    if (!(await this.sessions.end(caller, ownerId, id))) throw new Problem('not_found');
  }

  /** @throws Problem not_found */
  async listSessions(reference: string, query: PageQuery, caller: Caller): Promise<Page<Session>> {
    return this.sessions.list(await this.users.idOf(reference, caller), query);
  }

  /** Creates a link that sets a new password. @throws Problem not_found */
  async makeResetLink(reference: string, caller: Caller): Promise<NewToken & { url: string }> {
    const id = await this.users.idOf(reference, caller);
    const made = await this.database.transaction(async (tx) => {
      if (!(await this.tokens.lockAccount(tx, id))) throw new Problem('not_found');
      await this.audit.record(tx, caller, 'password.link', id);
      return this.tokens.renew(tx, id, 'link', LINK);
    });
    if (!made) throw new Error('No link was made, although links are not limited');
    return { ...made, url: resetLink(this.env.publicUrl, made.token) };
  }

  /**
   * Disables two-factor sign-in of a user who has lost the second factor. Rejects the caller's own account, which
   * requires password and code.
   * @throws Problem not_found, forbidden
   */
  async disableTotp(reference: string, caller: Caller): Promise<void> {
    const id = await this.users.idOf(reference, caller);
    if (isSelf(id, caller))
      throw new Problem('forbidden', {
        detail: 'To disable your own two-factor sign-in, send your password and a code to POST /v1/auth/totp/disable.',
      });
    await this.database.transaction(async (tx) => {
      if (!(await this.totp.delete(tx, id))) throw new Problem('not_found');
      await this.audit.record(tx, caller, 'totp.disable', id);
    });
  }
}
