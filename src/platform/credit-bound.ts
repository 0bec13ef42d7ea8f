import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import { OutOfDate, type Transaction } from '../database/database.js';
import { PlatformRepository, type CreditScope, type SettingsRow } from './platform.repository.js';

/** Keeps the sum of all credits within `totalObjects`, unless `creditOverprovisioning` is on. */
@Injectable()
export class CreditBound {
  constructor(private readonly platform: PlatformRepository) {}

  /**
   * Runs work that changes the credits of some users. Call it before the transaction takes any other lock. While a bound
   * is set, such transactions run one at a time and maintain the sum. Otherwise two could read the same sum and exceed
   * the bound.
   * @throws Problem credits_overprovisioned if the work raised the sum above the bound
   */
  async guard<T>(tx: Transaction, scope: CreditScope, work: (settings: SettingsRow) => Promise<T>): Promise<T> {
    const alone = isBound(await this.platform.get(tx));
    const settings = await this.platform.lock(tx, alone);
    if (!isBound(settings)) return work(settings);
    // The bound was set after the first read. Restart: upgrading the shared lock would deadlock with other holders.
    if (!alone) throw new OutOfDate();
    const moment = await this.platform.advanceCredits(tx);
    const before = await this.platform.creditsOf(tx, scope, moment);
    const done = await work(settings);
    const renamed = 'plan' in scope ? { plan: scope.newPlan ?? scope.plan } : scope;
    const raise = (await this.platform.creditsOf(tx, renamed, moment)) - before;
    const sum = await this.platform.addCredits(tx, raise);
    if (raise > 0n) refuseAbove(settings, sum);
    return done;
  }

  /**
   * Starts or stops maintaining the sum after a change of the bound, which was made under the exclusive lock.
   * @throws Problem credits_overprovisioned
   */
  async apply(tx: Transaction): Promise<void> {
    const settings = await this.platform.get(tx);
    await this.platform.maintainCredits(tx, isBound(settings));
    if (!isBound(settings)) return;
    await this.platform.advanceCredits(tx);
    refuseAbove(settings, await this.platform.addCredits(tx, 0n));
  }
}

function isBound({ totalObjects, creditOverprovisioning }: SettingsRow): boolean {
  return totalObjects !== null && !creditOverprovisioning;
}

function refuseAbove({ totalObjects }: SettingsRow, granted: bigint): void {
  if (totalObjects === null || granted <= BigInt(totalObjects)) return;
  throw new Problem('credits_overprovisioned', {
    detail: `All users together would have ${granted.toString()} credits, but the platform is limited to ${totalObjects} objects.`,
  });
}
