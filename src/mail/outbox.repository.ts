import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, type Repository } from 'typeorm';
import { Database, within, type Transaction } from '../database/database.js';
import type { MailKind } from './mails.js';
import { OutboxMail } from './outbox-mail.entity.js';
import { CLAIM } from './outbox.statements.js';

/** A pending e-mail. */
export interface WaitingMail {
  ownerId: string;
  id: string;
  kind: MailKind;
  payload: Buffer;
  /** Number of attempts, including the current one. */
  attempts: number;
  isExpired: boolean;
}

export type NewOutboxMail = Pick<WaitingMail, 'ownerId' | 'id' | 'kind' | 'payload'> & { seconds: number };

@Injectable()
export class OutboxRepository {
  constructor(
    @InjectRepository(OutboxMail) private readonly mails: Repository<OutboxMail>,
    private readonly database: Database,
  ) {}

  async insert(tx: Transaction, { seconds, ...mail }: NewOutboxMail): Promise<void> {
    await within(this.mails, tx)
      .createQueryBuilder()
      .insert()
      .values({ ...mail, expiresAt: () => 'now() + make_interval(secs => :seconds)' })
      .setParameter('seconds', seconds)
      .execute();
  }

  /** Deletes the pending e-mails of some kinds. */
  async deleteKinds(tx: Transaction, ownerId: string, kinds: readonly MailKind[]): Promise<void> {
    await within(this.mails, tx).delete({ ownerId, kind: In(kinds) });
  }

  claim(limit: number, seconds: number): Promise<WaitingMail[]> {
    return this.database.query<WaitingMail>(CLAIM, [limit, seconds]);
  }

  async postpone({ ownerId, id }: WaitingMail, seconds: number): Promise<void> {
    await this.mails
      .createQueryBuilder()
      .update()
      .set({ nextAt: () => 'now() + make_interval(secs => :seconds)' })
      .where({ ownerId, id })
      .setParameter('seconds', seconds)
      .execute();
  }

  async delete({ ownerId, id }: WaitingMail): Promise<void> {
    await this.mails.delete({ ownerId, id });
  }
}
