import { Column, Entity, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { User } from '../../users/user.entity.js';

/** The secret that a user's authenticator app shares with the platform. */
@Entity('totp_secrets')
export class TotpSecret {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'totp_secrets_pkey' })
  ownerId!: string;

  @OneToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'totp_secrets_owner_fkey' })
  owner?: User;

  /** Sealed under a key derived from SECRET_KEY. */
  @Column({ type: 'bytea', name: 'secret_sealed' })
  secretSealed!: Buffer;

  /** Null until the user has entered a code from it. */
  @Column({ type: 'timestamptz', name: 'enabled_at', precision: 3, nullable: true })
  enabledAt!: Date | null;

  /** The time step of the last accepted code. No code is accepted twice (RFC 6238, section 5.2). */
  @Column({ type: 'bigint', name: 'last_step', default: 0 })
  lastStep!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
