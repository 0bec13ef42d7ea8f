import { Injectable } from '@nestjs/common';
import { Problem } from '../common/problem.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import { Database, type Transaction } from '../database/database.js';
import { NO_KEY } from '../quota/quota.entity.js';
import type { Resource } from './resource.entity.js';

export type ResourceRow = Pick<Resource, 'id' | 'ownerId' | 'value' | 'createdAt'>;

export type NewResource = Pick<Resource, 'id' | 'ownerId' | 'value'>;

/** What the quota said to an insertion: it happened, or which limits were judged (see charge_gauge). */
export type Verdict = { granted: true; createdAt: Date } | { granted: false; limits: string };

interface VerdictRow {
  /** Null: there is no such owner any more. */
  granted: boolean | null;
  limits: string;
  createdAt: Date | null;
}

/** `ownerId` null: whoever owns it (administrators). */
interface ResourceKey {
  ownerId: string | null;
  id: string;
}

const COLUMNS = `r.id, r.owner_id AS "ownerId", r.value, r.created_at AS "createdAt"`;

const FIND = {
  name: 'resources-find',
  text: `
    SELECT q.place::integer AS place, ${COLUMNS}
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q (owner_id, id, place)
    JOIN resources r ON r.owner_id = q.owner_id AND r.id = q.id`,
};

const FIND_ANY = {
  name: 'resources-find-any',
  text: `
    SELECT q.place::integer AS place, ${COLUMNS}
    FROM unnest($1::uuid[]) WITH ORDINALITY AS q (id, place) JOIN resources r ON r.id = q.id`,
};

/** Charges and inserts many in one statement: what is refused is not inserted, what is inserted is charged. */
const CHARGE_AND_INSERT = {
  name: 'resources-charge-and-insert',
  text: `
    WITH judged AS MATERIALIZED (
      SELECT * FROM charge_gauge('resources', $1, array_fill(1::bigint, ARRAY[cardinality($1::uuid[])]))
    ), inserted AS (
      INSERT INTO resources (owner_id, id, value)
      SELECT q.owner_id, q.id, q.value
      FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS q (owner_id, id, value, place)
      JOIN judged j ON j.place = q.place AND j.granted
      RETURNING id, created_at
    )
    SELECT j.granted, j.limits, i.created_at AS "createdAt"
    FROM judged j LEFT JOIN inserted i ON i.id = ($2::uuid[])[j.place]
    ORDER BY j.place`,
};

const LIST_OWNED = {
  name: 'resources-list-owned',
  text: `
    SELECT ${COLUMNS} FROM resources r
    WHERE r.owner_id = $1 AND ($2::uuid IS NULL OR r.id < $2) ORDER BY r.id DESC LIMIT $3`,
};

const LIST_ALL = {
  name: 'resources-list-all',
  text: `SELECT ${COLUMNS} FROM resources r WHERE $1::uuid IS NULL OR r.id < $1 ORDER BY r.id DESC LIMIT $2`,
};

/**
 * Gives back only when a row was really deleted: of two who delete at once, one does. The quota is locked first, as
 * insertions and the deletion of a user do.
 */
const DELETE_AND_RELEASE = {
  name: 'resources-delete-and-release',
  text: `
    WITH locked AS MATERIALIZED (
      SELECT q.owner_id FROM quotas q
      WHERE q.meter = 'resources' AND q.key_id = '${NO_KEY}' AND q.owner_id = (
        SELECT owner_id FROM resources WHERE id = $2 AND ($1::uuid IS NULL OR owner_id = $1))
      FOR UPDATE
    ), gone AS (
      DELETE FROM resources r USING locked WHERE r.owner_id = locked.owner_id AND r.id = $2 RETURNING r.owner_id
    ), platform AS (
      UPDATE platform_quotas SET counts[1] = counts[1] - 1 WHERE meter = 'resources' AND EXISTS (SELECT FROM gone)
    )
    UPDATE quotas q SET counts[1] = q.counts[1] - 1 FROM gone
    WHERE q.owner_id = gone.owner_id AND q.key_id = '${NO_KEY}' AND q.meter = 'resources'
    RETURNING q.owner_id`,
};

@Injectable()
export class ResourcesRepository {
  private readonly found: Coalescer<ResourceKey & { ownerId: string }, ResourceRow | null>;
  private readonly foundAnywhere: Coalescer<string, ResourceRow | null>;
  private readonly inserted: Coalescer<NewResource, VerdictRow>;

  constructor(private readonly database: Database) {
    this.found = new Coalescer(
      (keys) => this.findAll(FIND, [keys.map((key) => key.ownerId), keys.map((key) => key.id)], keys.length),
      { key: ({ ownerId, id }) => ownerId + id, readOnly: true },
    );
    this.foundAnywhere = new Coalescer((ids) => this.findAll(FIND_ANY, [ids], ids.length), {
      key: (id) => id,
      readOnly: true,
    });
    this.inserted = new Coalescer((batch) => this.chargeAndInsertAll(batch));
  }

  findOwned({ ownerId, id }: ResourceKey): Promise<ResourceRow | null> {
    return ownerId === null ? this.foundAnywhere.add(id) : this.found.add({ ownerId, id });
  }

  /**
   * Inserts a resource and charges its owner's gauge, in one statement.
   * @param tx a transaction of the caller's; without one, together with whoever else inserts now
   * @throws Problem not_found when the owner has gone meanwhile
   */
  async chargeAndInsert(resource: NewResource, tx?: Transaction): Promise<Verdict> {
    const { granted, limits, createdAt } = required(
      await (tx ? this.chargeAndInsertAll([resource], tx).then(([row]) => row) : this.inserted.add(resource)),
    );
    if (granted === null) throw new Problem('not_found');
    return createdAt ? { granted: true, createdAt } : { granted: false, limits };
  }

  /** Newest first. @param ownerId null for everyone's @param before the id after which the page begins */
  list(ownerId: string | null, before: string | null, limit: number): Promise<ResourceRow[]> {
    return ownerId === null
      ? this.database.query<ResourceRow>(LIST_ALL, [before, limit])
      : this.database.query<ResourceRow>(LIST_OWNED, [ownerId, before, limit]);
  }

  /** Deletes a resource and gives back what it was charged. @returns whether there was one */
  async deleteAndRelease({ ownerId, id }: ResourceKey): Promise<boolean> {
    return (await this.database.query(DELETE_AND_RELEASE, [ownerId, id])).length > 0;
  }

  private async findAll(statement: typeof FIND, values: unknown[], count: number): Promise<(ResourceRow | null)[]> {
    return inPlace(await this.database.query<ResourceRow & { place: number }>(statement, values), count);
  }

  private chargeAndInsertAll(batch: readonly NewResource[], tx?: Transaction): Promise<VerdictRow[]> {
    const values = [
      batch.map((request) => request.ownerId),
      batch.map((request) => request.id),
      batch.map((request) => request.value),
    ];
    return tx
      ? tx.query<VerdictRow>(CHARGE_AND_INSERT.text, values)
      : this.database.query<VerdictRow>(CHARGE_AND_INSERT, values);
  }
}

function required(row: VerdictRow | undefined): VerdictRow {
  if (!row) throw new Error('An insertion got no verdict');
  return row;
}
