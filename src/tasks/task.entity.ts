import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { User } from '../users/user.entity.js';

/** A task. It holds one credit of its owner as long as it exists, completed or not. */
@Entity('tasks')
@Index('tasks_owner_completed_idx', ['ownerId', 'completed', 'id'])
@Index('tasks_completed_idx', ['completed', 'id'])
export class Task {
  @PrimaryColumn('uuid', { name: 'owner_id', primaryKeyConstraintName: 'tasks_pkey' })
  ownerId!: string;

  /** UUIDv7: the order of creation. Has its own index for administrators, who read across owners. */
  @Index('tasks_id_idx')
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'tasks_pkey' })
  id!: string;

  @ManyToOne(() => User, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'owner_id', foreignKeyConstraintName: 'tasks_owner_fkey' })
  owner?: User;

  @Column({ type: 'text', nullable: true })
  title!: string | null;

  @Column('boolean')
  completed!: boolean;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
