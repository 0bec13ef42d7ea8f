import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** A metered API of the catalogue. Its calls return a fixed text or are forwarded to an upstream. */
@Entity('apis')
@Check('apis_answer_check', `answer IS NULL OR upstream IS NULL`)
export class Api {
  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'apis_pkey' })
  slug!: string;

  @Column('text')
  name!: string;

  /** The fixed text to return. */
  @Column({ type: 'text', nullable: true })
  answer!: string | null;

  /** The base URL to forward calls to. */
  @Column({ type: 'text', nullable: true })
  upstream!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
