import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type FindOptionsWhere, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { within, type Transaction } from '../database/database.js';
import { ApiKeySecret } from './api-key-secret.entity.js';
import { ApiKey } from './api-key.entity.js';

export type KeyRow = Omit<ApiKey, 'owner'>;

export type NewKey = Pick<ApiKey, 'id' | 'ownerId' | 'name' | 'hint' | 'scopes' | 'expiresAt'>;

export type KeyChanges = Partial<Pick<ApiKey, 'name' | 'scopes' | 'disabled' | 'expiresAt'>>;

/** `ownerId` null: any owner (for administrators). */
export interface KeyReference {
  ownerId: string | null;
  id: string;
}

@Injectable()
export class KeysRepository {
  constructor(
    @InjectRepository(ApiKey) private readonly keys: Repository<ApiKey>,
    @InjectRepository(ApiKeySecret) private readonly secrets: Repository<ApiKeySecret>,
  ) {}

  /** @throws Problem not_found if the owner was deleted meanwhile */
  async insert(tx: Transaction, key: NewKey, hash: string): Promise<void> {
    try {
      await within(this.keys, tx).insert(key);
    } catch (error) {
      if (violatedConstraint(error) === 'api_keys_owner_fkey') throw new Problem('not_found');
      throw error;
    }
    await this.insertSecret(tx, key.id, hash);
  }

  find(reference: KeyReference, tx?: Transaction): Promise<KeyRow | null> {
    return within(this.keys, tx).findOneBy(isReferred(reference));
  }

  /** Finds the key of a secret. @param hash from `hashApiKey` */
  async findBySecret(hash: string): Promise<{ key: KeyRow; retiresAt: Date | null } | null> {
    const found = await this.secrets.findOne({ where: { hash: Buffer.from(hash, 'hex') }, relations: { key: true } });
    return found?.key ? { key: found.key, retiresAt: found.retiresAt } : null;
  }

  /** Like `find`, but locks the row until the end of the transaction. */
  lock(tx: Transaction, reference: KeyReference): Promise<KeyRow | null> {
    const lock = { mode: 'pessimistic_write' } as const;
    return within(this.keys, tx).findOne({ where: isReferred(reference), lock });
  }

  /** Lists keys, newest first. @param ownerId null: all owners @param before the id after which the page begins */
  list(ownerId: string | null, before: string | null, limit: number): Promise<KeyRow[]> {
    return this.keys.find({
      where: { ...(ownerId === null ? {} : { ownerId }), ...(before === null ? {} : { id: LessThan(before) }) },
      order: { id: 'DESC' },
      take: limit,
    });
  }

  /** Changes a key and the copied columns of its secrets. */
  async update(tx: Transaction, id: string, changes: KeyChanges): Promise<void> {
    await within(this.keys, tx).update({ id }, { ...changes, updatedAt: () => 'now()' });
    const { scopes, disabled, expiresAt } = await this.get(tx, id);
    // An update must not extend the expiry of a secret in its grace period.
    const expiry = 'CAST(:expiresAt AS timestamptz)';
    await within(this.secrets, tx)
      .createQueryBuilder()
      .update()
      .set({
        scopes,
        disabled,
        expiresAt: () => `CASE WHEN retires_at IS NULL THEN ${expiry} ELSE least(expires_at, ${expiry}) END`,
      })
      .where({ keyId: id })
      .setParameter('expiresAt', expiresAt)
      .execute();
  }

  /** Replaces the secret. The old one stays valid for `graceSeconds`, but not beyond its expiry. */
  async rotate(tx: Transaction, id: string, hash: string, hint: string, graceSeconds: number): Promise<void> {
    const secrets = within(this.secrets, tx);
    const end = 'now() + make_interval(secs => :graceSeconds)';
    await secrets
      .createQueryBuilder()
      .update()
      .set({ retiresAt: () => end })
      .where({ keyId: id })
      .andWhere(`(retires_at IS NULL OR retires_at > ${end})`)
      .setParameter('graceSeconds', graceSeconds)
      .execute();
    const old = secrets.createQueryBuilder().delete().where({ keyId: id });
    await (graceSeconds === 0 ? old : old.andWhere('retires_at <= now()')).execute();
    await within(this.keys, tx).update({ id }, { hint, updatedAt: () => 'now()' });
    await this.insertSecret(tx, id, hash);
  }

  async delete(tx: Transaction, id: string): Promise<void> {
    await within(this.keys, tx).delete({ id });
  }

  private async insertSecret(tx: Transaction, id: string, hash: string): Promise<void> {
    const { ownerId, scopes, disabled, expiresAt } = await this.get(tx, id);
    const secret = { hash: Buffer.from(hash, 'hex'), keyId: id, ownerId, scopes, disabled, expiresAt };
    await within(this.secrets, tx).insert(secret);
  }

  private get(tx: Transaction, id: string): Promise<ApiKey> {
    return within(this.keys, tx).findOneByOrFail({ id });
  }
}

function isReferred({ ownerId, id }: KeyReference): FindOptionsWhere<ApiKey> {
  return { id, ...(ownerId === null ? {} : { ownerId }) };
}
