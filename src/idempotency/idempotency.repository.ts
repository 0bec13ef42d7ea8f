import { Injectable } from '@nestjs/common';
import { Database, type Transaction } from '../database/database.js';

/** How long a response is stored. RFC draft "Idempotency-Key", section 2.3, leaves this to the server. */
const HOURS = 24;

export interface StoredAnswer {
  fingerprint: Buffer;
  answer: Buffer;
}

const DELETE_EXPIRED = {
  name: 'idempotency-delete-expired',
  text: `
    DELETE FROM idempotency_keys WHERE (owner_id, key_hash) IN (
      SELECT owner_id, key_hash FROM idempotency_keys WHERE created_at < now() - make_interval(hours => ${HOURS})
      ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING owner_id`,
};

@Injectable()
export class IdempotencyRepository {
  constructor(private readonly database: Database) {}

  /** Locks a key until the end of the transaction. @returns false if another request holds it */
  async claim(tx: Transaction, ownerId: string, keyHash: Buffer): Promise<boolean> {
    const [row] = await tx.query<{ claimed: boolean }>(
      'SELECT pg_try_advisory_xact_lock($1::bigint) AS claimed',
      // 64 bits of the hash as the lock id. On a collision one of the two requests gets idempotency_in_progress.
      [Buffer.from(ownerId.replaceAll('-', ''), 'hex').readBigInt64BE(8) ^ keyHash.readBigInt64BE(0)],
    );
    return row?.claimed ?? false;
  }

  async find(tx: Transaction, ownerId: string, keyHash: Buffer): Promise<StoredAnswer | null> {
    const rows = await tx.query<StoredAnswer>(
      `SELECT fingerprint, answer FROM idempotency_keys
       WHERE owner_id = $1 AND key_hash = $2 AND created_at >= now() - make_interval(hours => ${HOURS})`,
      [ownerId, keyHash],
    );
    return rows[0] ?? null;
  }

  async store(tx: Transaction, ownerId: string, keyHash: Buffer, stored: StoredAnswer): Promise<void> {
    await tx.query(
      `INSERT INTO idempotency_keys AS k (owner_id, key_hash, fingerprint, answer) VALUES ($1, $2, $3, $4)
       ON CONFLICT ON CONSTRAINT idempotency_keys_pkey
       DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer, created_at = now()`,
      [ownerId, keyHash, stored.fingerprint, stored.answer],
    );
  }

  /** Deletes up to 1,000 expired rows; skips rows that another node has locked. @returns the number deleted */
  async deleteExpired(): Promise<number> {
    return (await this.database.query(DELETE_EXPIRED, [])).length;
  }
}
