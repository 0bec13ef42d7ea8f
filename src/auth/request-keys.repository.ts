import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { RequestKey } from './request-key.entity.js';

const DELETE = {
  name: 'request-keys-delete',
  text: 'DELETE FROM request_keys WHERE owner_id = $1 AND id = $2 RETURNING id',
};

/** The public keys of users, as their owners see them. */
@Injectable()
export class RequestKeysRepository {
  constructor(
    @InjectRepository(RequestKey) private readonly keys: Repository<RequestKey>,
    private readonly database: Database,
  ) {}

  /**
   * Keeps a key, unless its owner has `max` already. Registrations of one owner wait for each other.
   * @returns the key; null where there are as many as may be
   * @throws Problem not_found when the owner has gone meanwhile
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

  /** Newest first. @param before the id after which (in that order) the page begins */
  listOwned(ownerId: string, before: string | null, limit: number): Promise<RequestKey[]> {
    return this.keys.find({
      where: { ownerId, ...(before === null ? {} : { id: LessThan(before) }) },
      order: { id: 'DESC' },
      take: limit,
    });
  }

  /** @returns whether there was such a key */
  async delete(ownerId: string, id: string): Promise<boolean> {
    return (await this.database.query(DELETE, [ownerId, id])).length > 0;
  }
}
