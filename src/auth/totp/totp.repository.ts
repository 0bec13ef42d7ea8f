import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Not, type Repository } from 'typeorm';
import { Database, within, type Transaction } from '../../database/database.js';
import { TotpRecoveryCode } from './totp-recovery-code.entity.js';
import { TotpSecret } from './totp-secret.entity.js';
import { PREPARE } from './totp.statements.js';

export type TotpState = Pick<TotpSecret, 'secretSealed' | 'enabledAt' | 'lastStep'>;

@Injectable()
export class TotpRepository {
  constructor(
    @InjectRepository(TotpSecret) private readonly secrets: Repository<TotpSecret>,
    @InjectRepository(TotpRecoveryCode) private readonly codes: Repository<TotpRecoveryCode>,
    private readonly database: Database,
  ) {}

  isEnabled(ownerId: string): Promise<boolean> {
    return this.secrets.existsBy({ ownerId, enabledAt: Not(IsNull()) });
  }

  /** Locks the row until the transaction ends. */
  lock(tx: Transaction, ownerId: string): Promise<TotpState | null> {
    return within(this.secrets, tx).findOne({ where: { ownerId }, lock: { mode: 'pessimistic_write' } });
  }

  /** Stores a secret that is not enabled yet, in place of an earlier one. @returns false if a secret is enabled */
  async prepare(tx: Transaction, ownerId: string, secretSealed: Buffer): Promise<boolean> {
    return (await this.database.query(PREPARE, [ownerId, secretSealed], tx)).length > 0;
  }

  async enable(tx: Transaction, ownerId: string): Promise<void> {
    await within(this.secrets, tx).update({ ownerId }, { enabledAt: () => 'now()' });
  }

  async useStep(tx: Transaction, ownerId: string, step: number): Promise<void> {
    await within(this.secrets, tx).update({ ownerId }, { lastStep: String(step) });
  }

  /** Deletes a recovery code. @returns whether it existed */
  async useRecoveryCode(tx: Transaction, ownerId: string, hash: Buffer): Promise<boolean> {
    const { affected } = await within(this.codes, tx).delete({ ownerId, hash });
    return affected === 1;
  }

  async replaceRecoveryCodes(tx: Transaction, ownerId: string, hashes: readonly Buffer[]): Promise<void> {
    const codes = within(this.codes, tx);
    await codes.delete({ ownerId });
    await codes.insert(hashes.map((hash) => ({ ownerId, hash })));
  }

  /** @returns whether there was a secret, enabled or not */
  async delete(tx: Transaction, ownerId: string): Promise<boolean> {
    await within(this.codes, tx).delete({ ownerId });
    const { affected } = await within(this.secrets, tx).delete({ ownerId });
    return affected === 1;
  }
}
