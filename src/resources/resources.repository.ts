import { Injectable } from '@nestjs/common';
import { violatedConstraint } from '../common/database-error.js';
import { Problem } from '../common/problem.js';
import { Coalescer } from '../database/coalescer.js';
import { Database } from '../database/database.js';
import type { Resource } from './resource.entity.js';

export type ResourceRow = Pick<Resource, 'id' | 'ownerId' | 'value' | 'createdAt'>;

export type NewResource = Pick<Resource, 'id' | 'ownerId' | 'value'>;

/** What the quota said to an insertion: it happened, or the limit and what was used of it when its turn came. */
export type Verdict = { granted: true; createdAt: Date } | { granted: false; limit: number; used: number };

/** Or there was no owner any more, or no word, since only its part of the batch failed. */
type Outcome = Verdict | { gone: true } | { failed: unknown };

interface VerdictRow {
  /** Null: the owner has no counter yet. */
  used: number | null;
  limit: number | null;
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
    SELECT q.ord::integer AS ord, ${COLUMNS}
    FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q (owner_id, id, ord)
    JOIN resources r ON r.owner_id = q.owner_id AND r.id = q.id`,
};

const FIND_ANY = {
  name: 'resources-find-any',
  text: `
    SELECT q.ord::integer AS ord, ${COLUMNS}
    FROM unnest($1::uuid[]) WITH ORDINALITY AS q (id, ord) JOIN resources r ON r.id = q.id`,
};

/**
 * Charges and inserts many in one statement. The counters are locked first, in one order; `used` is then of the row
 * version that the lock returns, never of an older snapshot. Each request is judged by its place among its owner's.
 */
const CHARGE_AND_INSERT = {
  name: 'resources-charge-and-insert',
  text: `
    WITH asked AS MATERIALIZED (
      SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS q (owner_id, id, value, ord)
    ), locked AS MATERIALIZED (
      SELECT c.owner_id, c.used FROM counters c
      WHERE c.meter = 'resources' AND c.owner_id IN (SELECT owner_id FROM asked)
      ORDER BY c.owner_id FOR UPDATE
    ), judged AS MATERIALIZED (
      SELECT a.*, k.used, l.amount, row_number() OVER (PARTITION BY a.owner_id ORDER BY a.ord) AS place
      FROM asked a
      LEFT JOIN locked k ON k.owner_id = a.owner_id
      LEFT JOIN limits l ON l.owner_id = a.owner_id AND l.meter = 'resources' AND l.period = 'lifetime'
    ), granted AS MATERIALIZED (
      SELECT owner_id, id, value FROM judged
      WHERE used IS NOT NULL AND (amount IS NULL OR used + place <= amount)
    ), charged AS (
      UPDATE counters c SET used = c.used + g.count
      FROM (SELECT owner_id, count(*) AS count FROM granted GROUP BY owner_id) g
      WHERE c.owner_id = g.owner_id AND c.meter = 'resources'
    ), inserted AS (
      INSERT INTO resources (owner_id, id, value) SELECT owner_id, id, value FROM granted
      RETURNING owner_id, id, created_at
    )
    SELECT CASE WHEN j.used IS NOT NULL THEN greatest(j.used, least(j.used + j.place - 1, j.amount)) END AS used,
      j.amount AS "limit",
      i.created_at AS "createdAt"
    FROM judged j LEFT JOIN inserted i ON i.owner_id = j.owner_id AND i.id = j.id
    ORDER BY j.ord`,
};

/** KEY SHARE as the foreign key's own check takes: an owner that is being deleted is waited for, and then is not there. */
const MAKE_COUNTERS = {
  name: 'resources-make-counters',
  text: `
    INSERT INTO counters (owner_id, meter)
    SELECT id, 'resources' FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE
    ON CONFLICT ON CONSTRAINT counters_pkey DO NOTHING`,
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
 * Gives back only when a row was really deleted: of two who delete at once, one does. The counter is locked first, as
 * insertions and the deletion of a user do.
 */
const DELETE_AND_RELEASE = {
  name: 'resources-delete-and-release',
  text: `
    WITH locked AS MATERIALIZED (
      SELECT c.owner_id FROM counters c
      WHERE c.meter = 'resources' AND c.owner_id = (
        SELECT owner_id FROM resources WHERE id = $2 AND ($1::uuid IS NULL OR owner_id = $1))
      FOR UPDATE
    ), gone AS (
      DELETE FROM resources r USING locked WHERE r.owner_id = locked.owner_id AND r.id = $2 RETURNING r.owner_id
    )
    UPDATE counters c SET used = c.used - 1 FROM gone
    WHERE c.owner_id = gone.owner_id AND c.meter = 'resources' RETURNING c.owner_id`,
};

@Injectable()
export class ResourcesRepository {
  private readonly found: Coalescer<ResourceKey & { ownerId: string }, ResourceRow | null>;
  private readonly foundAnywhere: Coalescer<string, ResourceRow | null>;
  private readonly inserted: Coalescer<NewResource, Outcome>;

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
   * @throws Problem not_found when the owner has gone meanwhile
   */
  async chargeAndInsert(resource: NewResource): Promise<Verdict> {
    const outcome = await this.inserted.add(resource).catch((error: unknown): Outcome => {
      if (violatedConstraint(error) === 'resources_owner_fkey') return { gone: true };
      throw error;
    });
    if ('gone' in outcome) throw new Problem('not_found');
    if ('failed' in outcome) throw outcome.failed;
    return outcome;
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
    const found = Array<ResourceRow | null>(count).fill(null);
    for (const row of await this.database.query<ResourceRow & { ord: number }>(statement, values)) {
      found[row.ord - 1] = row;
    }
    return found;
  }

  private async chargeAndInsertAll(batch: readonly NewResource[]): Promise<Outcome[]> {
    const outcomes = (await this.tryChargeAndInsert(batch)).map(toOutcome);
    const uncounted = batch.filter((_request, i) => isGone(outcomes[i]));
    if (uncounted.length === 0) return outcomes;
    // An owner's first: nothing was inserted for it. Its counter is made, and its requests go again, in order. What was
    // inserted for others is committed: a failure from here on is told to the uncounted alone.
    const again = (await this.countAndInsert(uncounted)).values();
    return outcomes.map((outcome) => (isGone(outcome) ? (again.next().value ?? outcome) : outcome));
  }

  private async countAndInsert(uncounted: readonly NewResource[]): Promise<Outcome[]> {
    try {
      await this.database.query(MAKE_COUNTERS, [[...new Set(uncounted.map((request) => request.ownerId))]]);
      return (await this.tryChargeAndInsert(uncounted)).map(toOutcome);
    } catch (failed) {
      return uncounted.map(() => ({ failed }));
    }
  }

  private tryChargeAndInsert(batch: readonly NewResource[]): Promise<VerdictRow[]> {
    return this.database.query<VerdictRow>(CHARGE_AND_INSERT, [
      batch.map((request) => request.ownerId),
      batch.map((request) => request.id),
      batch.map((request) => request.value),
    ]);
  }
}

/** Without a counter, its owner is gone, or not counted yet: who made counters before it asked knows which. */
function toOutcome({ used, limit, createdAt }: VerdictRow): Outcome {
  if (createdAt) return { granted: true, createdAt };
  return used === null || limit === null ? { gone: true } : { granted: false, limit, used };
}

function isGone(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && 'gone' in outcome;
}
