import { LessThan, type FindOptionsOrder, type FindOptionsWhere, type Repository } from 'typeorm';
import { USUAL_LENGTH } from '../../common/page.js';
import { Problem } from '../../common/problem.js';
import { PREPARED } from '../../database/data-source.js';
import { within, type Database, type Transaction } from '../../database/database.js';
import { ChargedObjectsStatements, type ObjectKey, type Owned } from './charged-objects.statements.js';

export type { ObjectKey } from './charged-objects.statements.js';

/** Result of an insert: granted, or the limits that were judged (see charge_gauge). */
export type Creation = { granted: true; createdAt: Date } | { granted: false; limits: string };

/** Position of a page: it starts after the object with the id `before`. */
export interface Before {
  before: string | null;
  limit: number;
}

/** Base of repositories for objects that are charged to a gauge of their owner. */
export class ChargedObjectsRepository<Row extends Owned, New extends Owned> {
  private readonly statements: ChargedObjectsStatements<Row>;

  constructor(
    protected readonly objects: Repository<Row>,
    private readonly database: Database,
  ) {
    this.statements = new ChargedObjectsStatements(database, objects);
  }

  find(key: ObjectKey): Promise<Row | null> {
    return this.statements.find(key);
  }

  /**
   * Inserts an object and charges its owner's gauge, in one statement.
   * @param tx the caller's transaction; without one, the insert is coalesced with concurrent ones
   * @throws Problem not_found if the owner was deleted concurrently
   */
  async create(object: New, tx?: Transaction): Promise<Creation> {
    const { granted, limits, createdAt } = await this.statements.create(object, tx);
    if (granted === null) throw new Problem('not_found');
    return granted ? { granted, createdAt } : { granted, limits };
  }

  /** Lists objects, newest first. @param ownerId null for the objects of all users */
  list(ownerId: string | null, { before, limit }: Before, filter?: Partial<Row>): Promise<Row[]> {
    const where = {
      ...filter,
      ...(ownerId === null ? {} : { ownerId }),
      ...(before === null ? {} : { id: LessThan(before) }),
    };
    const order = { id: 'DESC' } as FindOptionsOrder<Row>;
    // TypeORM writes the number into the text: each other number would be a statement of its own.
    const prepared = limit === USUAL_LENGTH + 1 ? { comment: PREPARED } : {};
    return this.objects.find({ where: where as FindOptionsWhere<Row>, order, take: limit, ...prepared });
  }

  /** Deletes an object and gives back its unit. @returns whether the object existed */
  async delete(key: ObjectKey): Promise<boolean> {
    const ownerId = await this.ownerOf(key);
    return ownerId !== null && this.statements.delete(ownerId, key.id);
  }

  /** Reads an object and locks it until the transaction ends. */
  async lock(tx: Transaction, key: ObjectKey): Promise<Row | null> {
    const objects = within(this.objects, tx);
    // Citus locks rows of one owner only.
    const ownerId = key.ownerId ?? (await objects.findOneBy(isKeyed<Row>(key)))?.ownerId;
    if (ownerId === undefined) return null;
    return objects.findOne({ where: isKeyed<Row>({ ownerId, id: key.id }), lock: { mode: 'pessimistic_write' } });
  }

  /**
   * Does the same as `delete`, after `judge` has checked the locked object in the same transaction.
   * @param judge throws if the object must not be deleted
   */
  async deleteIf(key: ObjectKey, judge: (object: Row) => void): Promise<boolean> {
    const ownerId = await this.ownerOf(key);
    if (ownerId === null) return false;
    return this.database.transaction(async (tx) => {
      // Lock order: the gauge first.
      await this.statements.lockGauge(tx, ownerId);
      const object = await this.lock(tx, { ownerId, id: key.id });
      if (!object) return false;
      judge(object);
      return this.statements.delete(ownerId, key.id, tx);
    });
  }

  private async ownerOf({ ownerId, id }: ObjectKey): Promise<string | null> {
    return ownerId ?? (await this.find({ ownerId, id }))?.ownerId ?? null;
  }
}

/** The condition for the object with a key. */
export function isKeyed<Row extends Owned>({ ownerId, id }: ObjectKey): FindOptionsWhere<Row> {
  return { id, ...(ownerId === null ? {} : { ownerId }) } as FindOptionsWhere<Row>;
}
