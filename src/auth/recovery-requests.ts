import { createHmac } from 'node:crypto';
import { Injectable, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { loginKey } from '../common/names.js';
import { Seal } from '../config/seal.js';
import { Secrets } from '../config/secrets.js';
import { Database, type Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { Outbox } from '../mail/outbox.js';
import { AccountTokensRepository, type TokenRule } from '../users/account-tokens.repository.js';
import { RecoveryRequestsRepository } from './recovery-requests.repository.js';

const SWEEP_MS = 1_000;

/** OWASP Forgot Password Cheat Sheet: short, single use, and no means to flood a mailbox. */
const RESET: TokenRule = { lifetime: 1_800, pause: 60, perHour: 5 };

/**
 * Who asked to recover an account. To ask is one write of one row, the same for every login; whether there is such an
 * account is looked up afterwards, by whichever node comes first. So no answer, and no time that one takes, tells.
 */
@Injectable()
export class RecoveryRequests implements OnApplicationBootstrap, BeforeApplicationShutdown {
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

  async add(login: string): Promise<void> {
    if (!this.outbox.isOn) return;
    // A text that can be no name is the name of nobody: it costs the same write.
    const key = loginKey(login) ?? '';
    await this.requests.insert(createHmac('sha256', this.hashKey).update(key).digest(), this.seal.seal(key));
  }

  onApplicationBootstrap(): void {
    if (this.outbox.isOn) this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /** One a transaction: several accounts would be locked in whatever order. @returns whether there may be more */
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

  /** Undefined for what another SECRET_KEY sealed: nobody can serve it. */
  private open(sealed: Buffer): string | undefined {
    try {
      return this.seal.open(sealed).toString();
    } catch {
      return undefined;
    }
  }
}
