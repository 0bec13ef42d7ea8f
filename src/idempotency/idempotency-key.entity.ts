import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** The first answer to a request that was sent with an Idempotency-Key. */
@Entity('idempotency_keys')
export class IdempotencyKey {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'idempotency_keys_pkey' })
  ownerId!: string;

  @PrimaryColumn('bytea', { name: 'key_hash', primaryKeyConstraintName: 'idempotency_keys_pkey' })
  keyHash!: Buffer;

  /** What tells requests apart. */
  @Column('bytea')
  fingerprint!: Buffer;

  /** Sealed: it may hold what is shown only once. */
  @Column('bytea')
  answer!: Buffer;

  @Index('idempotency_keys_created_idx')
  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
