import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A JSON value of an owner's, under a key. */
@Entity('store_entries')
@Check('store_entries_key_check', `octet_length(key) BETWEEN 1 AND 512`)
@Check('store_entries_value_check', `octet_length(value) BETWEEN 1 AND 262144`)
@Check('store_entries_version_check', `version >= 1`)
@Index('store_entries_owner_expires_idx', ['ownerId', 'expiresAt'], { where: 'expires_at IS NOT NULL' })
export class StoreEntry {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'store_entries_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'store_entries_pkey' })
  key!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'store_entries_owner_fkey' })
  owner?: User;

  /** JSON as it was sent, without blanks outside strings. */
  @Column('text')
  value!: string;

  /** Of the revisions of its owner's store: rises with each write, also across deletion. */
  @Column('bigint')
  version!: number;

  /** From then on it counts no more and nobody sees it, whether it was swept or not. Null: never. */
  @Index('store_entries_expires_idx', { where: 'expires_at IS NOT NULL' })
  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;
}
