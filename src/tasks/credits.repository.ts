import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { within, type Transaction } from '../database/database.js';
import { CreditGrant } from './credit-grant.entity.js';

export type GrantRow = Omit<CreditGrant, 'owner'>;

export type NewGrant = Omit<GrantRow, 'createdAt'>;

@Injectable()
export class CreditsRepository {
  constructor(@InjectRepository(CreditGrant) private readonly grants: Repository<CreditGrant>) {}

  /** @throws Problem not_found if the user was deleted meanwhile */
  async insert(tx: Transaction, grant: NewGrant): Promise<GrantRow> {
    const row = this.grants.create(grant);
    try {
      // Sets the columns with a default on `row`.
      await within(this.grants, tx).insert(row);
      return row;
    } catch (error) {
      if (violatedConstraint(error) === 'credit_grants_owner_fkey') throw new Problem('not_found');
      throw error;
    }
  }

  /** Lists grants, newest first. @param before the id after which the page begins */
  listOwned(ownerId: string, before: string | null, limit: number): Promise<GrantRow[]> {
    return this.grants.find({
      where: { ownerId, ...(before === null ? {} : { id: LessThan(before) }) },
      order: { id: 'DESC' },
      take: limit,
    });
  }
}
