import { createHmac } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { loginKey } from '../../common/names.js';
import { Seal } from '../../config/seal.js';
import { Secrets } from '../../config/secrets.js';
import { Database, type Transaction } from '../../database/database.js';
import { Sweeper } from '../../database/sweeper.js';
import { Outbox } from '../../mail/outbox.js';
import { AccountTokensRepository, type TokenRule } from '../../users/account-tokens.repository.js';
import { RecoveryRequestsRepository } from './recovery-requests.repository.js';

const SWEEP_MS = 1_000;

/** OWASP Forgot Password Cheat Sheet: short-lived, single-use, and limited so that nobody can flood a mailbox. */
const RESET: TokenRule = { lifetime: 1_800, pause: 60, perHour: 5 };

/**
 * Sends the e-mails for lost passwords. A request writes one row, the same for every login. A job on any node looks
 * up the account later. So neither the response nor its time reveals whether the account exists.
 */
@Injectable()
export class RecoveryMailer implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly seal: Seal;
  private readonly hashKey: Buffer;
  private readonly sweeper = new Sweeper(SWEEP_MS, () => this.serve());

  constructor(
    private readonly database: Database,
    private readonly requests: RecoveryRequestsRepository,
    private readonly tokens: AccountTokensRepository,
    private readonly outbox: Outbox,
    secrets: Secrets,
  ) {
    this.seal = new Seal(secrets.derive('recovery-request'));
    this.hashKey = secrets.derive('recovery-login');
  }

  /** Queues a request: the account, if there is one, gets an e-mail with a link. Does nothing without a mail server. */
  async queue(login: string): Promise<void> {
    if (!this.outbox.isOn) return;
    // An invalid login gets the key of no account, so that it costs the same write.
    const key = loginKey(login) ?? '';
    await this.requests.insert(createHmac('sha256', this.hashKey).update(key).digest(), this.seal.seal(key));
  }

  onApplicationBootstrap(): void {
    if (this.outbox.isOn) this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /**
   * Serves one request per transaction: locking several accounts in arbitrary order could deadlock.
   * @returns whether there may be more
   */
  private async serve(): Promise<boolean> {
    return this.database.transaction(async (tx) => {
      const sealed = await this.requests.take(tx);
      const login = sealed && this.open(sealed);
      if (login !== undefined) await this.sendReset(tx, login);
      return sealed !== undefined;
    });
  }

  private async sendReset(tx: Transaction, login: string): Promise<void> {
    const account = await this.tokens.lockByLogin(tx, login);
    const made = account && (await this.tokens.renew(tx, account.id, 'reset', RESET));
    if (!made) return;
    await this.outbox.add(tx, {
      ...{ ownerId: account.id, kind: 'reset', seconds: RESET.lifetime, replaces: true, token: made.token },
      ...{ to: account.email, account: account.username ?? account.email },
    });
  }

  /** Returns undefined for a request that was sealed with another SECRET_KEY: nobody can serve it. */
  private open(sealed: Buffer): string | undefined {
    try {
      return this.seal.open(sealed).toString();
    } catch {
      return undefined;
    }
  }
}
