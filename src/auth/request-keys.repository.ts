import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import type { Transaction } from '../database/database.js';
import { RequestKey } from './request-key.entity.js';

/** The signing keys of users. Each method acts on behalf of the owner. */
@Injectable()
export class RequestKeysRepository {
  constructor(@InjectRepository(RequestKey) private readonly keys: Repository<RequestKey>) {}

  /**
   * Inserts a key unless its owner already has `max` keys. Concurrent registrations of one owner run one after another.
   * @returns the key, or null if the maximum is reached
   * @throws Problem not_found if the owner was deleted in the meantime
   */
  async insert(
    tx: Transaction,
    key: Pick<RequestKey, 'id' | 'ownerId' | 'name' | 'publicKey'>,
    max: number,
  ): Promise<RequestKey | null> {
    const { id, ownerId, name, publicKey } = key;
    await tx.query('SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE', [ownerId]);
    try {
      const rows = await tx.query<RequestKey>(
        `INSERT INTO request_keys (id, owner_id, name, public_key) SELECT $1, $2, $3, $4
         WHERE (SELECT count(*) FROM request_keys WHERE owner_id = $2) < $5
         RETURNING id, owner_id AS "ownerId", name, public_key AS "publicKey", created_at AS "createdAt"`,
        [id, ownerId, name, publicKey, max],
      );
      return rows[0] ?? null;
    } catch (error) {
      if (violatedConstraint(error) === 'request_keys_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  /** Lists keys, newest first. @param before id of the last key of the previous page */
  listOwned(ownerId: string, before: string | null, limit: number): Promise<RequestKey[]> {
    return this.keys.find({
      where: { ownerId, ...(before === null ? {} : { id: LessThan(before) }) },
      order: { id: 'DESC' },
      take: limit,
    });
  }

  /** @returns the name of the deleted key, or null if there was no such key */
  async delete(tx: Transaction, ownerId: string, id: string): Promise<string | null> {
    const text = 'DELETE FROM request_keys WHERE owner_id = $1 AND id = $2 RETURNING name';
    return (await tx.query<{ name: string }>(text, [ownerId, id]))[0]?.name ?? null;
  }
}
