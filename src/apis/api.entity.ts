import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** An entry of the catalogue: what calls of it are answered with. */
@Entity('apis')
@Check('apis_answer_check', `answer IS NULL OR upstream IS NULL`)
export class Api {
  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'apis_pkey' })
  slug!: string;

  @Column('text')
  name!: string;

  /** A fixed text. */
  @Column({ type: 'text', nullable: true })
  answer!: string | null;

  /** The base address that calls are passed on to. */
  @Column({ type: 'text', nullable: true })
  upstream!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3, default: () => 'now()' })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3, default: () => 'now()' })
  updatedAt!: Date;
}
