import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** The platform's limits on a meter, and the usage of all users together. Exists only while such a limit is set. */
@Entity('platform_quotas')
@Check(
  'platform_quotas_limits_check',
  `cardinality(limits) = 5 AND -1 <= ALL(limits) AND 9007199254740991 >= ALL(limits)`,
)
@Check('platform_quotas_counts_check', `cardinality(counts) = 5 AND 0 <= ALL(counts)`)
export class PlatformQuota {
  @PrimaryColumn('text', { collation: 'C', primaryKeyConstraintName: 'platform_quotas_pkey' })
  meter!: string;

  /** Same as Quota.limits. */
  @Column('bigint', { array: true, nullable: true })
  limits!: (number | null)[] | null;

  /** Same as Quota.counts. */
  @Column('bigint', { array: true, default: '{0,0,0,0,0}' })
  counts!: number[];

  @Column('timestamptz', { default: '-infinity' })
  at!: Date | number;
}
