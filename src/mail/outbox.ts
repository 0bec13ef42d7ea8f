import { Injectable, Logger, type BeforeApplicationShutdown, type OnApplicationBootstrap } from '@nestjs/common';
import { uuidv7 } from 'uuidv7';
import { Env } from '../config/env.js';
import { Seal } from '../config/seal.js';
import { Secrets } from '../config/secrets.js';
import type { Transaction } from '../database/database.js';
import { Sweeper } from '../database/sweeper.js';
import { Mailer, NotSent } from './mailer.js';
import { composeMail, type MailFacts, type MailKind } from './mails.js';
import { OutboxRepository, type WaitingMail } from './outbox.repository.js';

const SWEEP_MS = 1_000;

/** Maximum number of e-mails that one process sends at once. */
const BATCH = 5;

/** Seconds for which a process claims an e-mail: longer than sending can take. */
const LEASE = 60;

/** Seconds before the first retry. Each later pause is twice the previous one, up to the longest. */
const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 3_600;

/** An e-mail to send. */
export interface NewMail extends MailFacts {
  ownerId: string;
  kind: MailKind;
  to: string;
  /** Seconds until it expires. */
  seconds: number;
  /** Whether it replaces pending e-mails of the same kind. */
  replaces?: boolean;
}

type Payload = MailFacts & { to: string };

/**
 * A transactional outbox for e-mails. An e-mail is written in the transaction of its change, so neither exists without
 * the other, and no response depends on a mail server. Each node delivers due e-mails. After a crash another node
 * retries, so an e-mail may arrive twice, with the same Message-ID. Without SMTP_URL nothing is written.
 */
@Injectable()
export class Outbox implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger('Mail');
  private readonly seal: Seal;
  private readonly sweeper = new Sweeper(SWEEP_MS, () => this.deliverDue());

  constructor(
    private readonly env: Env,
    private readonly mailer: Mailer,
    private readonly mails: OutboxRepository,
    secrets: Secrets,
  ) {
    this.seal = new Seal(secrets.derive('mail-outbox'));
  }

  /** Whether e-mails are sent. */
  get isOn(): boolean {
    return this.mailer.isOn;
  }

  /** Sends an e-mail if the transaction commits. */
  async add(tx: Transaction, { ownerId, kind, seconds, replaces = false, ...payload }: NewMail): Promise<void> {
    if (!this.isOn) return;
    if (replaces) await this.mails.deleteKinds(tx, ownerId, [kind]);
    const id = uuidv7();
    const sealed = this.seal.seal(JSON.stringify(payload satisfies Payload), id);
    await this.mails.insert(tx, { ownerId, id, kind, payload: sealed, seconds });
  }

  onApplicationBootstrap(): void {
    if (this.isOn) this.sweeper.start(true);
  }

  beforeApplicationShutdown(): Promise<void> {
    return this.sweeper.stop();
  }

  /** @returns whether more may be due */
  private async deliverDue(): Promise<boolean> {
    const due = await this.mails.claim(BATCH, LEASE);
    await Promise.all(due.map((mail) => this.deliver(mail)));
    return due.length === BATCH;
  }

  private async deliver(mail: WaitingMail): Promise<void> {
    const payload = this.open(mail);
    if (!payload || mail.isExpired) return this.giveUp(mail, payload ? 'expired' : 'sealed with another SECRET_KEY');
    try {
      await this.mailer.send(mail.id, payload.to, composeMail(mail.kind, payload, this.env.publicUrl));
    } catch (error) {
      if (!(error instanceof NotSent)) throw error;
      if (error.isFinal) return this.giveUp(mail, error.message);
      const pause = pauseAfter(mail.attempts);
      this.logger.warn(`An e-mail (${mail.kind}) was not sent: ${error.message}. Next attempt in ${pause} s.`);
      return this.mails.postpone(mail, pause);
    }
    await this.mails.delete(mail);
  }

  private async giveUp(mail: WaitingMail, why: string): Promise<void> {
    this.logger.warn(`An e-mail (${mail.kind}) was discarded: ${why}.`);
    await this.mails.delete(mail);
  }

  private open({ id, payload }: WaitingMail): Payload | undefined {
    try {
      return JSON.parse(this.seal.open(payload, id).toString()) as Payload;
    } catch {
      return undefined;
    }
  }
}

/** Returns the seconds until the next attempt, after a number of attempts. */
export function pauseAfter(attempts: number): number {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1));
}
