import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** That a signed request was accepted: no other with its nonce is. Kept for as long as its signature might be good. */
@Entity('request_nonces')
@Check('request_nonces_nonce_hash_check', `octet_length(nonce_hash) = 32`)
export class RequestNonce {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'request_nonces_pkey' })
  ownerId!: string;

  @PrimaryColumn('uuid', { name: 'key_id', primaryKeyConstraintName: 'request_nonces_pkey' })
  keyId!: string;

  /** SHA-256. */
  @PrimaryColumn('bytea', { name: 'nonce_hash', primaryKeyConstraintName: 'request_nonces_pkey' })
  nonceHash!: Buffer;

  /** `created` of the signature. */
  @Index('request_nonces_signed_idx')
  @Column({ type: 'timestamptz', name: 'signed_at', precision: 0 })
  signedAt!: Date;
}
