import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A key pair that signs access tokens. */
@Entity('signing_keys')
export class SigningKey {
  /** RFC 7638 thumbprint of the public key. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'signing_keys_pkey' })
  kid!: string;

  /** PKCS#8, sealed (see config/seal). */
  @Column({ type: 'bytea', name: 'private_key_sealed' })
  privateKeySealed!: Buffer;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
