import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from './user.entity.js';

/** `reset`: sets a password, was sent by e-mail. `link`: as well, was given to an administrator. `confirm`: confirms the e-mail. */
export type TokenKind = 'reset' | 'link' | 'confirm';

/** The last token of a kind that an account was given, and how many it was given lately. */
@Entity('account_tokens')
@Check('account_tokens_kind_check', `kind IN ('reset', 'link', 'confirm')`)
export class AccountToken {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'account_tokens_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { primaryKeyConstraintName: 'account_tokens_pkey' })
  kind!: TokenKind;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'account_tokens_owner_fkey' })
  owner?: User;

  /** SHA-256; null once it was used or is void (see the triggers of migration 0007). The row stays, for what it counts. */
  @Column({ type: 'bytea', name: 'token_hash', nullable: true })
  tokenHash!: Buffer | null;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;

  @Column({ type: 'timestamptz', name: 'made_at', precision: 3, default: () => 'now()' })
  madeAt!: Date;

  /** How many were made since `hourAt`, which is moved when it is an hour ago. */
  @Column({ type: 'integer', default: 1 })
  made!: number;

  @Column({ type: 'timestamptz', name: 'hour_at', precision: 3, default: () => 'now()' })
  hourAt!: Date;
}
