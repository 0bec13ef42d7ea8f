import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { ApiKey } from './api-key.entity.js';

export type KeyRow = Omit<ApiKey, 'owner'>;

export type NewKey = Pick<ApiKey, 'id' | 'ownerId' | 'name' | 'hint' | 'scopes'> & { expiresAt: string | null };

export type KeyChanges = Partial<Pick<ApiKey, 'name' | 'scopes' | 'disabled'> & { expiresAt: string | null }>;

/** `ownerId` null: any owner (for administrators). */
export interface KeyReference {
  ownerId: string | null;
  id: string;
}

const COLUMNS = `k.id, k.owner_id AS "ownerId", k.name, k.hint, k.scopes, k.disabled, k.expires_at AS "expiresAt",
  k.created_at AS "createdAt", k.updated_at AS "updatedAt"`;

const FIND = {
  name: 'keys-find',
  text: `SELECT ${COLUMNS} FROM api_keys k WHERE k.id = $2 AND ($1::uuid IS NULL OR k.owner_id = $1)`,
};

const LIST_OWNED = {
  name: 'keys-list-owned',
  text: `
    SELECT ${COLUMNS} FROM api_keys k
    WHERE k.owner_id = $1 AND ($2::uuid IS NULL OR k.id < $2) ORDER BY k.id DESC LIMIT $3`,
};

const LIST_ALL = {
  name: 'keys-list-all',
  text: `SELECT ${COLUMNS} FROM api_keys k WHERE $1::uuid IS NULL OR k.id < $1 ORDER BY k.id DESC LIMIT $2`,
};

@Injectable()
export class KeysRepository {
  constructor(private readonly database: Database) {}

  /** @throws Problem not_found if the owner was deleted meanwhile */
  async insert(tx: Transaction, key: NewKey, hash: string): Promise<void> {
    try {
      await tx.query(
        'INSERT INTO api_keys (id, owner_id, name, hint, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6)',
        [key.id, key.ownerId, key.name, key.hint, key.scopes, key.expiresAt],
      );
    } catch (error) {
      if (violatedConstraint(error) === 'api_keys_owner_fkey') throw new Problem('not_found');
      throw error;
    }
    await this.insertSecret(tx, key.id, hash);
  }

  async find({ ownerId, id }: KeyReference): Promise<KeyRow | null> {
    return (await this.database.query<KeyRow>(FIND, [ownerId, id]))[0] ?? null;
  }

  /** Like `find`, but locks the row until the end of the transaction. */
  async lock(tx: Transaction, { ownerId, id }: KeyReference): Promise<KeyRow | null> {
    return (await tx.query<KeyRow>(`${FIND.text} FOR UPDATE`, [ownerId, id]))[0] ?? null;
  }

  /** Lists keys, newest first. @param ownerId null: all owners @param before the id after which the page begins */
  list(ownerId: string | null, before: string | null, limit: number): Promise<KeyRow[]> {
    return ownerId === null
      ? this.database.query<KeyRow>(LIST_ALL, [before, limit])
      : this.database.query<KeyRow>(LIST_OWNED, [ownerId, before, limit]);
  }

  /** Changes a key and the copied columns of its secrets. */
  async update(tx: Transaction, id: string, changes: KeyChanges): Promise<void> {
    await tx.query(
      `UPDATE api_keys SET name = coalesce($2, name), scopes = coalesce($3, scopes), disabled = coalesce($4, disabled),
         expires_at = CASE WHEN $5 THEN $6::timestamptz ELSE expires_at END, updated_at = now()
       WHERE id = $1`,
      [
        id,
        changes.name ?? null,
        changes.scopes ?? null,
        changes.disabled ?? null,
        changes.expiresAt !== undefined,
        changes.expiresAt ?? null,
      ],
    );
    // An update must not extend the expiry of a secret in its grace period.
    await tx.query(
      `UPDATE api_key_secrets s SET scopes = k.scopes, disabled = k.disabled,
         expires_at = CASE WHEN s.retires_at IS NULL THEN k.expires_at ELSE least(s.expires_at, k.expires_at) END
       FROM api_keys k WHERE k.id = $1 AND s.key_id = k.id`,
      [id],
    );
  }

  /** Replaces the secret. The old one stays valid for `graceSeconds`, but not beyond its expiry. */
  async rotate(tx: Transaction, id: string, hash: string, hint: string, graceSeconds: number): Promise<void> {
    await tx.query(
      `UPDATE api_key_secrets SET retires_at = now() + make_interval(secs => $2)
       WHERE key_id = $1 AND (retires_at IS NULL OR retires_at > now() + make_interval(secs => $2))`,
      [id, graceSeconds],
    );
    await tx.query('DELETE FROM api_key_secrets WHERE key_id = $1 AND (retires_at <= now() OR $2::integer = 0)', [
      id,
      graceSeconds,
    ]);
    await tx.query('UPDATE api_keys SET hint = $2, updated_at = now() WHERE id = $1', [id, hint]);
    await this.insertSecret(tx, id, hash);
  }

  async delete(tx: Transaction, id: string): Promise<void> {
    await tx.query('DELETE FROM api_keys WHERE id = $1', [id]);
  }

  private async insertSecret(tx: Transaction, id: string, hash: string): Promise<void> {
    await tx.query(
      `INSERT INTO api_key_secrets (hash, key_id, owner_id, scopes, disabled, expires_at)
       SELECT $2, k.id, k.owner_id, k.scopes, k.disabled, k.expires_at FROM api_keys k WHERE k.id = $1`,
      [id, Buffer.from(hash, 'hex')],
    );
  }
}
