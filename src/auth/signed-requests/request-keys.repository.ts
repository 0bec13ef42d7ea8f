import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import { violatedConstraint } from '../../common/database-error.js';
import { Problem } from '../../common/problem.js';
import { within, type Transaction } from '../../database/database.js';
import { User } from '../../users/user.entity.js';
import { RequestKey } from './request-key.entity.js';

/** The signing keys of users. Each method acts on behalf of the owner. */
@Injectable()
export class RequestKeysRepository {
  constructor(
    @InjectRepository(RequestKey) private readonly keys: Repository<RequestKey>,
    @InjectRepository(User) private readonly users: Repository<User>,
  ) {}

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
    const { ownerId } = key;
    const lock = { mode: 'for_no_key_update' } as const;
    await within(this.users, tx).findOne({ select: { id: true }, where: { id: ownerId }, lock });
    const keys = within(this.keys, tx);
    if ((await keys.countBy({ ownerId })) >= max) return null;
    const row = keys.create(key);
    try {
      // Sets the columns with a default on `row`.
      await keys.insert(row);
      return row;
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
    const query = within(this.keys, tx).createQueryBuilder().delete().where({ ownerId, id }).returning('name');
    const deleted = await query.execute();
    return (deleted.raw as Pick<RequestKey, 'name'>[])[0]?.name ?? null;
  }
}
