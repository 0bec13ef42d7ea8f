import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../../users/user.entity.js';

/** A session, which starts with a sign-in. Its access tokens are valid only while this row exists. */
@Entity('sessions')
@Check('sessions_generation_check', `generation >= 0`)
export class Session {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'sessions_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'sessions_pkey' })
  id!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'sessions_owner_fkey' })
  owner?: User;

  /** Random. It is part of the MAC of the refresh tokens, so SECRET_KEY alone is not enough to forge them. */
  @Column('bytea')
  nonce!: Buffer;

  /** How many times the refresh token was exchanged. Only the token of this generation is valid. */
  @Column({ type: 'integer', default: 0 })
  generation!: number;

  @Column({ type: 'timestamptz', name: 'rotated_at', precision: 3, nullable: true })
  rotatedAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;

  @Column({ type: 'text', nullable: true })
  ip!: string | null;

  @Column({ type: 'text', name: 'user_agent', nullable: true })
  userAgent!: string | null;
}
