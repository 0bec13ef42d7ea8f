import { Problem } from '../common/problem.js';
import { tally } from '../common/tally.js';
import { Coalescer, inPlace } from '../database/coalescer.js';
import type { Database, Statement, Transaction } from '../database/database.js';
import { NO_KEY } from './quota.entity.js';

/** What every object has that is charged to a gauge of its owner. */
export interface Owned {
  /** UUIDv7: the order of creation. */
  id: string;
  ownerId: string;
}

/** What the quota said to an insertion: it happened, or which limits were judged (see charge_gauge). */
export type Verdict = { granted: true; createdAt: Date } | { granted: false; limits: string };

/** `ownerId` null: whoever owns it (administrators). */
export interface ObjectKey {
  ownerId: string | null;
  id: string;
}

/** Which of its objects a list has: where a column is as it says. */
export interface Filter {
  column: string;
  type: string;
  value: unknown;
}

/** A page of a list begins after the object of that id. */
export interface Before {
  before: string | null;
  limit: number;
}

interface VerdictRow {
  /** Null: there is no such owner any more. */
  granted: boolean | null;
  limits: string;
  createdAt: Date | null;
}

/** A table of objects, one unit of a gauge each; the gauge is called as the table is. */
export interface ChargedTableOptions<New extends Owned> {
  table: 'resources' | 'tasks';
  /** What is read of a row `t`, besides its id and its owner's. */
  columns: string;
  /** What is written besides. */
  inserted: readonly { column: string; type: string; of: (object: New) => unknown }[];
}

/**
 * Objects of users, each charged to a gauge of its owner in the very statement that inserts it, and given back in the one
 * that deletes it. What a repository of such objects is made of.
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
   * @param tx a transaction of the caller's; without one, together with whoever else inserts now
   * @throws Problem not_found when the owner has gone meanwhile
   */
  async chargeAndInsert(object: New, tx?: Transaction): Promise<Verdict> {
    const { granted, limits, createdAt } = required(
      await (tx ? this.chargeAndInsertAll([object], tx).then(([row]) => row) : this.inserted.add(object)),
    );
    if (granted === null) throw new Problem('not_found');
    return createdAt ? { granted: true, createdAt } : { granted: false, limits };
  }

  /** Newest first. @param ownerId null for everyone's */
  list(ownerId: string | null, { before, limit }: Before, filter?: Filter): Promise<Row[]> {
    const values = [before, limit, ...(ownerId === null ? [] : [ownerId]), ...(filter ? [filter.value] : [])];
    return this.database.query<Row>(listOf(this.options, ownerId !== null, filter), values);
  }

  /** Deletes an object and gives back what it was charged. @returns whether there was one */
  async deleteAndRelease({ ownerId, id }: ObjectKey): Promise<boolean> {
    return (await this.database.query(this.statements.deleteAndRelease, [ownerId, id])).length > 0;
  }

  /** Reads an object and locks it until the transaction ends. */
  async lock(tx: Transaction, { ownerId, id }: ObjectKey): Promise<Row | null> {
    return (await tx.query<Row>(this.statements.lock, [ownerId, id]))[0] ?? null;
  }

  /**
   * As `deleteAndRelease`, in one transaction with a judgement on the object, which is locked meanwhile.
   * @param judge throws where the object must stay
   */
  async deleteIf(key: ObjectKey, judge: (object: Row) => void): Promise<boolean> {
    const values = [key.ownerId, key.id];
    return this.database.transaction(async (tx) => {
      // The quota first, as everywhere.
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
  // Of the owner of an object.
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
    // Charges and inserts many in one statement: what is refused is not inserted, what is inserted is charged.
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
    // Gives back only when a row was really deleted: of two who delete at once, one does. The quota is locked first, as
    // insertions and the deletion of a user do.
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
  if (!row) throw new Error('An insertion got no verdict');
  return row;
}
