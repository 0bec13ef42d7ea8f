import { Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../../users/user.entity.js';

/** A code that replaces the authenticator code once. Its row is deleted when it is used. */
@Entity('totp_recovery_codes')
export class TotpRecoveryCode {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'totp_recovery_codes_pkey' })
  ownerId!: string;

  /** HMAC-SHA256 under a key derived from SECRET_KEY. */
  @PrimaryColumn('bytea', { primaryKeyConstraintName: 'totp_recovery_codes_pkey' })
  hash!: Buffer;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'totp_recovery_codes_owner_fkey' })
  owner?: User;
}
