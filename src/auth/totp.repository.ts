import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';

export interface TotpState {
  secretSealed: Buffer;
  enabledAt: Date | null;
  /** A bigint, as text. */
  lastStep: string;
}

const IS_ENABLED = {
  name: 'totp-is-enabled',
  text: 'SELECT FROM totp_secrets WHERE owner_id = $1 AND enabled_at IS NOT NULL',
};

@Injectable()
export class TotpRepository {
  constructor(private readonly database: Database) {}

  async isEnabled(ownerId: string): Promise<boolean> {
    return (await this.database.query(IS_ENABLED, [ownerId])).length > 0;
  }

  /** Locks the row until the transaction ends. */
  async lock(tx: Transaction, ownerId: string): Promise<TotpState | null> {
    const rows = await tx.query<TotpState>(
      `SELECT secret_sealed AS "secretSealed", enabled_at AS "enabledAt", last_step AS "lastStep"
       FROM totp_secrets WHERE owner_id = $1 FOR UPDATE`,
      [ownerId],
    );
    return rows[0] ?? null;
  }

  /** Stores a secret that is not enabled yet, in place of an earlier one. @returns false if a secret is enabled */
  async prepare(tx: Transaction, ownerId: string, secretSealed: Buffer): Promise<boolean> {
    const rows = await tx.query(
      `INSERT INTO totp_secrets AS t (owner_id, secret_sealed) VALUES ($1, $2)
       ON CONFLICT ON CONSTRAINT totp_secrets_pkey
       DO UPDATE SET secret_sealed = excluded.secret_sealed, last_step = 0, created_at = now() WHERE t.enabled_at IS NULL
       RETURNING owner_id`,
      [ownerId, secretSealed],
    );
    return rows.length > 0;
  }

  async enable(tx: Transaction, ownerId: string): Promise<void> {
    await tx.query('UPDATE totp_secrets SET enabled_at = now() WHERE owner_id = $1', [ownerId]);
  }

  async useStep(tx: Transaction, ownerId: string, step: number): Promise<void> {
    await tx.query('UPDATE totp_secrets SET last_step = $2 WHERE owner_id = $1', [ownerId, step]);
  }

  /** Deletes a recovery code. @returns whether it existed */
  async useRecoveryCode(tx: Transaction, ownerId: string, hash: Buffer): Promise<boolean> {
    const text = 'DELETE FROM totp_recovery_codes WHERE owner_id = $1 AND hash = $2 RETURNING owner_id';
    return (await tx.query(text, [ownerId, hash])).length > 0;
  }

  async replaceRecoveryCodes(tx: Transaction, ownerId: string, hashes: readonly Buffer[]): Promise<void> {
    await tx.query('DELETE FROM totp_recovery_codes WHERE owner_id = $1', [ownerId]);
    await tx.query('INSERT INTO totp_recovery_codes (owner_id, hash) SELECT $1, * FROM unnest($2::bytea[])', [
      ownerId,
      hashes,
    ]);
  }

  /** @returns whether there was a secret, enabled or not */
  async delete(tx: Transaction, ownerId: string): Promise<boolean> {
    await tx.query('DELETE FROM totp_recovery_codes WHERE owner_id = $1', [ownerId]);
    return (await tx.query('DELETE FROM totp_secrets WHERE owner_id = $1 RETURNING owner_id', [ownerId])).length > 0;
  }
}
