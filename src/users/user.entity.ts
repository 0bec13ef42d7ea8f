import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn, Unique, VirtualColumn } from 'typeorm';
import type { Role } from '../http/caller/caller.js';
import { Plan } from '../platform/plan.entity.js';

export type UserStatus = 'active' | 'disabled';

/** An account. `username` and `email` are stored as given; their keys (`loginKey`) make them unique. */
@Entity('users')
@Unique('users_username_key_unique', ['usernameKey'])
@Unique('users_email_key_unique', ['emailKey'])
@Check('users_login_check', `username IS NOT NULL OR email IS NOT NULL`)
@Check('users_role_check', `role IN ('admin', 'user')`)
@Check('users_status_check', `status IN ('active', 'disabled')`)
export class User {
  /** UUIDv7: later accounts have greater ids. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'users_pkey' })
  id!: string;

  @Column({ type: 'text', nullable: true })
  username!: string | null;

  @Column({ type: 'text', name: 'username_key', nullable: true, collation: 'C' })
  usernameKey!: string | null;

  @Column({ type: 'text', nullable: true })
  email!: string | null;

  @Column({ type: 'text', name: 'email_key', nullable: true, collation: 'C' })
  emailKey!: string | null;

  /** When the user proved to receive mail at the e-mail. Cleared when the e-mail changes. */
  @Column({ type: 'timestamptz', name: 'email_confirmed_at', precision: 3, nullable: true })
  emailConfirmedAt!: Date | null;

  @Column({ type: 'text', name: 'first_name', nullable: true })
  firstName!: string | null;

  @Column({ type: 'text', name: 'last_name', nullable: true })
  lastName!: string | null;

  @Column({ type: 'text', default: 'user' })
  role!: Role;

  @Column({ type: 'text', default: 'active' })
  status!: UserStatus;

  @Index('users_plan_idx')
  @ManyToOne(() => Plan, { nullable: true, onUpdate: 'CASCADE', onDelete: 'RESTRICT' })
  @JoinColumn({ name: 'plan', referencedColumnName: 'slug', foreignKeyConstraintName: 'users_plan_fkey' })
  planEntity?: Plan | null;

  @Column({ type: 'text', nullable: true })
  plan!: string | null;

  /** Not read unless it is selected. */
  @Column({ type: 'text', name: 'password_hash', select: false })
  passwordHash!: string;

  /** The user's own limit on the gauge `tasks` (see quota/); null if it has none or is unlimited. */
  @VirtualColumn('bigint', { query: (user) => `SELECT credit_limit(${user}.id)` })
  credits!: number | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;

  @Column({ type: 'timestamptz', name: 'last_login_at', precision: 3, nullable: true })
  lastLoginAt!: Date | null;
}
