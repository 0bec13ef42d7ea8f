import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { Outbox } from '../mail/outbox.js';
import { AccountTokensRepository, type MailAccount, type TokenRule } from './account-tokens.repository.js';

/** Seconds in which a notice may still be of use. */
const NOTICE_LIFETIME = 86_400;

/** Of an address that somebody asks for again. */
const CONFIRMATION: TokenRule = { lifetime: 86_400, pause: 60, perHour: 5 };

/** Of an address that was just given: it may be the corrected one. */
const FIRST_CONFIRMATION: TokenRule = { ...CONFIRMATION, pause: 0 };

type Account = Pick<MailAccount, 'id' | 'username' | 'email'>;

/**
 * What accounts are told by e-mail of what happens to them, in its transaction; nothing where there is no mail server.
 * Its callers hold the account locked.
 */
@Injectable()
export class Notices {
  constructor(
    private readonly tokens: AccountTokensRepository,
    private readonly outbox: Outbox,
  ) {}

  /** Asks a new account to confirm its e-mail. */
  async registered(tx: Transaction, account: Account): Promise<void> {
    if (account.email !== null) await this.invite(tx, account, FIRST_CONFIRMATION);
  }

  /** Asks again to confirm the e-mail. @throws Problem nothing_to_confirm; too_many_attempts */
  async confirmationAsked(tx: Transaction, id: string): Promise<void> {
    const account = await this.tokens.lockAccount(tx, id);
    if (!account?.email) {
      throw new Problem('nothing_to_confirm', { detail: 'The account has no e-mail.' });
    }
    if (account.isConfirmed) throw new Problem('nothing_to_confirm', { detail: 'The e-mail is confirmed already.' });
    if (!this.outbox.isOn || (await this.invite(tx, account, CONFIRMATION))) return;
    throw new Problem('too_many_attempts', { retryAfter: await this.tokens.wait(tx, id, 'confirm', CONFIRMATION) });
  }

  /** Tells an account that its password was changed, whoever changed it. */
  async passwordChanged(tx: Transaction, id: string): Promise<void> {
    if (!this.outbox.isOn) return;
    const account = await this.tokens.lockAccount(tx, id);
    if (account) await this.tellPassword(tx, account);
  }

  /** An account as `updated` needs it, before it is changed. */
  async beforeUpdate(tx: Transaction, id: string): Promise<MailAccount | null> {
    return this.outbox.isOn ? this.tokens.lockAccount(tx, id) : null;
  }

  /** Tells an account, at the address that it had, what was changed of it. @param before of `beforeUpdate` */
  async updated(tx: Transaction, before: MailAccount | null, after: Account, hasNewPassword: boolean): Promise<void> {
    if (!before) return;
    if (hasNewPassword) await this.tellPassword(tx, before);
    if (keyOf(before) === keyOf(after)) return;
    // Counted also when the e-mail was only removed. Beyond the bound no address hears of it that is not known to be the
    // account's: nobody is to have strangers mailed from here by changing to their addresses and away again.
    const isWithinBounds = await this.invite(tx, after, FIRST_CONFIRMATION);
    if (before.email === null || !(before.isConfirmed || isWithinBounds)) return;
    await this.outbox.add(tx, {
      ...{ ownerId: before.id, kind: 'email-changed', seconds: NOTICE_LIFETIME },
      ...{ to: before.email, account: before.username ?? before.email },
    });
  }

  /** @returns whether there may be one more */
  private async invite(tx: Transaction, account: Account, rule: TokenRule): Promise<boolean> {
    if (!this.outbox.isOn) return false;
    const made = await this.tokens.renew(tx, account.id, 'confirm', rule);
    if (made && account.email !== null) {
      await this.outbox.add(tx, {
        ...{ ownerId: account.id, kind: 'confirm', seconds: rule.lifetime, replaces: true, token: made.token },
        ...{ to: account.email, account: account.username ?? account.email },
      });
    }
    return made !== null;
  }

  private async tellPassword(tx: Transaction, { id, username, email }: Account): Promise<void> {
    if (email === null) return;
    await this.outbox.add(tx, {
      ...{ ownerId: id, kind: 'password-changed', seconds: NOTICE_LIFETIME },
      ...{ to: email, account: username ?? email },
    });
  }
}

/** What tells mailboxes apart: not `loginKey`, by which addresses are one that only look the same. */
function keyOf({ email }: Account): string | null {
  return email === null ? null : email.toLowerCase();
}
