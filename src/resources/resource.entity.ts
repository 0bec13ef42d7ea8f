import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A text that belongs to a user. */
@Entity('resources')
export class Resource {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'resources_pkey' })
  ownerId!: string;

  /** UUIDv7: the order of creation. Has its own index for administrators, who read across owners. */
  @Index('resources_id_idx')
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'resources_pkey' })
  id!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'resources_owner_fkey' })
  owner?: User;

  @Column('text')
  value!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;
}
