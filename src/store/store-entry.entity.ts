import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A JSON value that an owner stores under a key. */
@Entity('store_entries')
@Index('store_entries_owner_expires_idx', ['ownerId', 'expiresAt'], { where: 'expires_at IS NOT NULL' })
export class StoreEntry {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'store_entries_pkey' })
  ownerId!: string;

  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'store_entries_pkey' })
  key!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'store_entries_owner_fkey' })
  owner?: User;

  /** JSON text as it was sent, without whitespace outside strings. */
  @Column('text')
  value!: string;

  /** From the revision counter of the owner's store. It rises with each write, also across deletion. */
  @Column('bigint')
  version!: number;

  /** From this time on the entry is invisible and uses no quota, even before it is swept. Null: never. */
  @Index('store_entries_expires_idx', { where: 'expires_at IS NOT NULL' })
  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;
}
