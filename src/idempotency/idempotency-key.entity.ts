import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** The stored first response to a request with an Idempotency-Key. */
@Entity('idempotency_keys')
export class IdempotencyKey {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'idempotency_keys_pkey' })
  ownerId!: string;

  @PrimaryColumn('bytea', { name: 'key_hash', primaryKeyConstraintName: 'idempotency_keys_pkey' })
  keyHash!: Buffer;

  /** A keyed hash of the request, which identifies repetitions. */
  @Column('bytea')
  fingerprint!: Buffer;

  /** Encrypted, because it can contain a secret that is shown only once. */
  @Column('bytea')
  answer!: Buffer;

  @Index('idempotency_keys_created_idx')
  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
