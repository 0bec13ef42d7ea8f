import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Database, type Transaction } from '../database/database.js';
import { Api } from './api.entity.js';

export type NewApi = Pick<Api, 'slug' | 'name' | 'answer' | 'upstream'>;

export type ApiChanges = Partial<Pick<Api, 'name' | 'answer' | 'upstream'>>;

/** The position of a page: it begins after the API with these values. */
export interface ApiPosition {
  createdAt: string;
  slug: string;
}

const COLUMNS = `slug, name, answer, upstream, created_at AS "createdAt", updated_at AS "updatedAt"`;

const FIND = { name: 'apis-find', text: `SELECT ${COLUMNS} FROM apis WHERE slug = $1` };

const LIST = {
  name: 'apis-list',
  text: `
    SELECT ${COLUMNS} FROM apis
    WHERE $1::timestamptz IS NULL OR created_at < $1 OR (created_at = $1 AND slug > $2)
    ORDER BY created_at DESC, slug LIMIT $3`,
};

@Injectable()
export class ApisRepository {
  constructor(private readonly database: Database) {}

  async find(slug: string): Promise<Api | null> {
    return (await this.database.query<Api>(FIND, [slug]))[0] ?? null;
  }

  /** Like `find`, but locks the row until the end of the transaction. */
  async lock(tx: Transaction, slug: string): Promise<Api | null> {
    return (await tx.query<Api>(`${FIND.text} FOR UPDATE`, [slug]))[0] ?? null;
  }

  /** Lists APIs, newest first. */
  list(after: ApiPosition | null, limit: number): Promise<Api[]> {
    return this.database.query<Api>(LIST, [after?.createdAt ?? null, after?.slug ?? null, limit]);
  }

  /** @throws Problem slug_taken */
  async insert(tx: Transaction, api: NewApi): Promise<Api> {
    try {
      await tx.manager.getRepository(Api).insert(api);
    } catch (error) {
      if (violatedConstraint(error) === 'apis_pkey') throw new Problem('slug_taken');
      throw error;
    }
    return tx.manager.getRepository(Api).findOneByOrFail({ slug: api.slug });
  }

  /** @throws Problem validation_failed if the API would have both an answer and an upstream */
  async update(tx: Transaction, slug: string, changes: ApiChanges): Promise<Api | null> {
    const apis = tx.manager.getRepository(Api);
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
    await tx.query('DELETE FROM apis WHERE slug = $1', [slug]);
  }
}
