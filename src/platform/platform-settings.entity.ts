import { Check, Column, Entity, JoinColumn, ManyToOne, PrimaryColumn, VirtualColumn } from 'typeorm';
import { ALL_OBJECTS } from './objects.js';
import { Plan } from './plan.entity.js';

/** Platform settings that administrators change, in a single row. `totalObjects` is stored as a platform quota. */
@Entity('platform_settings')
@Check('platform_settings_id_check', 'id = 1')
@Check('platform_settings_registration_check', `registration IN ('open', 'closed')`)
export class PlatformSettings {
  @PrimaryColumn({ type: 'smallint', default: 1, primaryKeyConstraintName: 'platform_settings_pkey' })
  id!: number;

  /** If null, REGISTRATION applies. */
  @Column({ type: 'text', nullable: true })
  registration!: 'open' | 'closed' | null;

  @Column({ type: 'boolean', name: 'credit_overprovisioning', default: false })
  creditOverprovisioning!: boolean;

  @ManyToOne(() => Plan, { nullable: true, onUpdate: 'CASCADE', onDelete: 'RESTRICT' })
  @JoinColumn({
    name: 'default_plan',
    referencedColumnName: 'slug',
    foreignKeyConstraintName: 'platform_settings_default_plan_fkey',
  })
  plan?: Plan | null;

  @Column({ type: 'text', name: 'default_plan', nullable: true })
  defaultPlan!: string | null;

  /** The sum of all finite credits at `creditsAt`. Null while there is no bound. */
  @Column({ type: 'numeric', nullable: true, select: false })
  credits!: string | null;

  @Column({ type: 'timestamptz', name: 'credits_at', nullable: true, select: false })
  creditsAt!: Date | null;

  /** `platform_hours` has all hours before this moment. */
  @Column({ type: 'timestamptz', name: 'usage_until', default: '-infinity', select: false })
  usageUntil!: Date | number;

  /** Maximum number of objects. Null is unlimited. */
  @VirtualColumn('bigint', { query: () => `SELECT limits[1] FROM platform_quotas WHERE meter = '${ALL_OBJECTS}'` })
  totalObjects!: number | null;
}
