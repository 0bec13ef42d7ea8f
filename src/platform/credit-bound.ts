import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import { OutOfDate, type Transaction } from '../database/database.js';
import { PlatformRepository, type SettingsRow } from './platform.repository.js';

/** Keeps the sum of all credits within `totalObjects`, unless `creditOverprovisioning` is on. */
@Injectable()
export class CreditBound {
  constructor(private readonly platform: PlatformRepository) {}

  /**
   * Runs work that may raise a user's credits. Lock order: must take its lock before all others of the transaction.
   * While a bound is set, such transactions run one at a time. Otherwise two could read the same sum and exceed the
   * bound.
   * @throws Problem credits_overprovisioned if the work raised the sum above the bound
   */
  async guard<T>(tx: Transaction, work: (settings: SettingsRow) => Promise<T>): Promise<T> {
    const alone = isBound(await this.platform.get(tx));
    const settings = await this.platform.lock(tx, alone);
    if (!isBound(settings)) return work(settings);
    // The bound was set after the first read. Restart: upgrading the shared lock would deadlock with other holders.
    if (!alone) throw new OutOfDate();
    const before = await this.platform.creditsGranted(tx);
    const done = await work(settings);
    const after = await this.platform.creditsGranted(tx);
    if (after > before) refuseAbove(settings, after);
    return done;
  }

  /** Checks the sum after a change of the bound itself. @throws Problem credits_overprovisioned */
  async check(tx: Transaction): Promise<void> {
    const settings = await this.platform.get(tx);
    if (isBound(settings)) refuseAbove(settings, await this.platform.creditsGranted(tx));
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
