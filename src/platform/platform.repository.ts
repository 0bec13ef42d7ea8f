import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { InjectRepository } from '@nestjs/typeorm';
import type { Repository } from 'typeorm';
import { Database, within, type Transaction } from '../database/database.js';
import { ALL_OBJECTS } from './objects.js';
import { PlatformSettings } from './platform-settings.entity.js';
import {
  ADD_CREDITS,
  ADVANCE_CREDITS,
  CREDITS_OF_PLAN,
  CREDITS_OF_USERS,
  FIND_TOTAL_OBJECTS,
  FIRST_TOTAL_OBJECTS,
  LOCK_GAUGES,
  SET_TOTAL_OBJECTS,
  START_CREDITS,
  UNSET_TOTAL_OBJECTS,
} from './platform.statements.js';

export type SettingsRow = Omit<PlatformSettings, 'id' | 'plan' | 'credits' | 'creditsAt' | 'usageUntil'>;

/** Users whose credits a change may affect: some, or all with a plan, which the change may rename. */
export type CreditScope = { ownerId: string | readonly string[] } | { plan: string; newPlan?: string | undefined };

export type SettingsChanges = Partial<SettingsRow>;

/** Key of the advisory lock on the settings. An arbitrary number, the same in every process. */
const LOCK = 0x716d_7073;

/** The settings are one row. */
const ONLY = { id: 1 };

@Injectable()
export class PlatformRepository {
  constructor(
    @InjectRepository(PlatformSettings) private readonly settings: Repository<PlatformSettings>,
    private readonly database: Database,
  ) {}

  get(tx?: Transaction): Promise<SettingsRow> {
    return within(this.settings, tx).findOneByOrFail(ONLY);
  }

  /**
   * Reads the settings and locks them until the transaction ends. Lock order: the first lock of every transaction that
   * creates or deletes users, changes credits, or changes the slug of a plan that the settings may reference. An
   * advisory lock and not a row lock: with row locks, new shared holders could block an exclusive one forever.
   * @param alone takes the lock exclusively; otherwise it is shared
   */
  async lock(tx: Transaction, alone: boolean): Promise<SettingsRow> {
    await this.database.lock(tx, LOCK, { isShared: !alone });
    // Read in a new statement, which sees changes committed during the wait.
    return this.get(tx);
  }

  /** Updates the settings, which must be locked. @throws Problem validation_failed for an unknown plan */
  async update(tx: Transaction, changes: SettingsChanges): Promise<void> {
    const { totalObjects, ...settings } = changes;
    try {
      // A DTO has its missing members as undefined.
      const isGiven = Object.values<unknown>(settings).some((value) => value !== undefined);
      if (isGiven) await within(this.settings, tx).update(ONLY, settings);
    } catch (error) {
      if (violatedConstraint(error) === 'platform_settings_default_plan_fkey') {
        throw Problem.field('/defaultPlan', 'is not the slug of a plan');
      }
      throw error;
    }
    if (totalObjects !== undefined) await this.setTotalObjects(tx, totalObjects);
  }

  /** Starts to maintain the sum of all credits, or stops. The settings must be locked exclusively. */
  async maintainCredits(tx: Transaction, isBound: boolean): Promise<void> {
    if (isBound) await this.database.query(START_CREDITS, [], tx);
    else await within(this.settings, tx).update(ONLY, { credits: null, creditsAt: null });
  }

  /** Subtracts expired grants from the maintained sum of all credits. @returns the moment of the sum */
  async advanceCredits(tx: Transaction): Promise<string> {
    const [row] = await this.database.query<{ moment: string }>(ADVANCE_CREDITS, [], tx);
    if (!row) throw new Error('The platform has no settings');
    return row.moment;
  }

  /** Returns the finite credits of some users at a moment: a whole number of any size. */
  async creditsOf(tx: Transaction, scope: CreditScope, moment: string): Promise<bigint> {
    const [statement, whose] =
      'plan' in scope ? [CREDITS_OF_PLAN, scope.plan] : [CREDITS_OF_USERS, [scope.ownerId].flat()];
    const [row] = await this.database.query<{ credits: string }>(statement, [whose, moment], tx);
    return BigInt(row?.credits ?? 0);
  }

  /** Adds to the maintained sum of all credits. @returns the sum */
  async addCredits(tx: Transaction, amount: bigint): Promise<bigint> {
    const [row] = await this.database.query<{ credits: string | null }>(ADD_CREDITS, [amount.toString()], tx);
    if (typeof row?.credits !== 'string') throw new Error('The sum of all credits is not maintained');
    return BigInt(row.credits);
  }

  /**
   * Sets `totalObjects`. Without a bound the row is deleted, so that charges need not lock and count on it. The first
   * bound starts with the number of existing objects. To count them, a table lock waits for running charges and blocks
   * new ones; the lock on the settings blocks changes of users, and other changes of this bound.
   */
  private async setTotalObjects(tx: Transaction, limit: number | null): Promise<void> {
    if (limit === null) {
      await this.database.query(UNSET_TOTAL_OBJECTS, [ALL_OBJECTS], tx);
      return;
    }
    const known = await this.database.query(FIND_TOTAL_OBJECTS, [ALL_OBJECTS], tx);
    if (known.length > 0) {
      await this.database.query(SET_TOTAL_OBJECTS, [ALL_OBJECTS, limit], tx);
      return;
    }
    await this.database.query(LOCK_GAUGES, [], tx);
    await this.database.query(FIRST_TOTAL_OBJECTS, [ALL_OBJECTS, limit], tx);
  }
}
