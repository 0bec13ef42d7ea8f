import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A pending request to recover an account. The account is looked up only after the response was sent. */
@Entity('recovery_requests')
export class RecoveryRequest {
  /** Keyed hash, so that a login has at most one pending request. */
  @PrimaryColumn('bytea', { name: 'login_hash', primaryKeyConstraintName: 'recovery_requests_pkey' })
  loginHash!: Buffer;

  /** Sealed, because people sometimes type a password as their login. */
  @Column('bytea')
  login!: Buffer;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
