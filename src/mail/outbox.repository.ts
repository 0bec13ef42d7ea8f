import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';
import type { MailKind } from './mails.js';

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

/**
 * Claims some due e-mails for a number of seconds. Other processes do not try them in that time; if this process
 * crashes, they do so afterwards. No transaction stays open during the dialog with the mail server.
 */
const CLAIM = {
  name: 'mail-claim',
  text: `
    UPDATE mail_outbox m SET attempts = m.attempts + 1, next_at = now() + make_interval(secs => $2)
    FROM (SELECT owner_id, id FROM mail_outbox WHERE next_at <= now() ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
    WHERE m.owner_id = due.owner_id AND m.id = due.id
    RETURNING m.owner_id AS "ownerId", m.id, m.kind, m.payload, m.attempts, m.expires_at <= now() AS "isExpired"`,
};

const POSTPONE = {
  name: 'mail-postpone',
  text: `UPDATE mail_outbox SET next_at = now() + make_interval(secs => $3) WHERE owner_id = $1 AND id = $2`,
};

const DELETE = { name: 'mail-delete', text: 'DELETE FROM mail_outbox WHERE owner_id = $1 AND id = $2' };

@Injectable()
export class OutboxRepository {
  constructor(private readonly database: Database) {}

  async insert(tx: Transaction, { ownerId, id, kind, payload, seconds }: NewOutboxMail): Promise<void> {
    await tx.query(
      `INSERT INTO mail_outbox (owner_id, id, kind, payload, expires_at)
       VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))`,
      [ownerId, id, kind, payload, seconds],
    );
  }

  /** Deletes the pending e-mails of a kind. */
  async deleteKind(tx: Transaction, ownerId: string, kind: MailKind): Promise<void> {
    await tx.query('DELETE FROM mail_outbox WHERE owner_id = $1 AND kind = $2', [ownerId, kind]);
  }

  claim(limit: number, seconds: number): Promise<WaitingMail[]> {
    return this.database.query<WaitingMail>(CLAIM, [limit, seconds]);
  }

  async postpone({ ownerId, id }: WaitingMail, seconds: number): Promise<void> {
    await this.database.query(POSTPONE, [ownerId, id, seconds]);
  }

  async delete({ ownerId, id }: WaitingMail): Promise<void> {
    await this.database.query(DELETE, [ownerId, id]);
  }
}
