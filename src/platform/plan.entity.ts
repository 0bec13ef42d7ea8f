import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A named set of limits that users share. */
@Entity('plans')
export class Plan {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'plans_pkey' })
  slug!: string;

  @Column('text')
  name!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
