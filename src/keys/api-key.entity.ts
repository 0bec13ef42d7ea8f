import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A key to the metered APIs. Rotation changes its secret, but keeps its id, limits and counts. */
@Entity('api_keys')
@Index('api_keys_owner_idx', ['ownerId', 'id'])
export class ApiKey {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'api_keys_pkey' })
  id!: string;

  @Column('uuid', { name: 'owner_id' })
  ownerId!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'api_keys_owner_fkey' })
  owner?: User;

  @Column('text')
  name!: string;

  /** The first characters of the secret, which help users to identify the key. */
  @Column('text')
  hint!: string;

  @Column('text', { array: true })
  scopes!: string[];

  @Column('boolean', { default: false })
  disabled!: boolean;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
