import { Injectable } from '@nestjs/common';
import { AuditLog } from '../../audit/audit-log.js';
import type { Caller, Origin } from '../../http/caller/caller.js';
import { Problem } from '../../common/problem.js';
import { Database } from '../../database/database.js';
import { AccountTokensRepository } from '../../users/account-tokens.repository.js';
import { readToken } from '../../users/account-tokens.js';
import { Notices } from '../../users/notices.js';

/** Confirms e-mail addresses. */
@Injectable()
export class EmailConfirmationService {
  constructor(
    private readonly database: Database,
    private readonly tokens: AccountTokensRepository,
    private readonly notices: Notices,
    private readonly audit: AuditLog,
  ) {}

  /** @throws Problem nothing_to_confirm, too_many_attempts */
  async ask(caller: Caller): Promise<void> {
    await this.database.transaction((tx) => this.notices.confirmationAsked(tx, caller.userId));
  }

  /** @throws Problem invalid_token */
  async confirm(token: string, origin: Origin): Promise<void> {
    const claims = readToken(token);
    if (!claims) throw new Problem('invalid_token');
    const { ownerId } = claims;
    await this.database.transaction(async (tx) => {
      const account = await this.tokens.lockAccount(tx, ownerId);
      if (!account || !(await this.tokens.use(tx, claims, ['confirm']))) throw new Problem('invalid_token');
      await this.tokens.confirmEmail(tx, ownerId);
      const actor = { userId: ownerId, origin };
      await this.audit.record(tx, actor, 'email.confirm', ownerId, { email: { to: account.email } });
    });
  }
}
