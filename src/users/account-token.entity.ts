import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from './user.entity.js';

/**
 * `reset`: sets a password, sent by e-mail. `link`: sets a password, given to an administrator. `confirm`: confirms the
 * e-mail.
 */
export type TokenKind = 'reset' | 'link' | 'confirm';

/** The last token of each kind that an account got, and how many it got recently. */
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

  /**
   * SHA-256; null once the token is used or void. The row stays for its counters.
   */
  @Column({ type: 'bytea', name: 'token_hash', nullable: true })
  tokenHash!: Buffer | null;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;

  @Column({ type: 'timestamptz', name: 'made_at', precision: 3, default: () => 'now()' })
  madeAt!: Date;

  /** Number of tokens made since `hourAt`, which is reset once it is an hour old. */
  @Column({ type: 'integer', default: 1 })
  made!: number;

  @Column({ type: 'timestamptz', name: 'hour_at', precision: 3, default: () => 'now()' })
  hourAt!: Date;
}
