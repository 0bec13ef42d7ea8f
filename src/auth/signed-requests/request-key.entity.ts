import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../../users/user.entity.js';

/**
 * An Ed25519 public key that verifies a user's signed requests (RFC 9421). It never changes: a new key gets a new id.
 */
@Entity('request_keys')
@Check('request_keys_public_key_check', `octet_length(public_key) = 32`)
@Index('request_keys_owner_idx', ['ownerId', 'id'])
export class RequestKey {
  /** The `keyid` of signatures. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'request_keys_pkey' })
  id!: string;

  @Column('uuid', { name: 'owner_id' })
  ownerId!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'request_keys_owner_fkey' })
  owner?: User;

  /** A name for display. */
  @Column('text')
  name!: string;

  /** 32 bytes (RFC 8032, section 5.1.2). */
  @Column({ type: 'bytea', name: 'public_key' })
  publicKey!: Buffer;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
