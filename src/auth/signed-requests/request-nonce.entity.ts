import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** The nonce of an accepted signed request, to reject replays. Kept for as long as its signature could be valid. */
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
