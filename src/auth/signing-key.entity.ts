import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A key pair that access tokens are signed with. */
@Entity('signing_keys')
export class SigningKey {
  /** RFC 7638 thumbprint of the public key. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'signing_keys_pkey' })
  kid!: string;

  /** PKCS#8, sealed with AES-256-GCM under a key derived from SECRET_KEY: 12 bytes nonce, 16 bytes tag, ciphertext. */
  @Column({ type: 'bytea', name: 'private_key_sealed' })
  privateKeySealed!: Buffer;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
