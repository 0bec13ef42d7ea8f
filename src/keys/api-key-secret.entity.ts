import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { ApiKey } from './api-key.entity.js';

/**
 * A secret of a key, stored as its hash: the current one, or one in its grace period. Duplicates the columns of the key
 * that a call needs, so that one look-up is sufficient. Every change of a key must update both tables.
 */
@Entity('api_key_secrets')
@Check('api_key_secrets_hash_check', `octet_length(hash) = 32`)
export class ApiKeySecret {
  /** SHA-256. */
  @PrimaryColumn('bytea', { primaryKeyConstraintName: 'api_key_secrets_pkey' })
  hash!: Buffer;

  @Index('api_key_secrets_key_idx')
  @Column('uuid', { name: 'key_id' })
  keyId!: string;

  @ManyToOne(() => ApiKey, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'key_id', foreignKeyConstraintName: 'api_key_secrets_key_fkey' })
  key?: ApiKey;

  @Column('uuid', { name: 'owner_id' })
  ownerId!: string;

  @Column('text', { array: true })
  scopes!: string[];

  @Column('boolean')
  disabled!: boolean;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;

  /** The end of the grace period; null: this is the current secret. */
  @Column({ type: 'timestamptz', name: 'retires_at', precision: 3, nullable: true })
  retiresAt!: Date | null;
}
