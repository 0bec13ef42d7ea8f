import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Raw, type Repository } from 'typeorm';
import { Database, within, type Transaction } from '../database/database.js';
import { IdempotencyKey } from './idempotency-key.entity.js';
import { DELETE_EXPIRED, HOURS } from './idempotency.statements.js';

export type StoredAnswer = Pick<IdempotencyKey, 'fingerprint' | 'answer'>;

/** Key of the advisory lock on deleting expired answers. An arbitrary number, the same in every process. */
const SWEEP_LOCK = 0x716d_6964;

@Injectable()
export class IdempotencyRepository {
  constructor(
    @InjectRepository(IdempotencyKey) private readonly keys: Repository<IdempotencyKey>,
    private readonly database: Database,
  ) {}

  /** Locks a key until the end of the transaction. @returns false if another request holds it */
  claim(tx: Transaction, ownerId: string, keyHash: Buffer): Promise<boolean> {
    // 64 bits of the hash as the lock id. On a collision one of the two requests gets idempotency_in_progress.
    const id = Buffer.from(ownerId.replaceAll('-', ''), 'hex').readBigInt64BE(8) ^ keyHash.readBigInt64BE(0);
    return this.database.tryLock(tx, id);
  }

  find(tx: Transaction, ownerId: string, keyHash: Buffer): Promise<StoredAnswer | null> {
    const isKept = Raw((column) => `${column} >= now() - make_interval(hours => ${HOURS})`);
    return within(this.keys, tx).findOneBy({ ownerId, keyHash, createdAt: isKept });
  }

  /** Replaces an expired answer. */
  async store(tx: Transaction, ownerId: string, keyHash: Buffer, stored: StoredAnswer): Promise<void> {
    const row = { ownerId, keyHash, ...stored, createdAt: () => 'now()' };
    const query = within(this.keys, tx).createQueryBuilder().insert().values(row);
    await query
      .orUpdate(['fingerprint', 'answer', 'created_at'], ['owner_id', 'key_hash'])
      .updateEntity(false)
      .execute();
  }

  /** Deletes up to 1,000 expired rows. @returns the number deleted; 0 also while another process deletes them */
  async deleteExpired(): Promise<number> {
    return this.database.transaction(async (tx) => {
      if (!(await this.database.tryLock(tx, SWEEP_LOCK))) return 0;
      return (await this.database.query(DELETE_EXPIRED, [], tx)).length;
    });
  }
}
