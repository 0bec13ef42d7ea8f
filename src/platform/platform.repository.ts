import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { PlatformSettings } from './platform-settings.entity.js';
import { ALL_OBJECTS } from './objects.js';

export type SettingsRow = Omit<PlatformSettings, 'id' | 'plan'> & {
  /** Maximum number of objects. Null is unlimited. */
  totalObjects: number | null;
};

export type SettingsChanges = Partial<SettingsRow>;

/** Key of the advisory lock on the settings. An arbitrary number, the same in every process. */
const LOCK = 0x716d_7073;

const FIND = {
  name: 'platform-settings',
  text: `
    SELECT s.registration, s.credit_overprovisioning AS "creditOverprovisioning", s.default_plan AS "defaultPlan",
      (SELECT limits[1] FROM platform_quotas WHERE meter = '${ALL_OBJECTS}') AS "totalObjects"
    FROM platform_settings s`,
};

@Injectable()
export class PlatformRepository {
  constructor(private readonly database: Database) {}

  async find(tx?: Transaction): Promise<SettingsRow> {
    const [row] = await (tx ? tx.query<SettingsRow>(FIND.text) : this.database.query<SettingsRow>(FIND, []));
    if (!row) throw new Error('The platform has no settings');
    return row;
  }

  /**
   * Reads the settings and locks them until the transaction ends. Lock order: the first lock of every transaction that
   * creates or deletes users, changes credits, or changes the slug of a plan that the settings may reference. An
   * advisory lock and not a row lock: with row locks, new shared holders could block an exclusive one forever.
   * @param alone takes the lock exclusively; otherwise it is shared
   */
  async lock(tx: Transaction, alone: boolean): Promise<SettingsRow> {
    await tx.query(`SELECT pg_advisory_xact_lock${alone ? '' : '_shared'}($1)`, [LOCK]);
    // Read in a new statement, which sees changes committed during the wait.
    return this.find(tx);
  }

  /** Updates the settings, which must be locked. @throws Problem validation_failed for an unknown plan */
  async update(tx: Transaction, changes: SettingsChanges): Promise<void> {
    const { registration, creditOverprovisioning, defaultPlan, totalObjects } = changes;
    try {
      await tx.query(
        `UPDATE platform_settings SET registration = coalesce($1, registration),
           credit_overprovisioning = coalesce($2, credit_overprovisioning),
           default_plan = CASE WHEN $3 THEN $4 ELSE default_plan END`,
        [registration ?? null, creditOverprovisioning ?? null, defaultPlan !== undefined, defaultPlan ?? null],
      );
    } catch (error) {
      if (violatedConstraint(error) === 'platform_settings_default_plan_fkey') {
        throw Problem.field('/defaultPlan', 'is not the slug of a plan');
      }
      throw error;
    }
    if (totalObjects !== undefined) await this.setTotalObjects(tx, totalObjects);
  }

  /** Returns the sum of all finite credits, a whole number of any size. */
  async creditsGranted(tx: Transaction): Promise<bigint> {
    const [row] = await tx.query<{ granted: string }>('SELECT credits_granted(now()) AS granted');
    return BigInt(row?.granted ?? 0);
  }

  /**
   * Sets `totalObjects`. Without a bound the row is deleted, so that charges need not lock and count on it. The first
   * bound starts with the number of existing objects. To count them, a table lock waits for running charges and blocks
   * new ones; the lock on the settings blocks changes of users.
   */
  private async setTotalObjects(tx: Transaction, limit: number | null): Promise<void> {
    if (limit === null) {
      await tx.query('DELETE FROM platform_quotas WHERE meter = $1', [ALL_OBJECTS]);
      return;
    }
    const rows = await tx.query(
      'UPDATE platform_quotas SET limits = with_limit(NULL, 1, $2) WHERE meter = $1 RETURNING meter',
      [ALL_OBJECTS, limit],
    );
    if (rows.length > 0) return;
    await tx.query('LOCK TABLE quotas IN EXCLUSIVE MODE');
    await tx.query(
      `INSERT INTO platform_quotas (meter, limits, counts)
       SELECT $1, with_limit(NULL, 1, $2), ARRAY[coalesce(sum(users + tasks + resources + store_entries), 0)::bigint, 0, 0, 0, 0]
       FROM platform_totals`,
      [ALL_OBJECTS, limit],
    );
  }
}
