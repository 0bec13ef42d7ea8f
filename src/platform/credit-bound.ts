import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import { OutOfDate, type Transaction } from '../database/database.js';
import { PlatformRepository, type SettingsRow } from './platform.repository.js';

/** Keeps the credits of all users within the objects that the platform may have, where it is not to be over-provisioned. */
@Injectable()
export class CreditBound {
  constructor(private readonly platform: PlatformRepository) {}

  /**
   * Does work that may raise somebody's credits, and comes before all other locks of its transaction. While there is a
   * bound, one transaction after the other: two that together would exceed it cannot both see the sum of before.
   * @throws Problem credits_overprovisioned when the work has raised the sum above the bound
   */
  async guard<T>(tx: Transaction, work: (settings: SettingsRow) => Promise<T>): Promise<T> {
    const alone = isBound(await this.platform.find(tx));
    const settings = await this.platform.lock(tx, alone);
    if (!isBound(settings)) return work(settings);
    // Somebody has set it in between. Of several who share a lock none could have it alone.
    if (!alone) throw new OutOfDate();
    const before = await this.platform.creditsGranted(tx);
    const done = await work(settings);
    const after = await this.platform.creditsGranted(tx);
    if (after > before) refuseAbove(settings, after);
    return done;
  }

  /** For whoever has changed the bound itself. @throws Problem credits_overprovisioned */
  async check(tx: Transaction): Promise<void> {
    const settings = await this.platform.find(tx);
    if (isBound(settings)) refuseAbove(settings, await this.platform.creditsGranted(tx));
  }
}

function isBound({ totalObjects, creditOverprovisioning }: SettingsRow): boolean {
  return totalObjects !== null && !creditOverprovisioning;
}

function refuseAbove({ totalObjects }: SettingsRow, granted: bigint): void {
  if (totalObjects === null || granted <= BigInt(totalObjects)) return;
  throw new Problem('credits_overprovisioned', {
    detail: `All users together would have ${granted.toString()} credits, and the platform may have ${totalObjects} objects.`,
  });
}
