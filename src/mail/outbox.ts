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

/** E-mails on their way at once, from one process. */
const BATCH = 5;

/** Seconds for which an e-mail is one process's: more than it can take. */
const LEASE = 60;

/** Seconds of the first pause after a failure; each is twice the one before, up to the longest. */
const FIRST_PAUSE = 5;
const LONGEST_PAUSE = 3_600;

/** An e-mail to be. */
export interface NewMail extends MailFacts {
  ownerId: string;
  kind: MailKind;
  to: string;
  /** Seconds after which it is given up. */
  seconds: number;
  /** Whether those of its kind that still wait are of no use any more. */
  replaces?: boolean;
}

type Payload = MailFacts & { to: string };

/**
 * E-mails on their way. Written in the transaction of what they tell of: none without its change, no change without its
 * e-mail, and no answer that depends on a mail server. Each node delivers what is due; after a crash another tries
 * again, so an e-mail may come twice, under the same Message-ID. Without SMTP_URL nothing is written.
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

  /** Whether e-mail is sent at all. */
  get isOn(): boolean {
    return this.mailer.isOn;
  }

  /** Sends an e-mail if the transaction commits. */
  async add(tx: Transaction, { ownerId, kind, seconds, replaces = false, ...payload }: NewMail): Promise<void> {
    if (!this.isOn) return;
    if (replaces) await this.mails.deleteKind(tx, ownerId, kind);
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
    if (!payload || mail.isExpired) return this.giveUp(mail, payload ? 'too late' : 'sealed under another SECRET_KEY');
    try {
      await this.mailer.send(mail.id, payload.to, composeMail(mail.kind, payload, this.env.publicUrl));
    } catch (error) {
      if (!(error instanceof NotSent)) throw error;
      if (error.isFinal) return this.giveUp(mail, error.message);
      const pause = pauseAfter(mail.attempts);
      this.logger.warn(`An e-mail (${mail.kind}) was not sent: ${error.message}. Tried again in ${pause} s.`);
      return this.mails.postpone(mail, pause);
    }
    await this.mails.delete(mail);
  }

  private async giveUp(mail: WaitingMail, why: string): Promise<void> {
    this.logger.warn(`An e-mail (${mail.kind}) was given up: ${why}.`);
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

/** Seconds until an e-mail is tried again that was tried so often. */
export function pauseAfter(attempts: number): number {
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1));
}
