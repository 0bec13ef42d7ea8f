import { Problem } from '../common/problem.js';
import { tally } from '../common/tally.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import type { Database, Statement, Transaction } from '../database/database.js';
import { NO_KEY } from './quota.entity.js';

/** Fields of every object that is charged to a gauge of its owner. */
export interface Owned {
  /** UUIDv7, so ids sort by creation time. */
  id: string;
  ownerId: string;
}

/** Result of an insert: granted, or the limits that were judged (see charge_gauge). */
export type Verdict = { granted: true; createdAt: Date } | { granted: false; limits: string };

/** Key of an object. `ownerId` null matches any owner (for administrators). */
export interface ObjectKey {
  ownerId: string | null;
  id: string;
}

/** Restricts a list to objects with this value in the column. */
export interface Filter {
  column: string;
  type: string;
  value: unknown;
}

/** Position of a page: it starts after the object with the id `before`. */
export interface Before {
  before: string | null;
  limit: number;
}

interface VerdictRow {
  /** Null if the owner no longer exists. */
  granted: boolean | null;
  limits: string;
  createdAt: Date | null;
}

/** A table whose objects each use one unit of a gauge. The gauge has the name of the table. */
export interface ChargedTableOptions<New extends Owned> {
  table: 'resources' | 'tasks';
  /** Columns to read from a row `t`, besides the id and the owner. */
  columns: string;
  /** Columns to write, besides the id and the owner. */
  inserted: readonly { column: string; type: string; of: (object: New) => unknown }[];
}

/**
 * Base of repositories for objects that are charged to a gauge of their owner. The statement that inserts an object
 * also charges it, and the statement that deletes it also gives the unit back.
 */
export class ChargedTable<Row extends Owned, New extends Owned> {
  private readonly found: Coalescer<Owned, Row | null>;
  private readonly foundAnywhere: Coalescer<string, Row | null>;
  private readonly inserted: Coalescer<New, VerdictRow>;
  private readonly statements: ReturnType<typeof statementsOf<New>>;

  constructor(
    protected readonly database: Database,
    private readonly options: ChargedTableOptions<New>,
  ) {
    const { table } = options;
    this.statements = statementsOf(options);
    const { find, findAny } = this.statements;
    this.found = new Coalescer(
      (keys) => this.findAll(find, [keys.map((key) => key.ownerId), keys.map((key) => key.id)], keys.length),
      { name: `${table}_read`, key: ({ ownerId, id }) => ownerId + id, readOnly: true },
    );
    this.foundAnywhere = new Coalescer((ids) => this.findAll(findAny, [ids], ids.length), {
      name: `${table}_read_any`,
      key: (id) => id,
      readOnly: true,
    });
    this.inserted = new Coalescer((batch) => this.chargeAndInsertAll(batch), { name: `${table}_create` });
  }

  find({ ownerId, id }: ObjectKey): Promise<Row | null> {
    return ownerId === null ? this.foundAnywhere.add(id) : this.found.add({ ownerId, id });
  }

  /**
   * Inserts an object and charges its owner's gauge, in one statement.
   * @param tx the caller's transaction; without one, the insert is coalesced with concurrent ones
   * @throws Problem not_found if the owner was deleted concurrently
   */
  async chargeAndInsert(object: New, tx?: Transaction): Promise<Verdict> {
    const { granted, limits, createdAt } = required(
      await (tx ? this.chargeAndInsertAll([object], tx).then(([row]) => row) : this.inserted.add(object)),
    );
    if (granted === null) throw new Problem('not_found');
    return createdAt ? { granted: true, createdAt } : { granted: false, limits };
  }

  /** Lists objects, newest first. @param ownerId null for the objects of all users */
  list(ownerId: string | null, { before, limit }: Before, filter?: Filter): Promise<Row[]> {
    const values = [before, limit, ...(ownerId === null ? [] : [ownerId]), ...(filter ? [filter.value] : [])];
    return this.database.query<Row>(listOf(this.options, ownerId !== null, filter), values);
  }

  /** Deletes an object and gives back its unit. @returns whether the object existed */
  async deleteAndRelease({ ownerId, id }: ObjectKey): Promise<boolean> {
    return (await this.database.query(this.statements.deleteAndRelease, [ownerId, id])).length > 0;
  }

  /** Reads an object and locks it until the transaction ends. */
  async lock(tx: Transaction, { ownerId, id }: ObjectKey): Promise<Row | null> {
    return (await tx.query<Row>(this.statements.lock, [ownerId, id]))[0] ?? null;
  }

  /**
   * Does the same as `deleteAndRelease`, after `judge` has checked the locked object in the same transaction.
   * @param judge throws if the object must not be deleted
   */
  async deleteIf(key: ObjectKey, judge: (object: Row) => void): Promise<boolean> {
    const values = [key.ownerId, key.id];
    return this.database.transaction(async (tx) => {
      // Lock order: the quota first.
      await tx.query(this.statements.lockGauge, values);
      const object = await this.lock(tx, key);
      if (!object) return false;
      judge(object);
      return (await tx.query(this.statements.deleteAndRelease.text, values)).length > 0;
    });
  }

