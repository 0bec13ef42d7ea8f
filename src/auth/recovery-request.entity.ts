import { Column, Entity, PrimaryColumn } from 'typeorm';

/** Somebody asked to recover the account of a login, if there is one: that is only looked up once it was answered. */
@Entity('recovery_requests')
export class RecoveryRequest {
  /** A keyed hash, so that a login waits once however often it is asked for. */
  @PrimaryColumn('bytea', { name: 'login_hash', primaryKeyConstraintName: 'recovery_requests_pkey' })
  loginHash!: Buffer;

  /** Sealed: people type passwords where they should not. */
  @Column('bytea')
  login!: Buffer;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
