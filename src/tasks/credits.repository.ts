import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import type { CreditGrant } from './credit-grant.entity.js';

export type GrantRow = Pick<CreditGrant, 'id' | 'ownerId' | 'amount' | 'reason' | 'expiresAt' | 'createdAt'>;

export type NewGrant = Omit<GrantRow, 'createdAt'>;

const COLUMNS = `id, owner_id AS "ownerId", amount, reason, expires_at AS "expiresAt", created_at AS "createdAt"`;

const LIST = {
  name: 'credit-grants-list',
  text: `
    SELECT ${COLUMNS} FROM credit_grants
    WHERE owner_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3`,
};

const SWEEP = { name: 'credit-grants-sweep', text: 'SELECT sweep_grants($1) AS count' };

@Injectable()
export class CreditsRepository {
  constructor(private readonly database: Database) {}

  /** @throws Problem not_found if the user was deleted meanwhile */
  async insert(tx: Transaction, { ownerId, id, amount, reason, expiresAt }: NewGrant): Promise<GrantRow> {
    try {
      const [row] = await tx.query<GrantRow>(
        `INSERT INTO credit_grants (owner_id, id, amount, reason, expires_at) VALUES ($1, $2, $3, $4, $5) RETURNING ${COLUMNS}`,
        [ownerId, id, amount, reason, expiresAt],
      );
      if (!row) throw new Error('A grant was not inserted');
      return row;
    } catch (error) {
      if (violatedConstraint(error) === 'credit_grants_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  /** Lists grants, newest first. @param before the id after which the page begins */
  list(ownerId: string, before: string | null, limit: number): Promise<GrantRow[]> {
    return this.database.query<GrantRow>(LIST, [ownerId, before, limit]);
  }

  /** Removes at most `most` expired grants from the accounts. @returns the number; 0 also while another node sweeps */
  async sweep(most: number): Promise<number> {
    return (await this.database.query<{ count: number }>(SWEEP, [most]))[0]?.count ?? 0;
  }
}
