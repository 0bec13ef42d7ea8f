import { Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { LessThan, MoreThan, type Repository } from 'typeorm';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { within, type Transaction } from '../database/database.js';
import { Api } from './api.entity.js';

export type NewApi = Pick<Api, 'slug' | 'name' | 'answer' | 'upstream'>;

export type ApiChanges = Partial<Pick<Api, 'name' | 'answer' | 'upstream'>>;

/** The position of a page: it begins after the API with these values. */
export interface ApiPosition {
  createdAt: string;
  slug: string;
}

@Injectable()
export class ApisRepository {
  constructor(@InjectRepository(Api) private readonly apis: Repository<Api>) {}

  find(slug: string): Promise<Api | null> {
    return this.apis.findOneBy({ slug });
  }

  /** Like `find`, but locks the row until the end of the transaction. */
  lock(tx: Transaction, slug: string): Promise<Api | null> {
    return within(this.apis, tx).findOne({ where: { slug }, lock: { mode: 'pessimistic_write' } });
  }

  /** Lists APIs, newest first. */
  list(after: ApiPosition | null, limit: number): Promise<Api[]> {
    const createdAt = after && new Date(after.createdAt);
    return this.apis.find({
      where: after && createdAt ? [{ createdAt: LessThan(createdAt) }, { createdAt, slug: MoreThan(after.slug) }] : {},
      order: { createdAt: 'DESC', slug: 'ASC' },
      take: limit,
    });
  }

  /** @throws Problem slug_taken */
  async insert(tx: Transaction, api: NewApi): Promise<Api> {
    const apis = within(this.apis, tx);
    try {
      await apis.insert(api);
    } catch (error) {
      if (violatedConstraint(error) === 'apis_pkey') throw new Problem('slug_taken');
      throw error;
    }
    return apis.findOneByOrFail({ slug: api.slug });
  }

  /** @throws Problem validation_failed if the API would have both an answer and an upstream */
  async update(tx: Transaction, slug: string, changes: ApiChanges): Promise<Api | null> {
    const apis = within(this.apis, tx);
    try {
      await apis.update({ slug }, { ...changes, updatedAt: () => 'now()' });
    } catch (error) {
      if (violatedConstraint(error) === 'apis_answer_check') {
        throw Problem.field('/upstream', 'cannot be set together with answer; clear one of them with null');
      }
      throw error;
    }
    return apis.findOneBy({ slug });
  }

  async delete(tx: Transaction, slug: string): Promise<void> {
    await within(this.apis, tx).delete({ slug });
  }
}
