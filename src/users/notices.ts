import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { Outbox } from '../mail/outbox.js';
import { AccountTokensRepository, type MailAccount, type TokenRule } from './account-tokens.repository.js';

/** Seconds for which a notice is still useful. */
const NOTICE_LIFETIME = 86_400;

/** The rule for a confirmation that the user requests again. */
const CONFIRMATION: TokenRule = { lifetime: 86_400, pause: 60, perHour: 5 };

/** The rule for an address that was just set. No pause, because it may correct a mistyped address. */
const FIRST_CONFIRMATION: TokenRule = { ...CONFIRMATION, pause: 0 };

type Account = Pick<MailAccount, 'id' | 'username' | 'email'>;

/**
 * Sends e-mails about changes of an account, in the transaction of the change. Does nothing without a mail server.
 * Callers must hold the lock on the account.
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

  /** Asks an account again to confirm its e-mail. @throws Problem nothing_to_confirm; too_many_attempts */
  async confirmationAsked(tx: Transaction, id: string): Promise<void> {
    const account = await this.tokens.lockAccount(tx, id);
    if (!account?.email) {
      throw new Problem('nothing_to_confirm', { detail: 'The account has no e-mail address.' });
    }
    if (account.isConfirmed)
      throw new Problem('nothing_to_confirm', { detail: 'The e-mail address is already confirmed.' });
    if (!this.outbox.isOn || (await this.invite(tx, account, CONFIRMATION))) return;
    throw new Problem('too_many_attempts', { retryAfter: await this.tokens.wait(tx, id, 'confirm', CONFIRMATION) });
  }

  /** Notifies an account that its password was changed, by the user or by someone else. */
  async passwordChanged(tx: Transaction, id: string): Promise<void> {
    if (!this.outbox.isOn) return;
    const account = await this.tokens.lockAccount(tx, id);
    if (account) await this.tellPassword(tx, account);
  }

  /** Reads an account before it is changed, for `updated`. */
  async beforeUpdate(tx: Transaction, id: string): Promise<MailAccount | null> {
    return this.outbox.isOn ? this.tokens.lockAccount(tx, id) : null;
  }

  /** Notifies an account, at its previous address, of what was changed. @param before from `beforeUpdate` */
  async updated(tx: Transaction, before: MailAccount | null, after: Account, hasNewPassword: boolean): Promise<void> {
    if (!before) return;
    if (hasNewPassword) await this.tellPassword(tx, before);
    if (keyOf(before) === keyOf(after)) return;
    // Counted even if the e-mail was only removed. Beyond the limit, only an address that the account confirmed gets a
    // notice. Otherwise anyone could send mail to strangers by changing to their addresses and away again.
    const isWithinBounds = await this.invite(tx, after, FIRST_CONFIRMATION);
    if (before.email === null || !(before.isConfirmed || isWithinBounds)) return;
    await this.outbox.add(tx, {
      ...{ ownerId: before.id, kind: 'email-changed', seconds: NOTICE_LIFETIME },
      ...{ to: before.email, account: before.username ?? before.email },
    });
  }

  /** @returns whether the rule allowed one more */
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

/** Distinguishes mailboxes. Not by `loginKey`, which also treats addresses as equal that only look the same. */
function keyOf({ email }: Account): string | null {
  return email === null ? null : email.toLowerCase();
}