  private async findAll(statement: Statement, values: unknown[], count: number): Promise<(Row | null)[]> {
    return inPlace(await this.database.query<Row & { place: number }>(statement, values), count);
  }

  private async chargeAndInsertAll(batch: readonly New[], tx?: Transaction): Promise<VerdictRow[]> {
    const { chargeAndInsert } = this.statements;
    const values = [
      batch.map((object) => object.ownerId),
      batch.map((object) => object.id),
      ...this.options.inserted.map(({ of }) => batch.map(of)),
    ];
    const rows = await (tx
      ? tx.query<VerdictRow>(chargeAndInsert.text, values)
      : this.database.query<VerdictRow>(chargeAndInsert, values));
    const granted = rows.filter((row) => row.createdAt).length;
    tally.count(this.options.table, granted, rows.length - granted);
    return rows;
  }
}

function selected({ columns }: { columns: string }): string {
  return `t.id, t.owner_id AS "ownerId", ${columns}`;
}

function statementsOf<New extends Owned>(options: ChargedTableOptions<New>) {
  const { table, inserted } = options;
  const names = inserted.map(({ column }) => column);
  const parameters = inserted.map(({ type }, i) => `$${i + 3}::${type}[]`);
  // Locks the gauge of the object's owner.
  const lockGauge = `
    SELECT q.owner_id FROM quotas q
    WHERE q.meter = '${table}' AND q.key_id = '${NO_KEY}' AND q.owner_id = (
      SELECT owner_id FROM ${table} WHERE id = $2 AND ($1::uuid IS NULL OR owner_id = $1))
    FOR UPDATE`;
  return {
    lockGauge,
    lock: `
      SELECT ${selected(options)} FROM ${table} t
      WHERE t.id = $2 AND t.owner_id = coalesce($1, (SELECT owner_id FROM ${table} WHERE id = $2))
      FOR UPDATE`,
    find: {
      name: `${table}-find`,
      text: `
        SELECT q.place::integer AS place, ${selected(options)}
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q (owner_id, id, place)
        JOIN ${table} t ON t.owner_id = q.owner_id AND t.id = q.id`,
    },
    findAny: {
      name: `${table}-find-any`,
      text: `
        SELECT q.place::integer AS place, ${selected(options)}
        FROM unnest($1::uuid[]) WITH ORDINALITY AS q (id, place) JOIN ${table} t ON t.id = q.id`,
    },
    // Charges and inserts a batch in one statement: only granted objects are inserted, and only they are charged.
    chargeAndInsert: {
      name: `${table}-charge-and-insert`,
      text: `
        WITH judged AS MATERIALIZED (
          SELECT * FROM charge_gauge('${table}', $1, array_fill(1::bigint, ARRAY[cardinality($1::uuid[])]))
        ), inserted AS (
          INSERT INTO ${table} (owner_id, id, ${names.join(', ')})
          SELECT q.owner_id, q.id, ${names.map((name) => `q.${name}`).join(', ')}
          FROM unnest($1::uuid[], $2::uuid[], ${parameters.join(', ')}) WITH ORDINALITY
            AS q (owner_id, id, ${names.join(', ')}, place)
          JOIN judged j ON j.place = q.place AND j.granted
          RETURNING id, created_at
        )
        SELECT j.granted, j.limits, i.created_at AS "createdAt"
        FROM judged j LEFT JOIN inserted i ON i.id = ($2::uuid[])[j.place]
        ORDER BY j.place`,
    },
    // Gives the unit back only if a row was deleted, so that of two concurrent deletes only one does. Locks the quota
    // first, like inserts and the deletion of a user.
    deleteAndRelease: {
      name: `${table}-delete-and-release`,
      text: `
        WITH locked AS MATERIALIZED (${lockGauge}
        ), gone AS (
          DELETE FROM ${table} t USING locked WHERE t.owner_id = locked.owner_id AND t.id = $2 RETURNING t.owner_id
        )
        SELECT release_gauge('${table}', gone.owner_id, 1) FROM gone`,
    },
  };
}

function listOf(options: { table: string; columns: string }, isOwned: boolean, filter?: Filter): Statement {
  const { table } = options;
  const conditions = [
    '($1::uuid IS NULL OR t.id < $1)',
    ...(isOwned ? ['t.owner_id = $3'] : []),
    ...(filter ? [`t.${filter.column} = $${isOwned ? 4 : 3}::${filter.type}`] : []),
  ];
  return {
    name: [table, 'list', isOwned ? 'owned' : 'all', ...(filter ? ['by', filter.column] : [])].join('-'),
    text: `SELECT ${selected(options)} FROM ${table} t WHERE ${conditions.join(' AND ')} ORDER BY t.id DESC LIMIT $2`,
  };
}

function required(row: VerdictRow | undefined): VerdictRow {
  if (!row) throw new Error('The database returned no verdict for an insert');
  return row;
}
