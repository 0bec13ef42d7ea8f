import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { ApiKey } from './api-key.entity.js';

/**
 * A secret of a key, by its hash: the current one, and those that are in their grace period. With it goes what a call
 * needs to know of the key, to be had with one look; whoever changes a key changes both.
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

  /** When its grace period ends; null: it is the current one. */
  @Column({ type: 'timestamptz', name: 'retires_at', precision: 3, nullable: true })
  retiresAt!: Date | null;
}
