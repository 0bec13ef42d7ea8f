import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { MailKind } from './mails.js';

/** An e-mail that waits: written in the transaction of what it tells of, deleted when a mail server has taken it. */
@Entity('mail_outbox')
@Check('mail_outbox_kind_check', `kind IN ('reset', 'confirm', 'password-changed', 'email-changed')`)
export class OutboxMail {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'mail_outbox_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'mail_outbox_pkey' })
  id!: string;

  /** By name: accounts stand on this folder, not this folder on accounts. */
  @ManyToOne('User', { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'mail_outbox_owner_fkey' })
  owner?: unknown;

  @Column('text')
  kind!: MailKind;

  /** Recipient and facts, sealed: some hold a token. */
  @Column('bytea')
  payload!: Buffer;

  @Column({ type: 'integer', default: 0 })
  attempts!: number;

  /** When it is tried next. */
  @Index('mail_outbox_next_idx')
  @Column({ type: 'timestamptz', name: 'next_at', precision: 3, default: () => 'now()' })
  nextAt!: Date;

  /** From then on it is of no use to anyone. */
  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;
}
