import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A sign-in. Its row is what makes its access tokens good: they die with it. */
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

  /** Random, goes into the seal of the refresh tokens, so that they cannot be forged with SECRET_KEY alone. */
  @Column('bytea')
  nonce!: Buffer;

  /** How often the refresh token was exchanged: only the token of this generation is good. */
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
