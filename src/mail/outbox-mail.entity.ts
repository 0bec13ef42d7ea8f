import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { MailKind } from './mails.js';

/** A pending e-mail. It is written in the transaction of its change, and deleted when a mail server has accepted it. */
@Entity('mail_outbox')
@Check('mail_outbox_kind_check', `kind IN ('reset', 'confirm', 'password-changed', 'email-changed')`)
export class OutboxMail {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'mail_outbox_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'mail_outbox_pkey' })
  id!: string;

  /** By name, because the users module imports this folder and not the other way round. */
  @ManyToOne('User', { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'mail_outbox_owner_fkey' })
  owner?: unknown;

  @Column('text')
  kind!: MailKind;

  /** Recipient and variable parts. Sealed, because some contain a token. */
  @Column('bytea')
  payload!: Buffer;

  @Column({ type: 'integer', default: 0 })
  attempts!: number;

  /** Time of the next attempt. */
  @Index('mail_outbox_next_idx')
  @Column({ type: 'timestamptz', name: 'next_at', precision: 3, default: () => 'now()' })
  nextAt!: Date;

  /** After this time, the e-mail is useless. */
  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;
}
