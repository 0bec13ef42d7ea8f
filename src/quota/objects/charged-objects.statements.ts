import type { ObjectLiteral, Repository } from 'typeorm';
import { tally } from '../../common/tally.js';
import { Coalescer, inPlace } from '../../database/coalescer.js';
import { columnsOf, writtenColumnsOf } from '../../database/columns.js';
import type { Database, Statement, Transaction } from '../../database/database.js';
import { byOwner, inBatchOrder } from '../../database/by-owner.js';

/** Fields of every object that is charged to a gauge of its owner. */
export interface Owned extends ObjectLiteral {
  /** UUIDv7, so ids sort by creation time. */
  id: string;
  ownerId: string;
}

/** Key of an object. `ownerId` null matches any owner (for administrators). */
export interface ObjectKey {
  ownerId: string | null;
  id: string;
}

/** The outcome of a creation. */
export interface CreationRow {
  /** Null if the owner no longer exists. */
  granted: boolean | null;
  /** The limits that were judged (see charge_gauge). */
  limits: string;
  createdAt: Date;
}

/** What the SQL functions create_resources and create_tasks return for an owner. */
interface CreatedRow {
  granted: number | null;
  limits: string;
  createdAt: Date;
}

/**
 * Statements for a table whose objects each use one unit of a gauge with the name of the table. Single reads and inserts
 * are coalesced. SQL functions of the table create objects and charge them, and delete one and give its unit back.
 */
export class ChargedObjectsStatements<Row extends Owned> {
  private readonly found: Coalescer<Pick<Owned, 'id' | 'ownerId'>, Row | null>;
  private readonly foundAnywhere: Coalescer<string, Row | null>;
  private readonly inserted: Coalescer<Owned, CreationRow>;
  private readonly statements: ReturnType<typeof statementsOf>;
  private readonly table: 'resources' | 'tasks';

  constructor(
    private readonly database: Database,
    private readonly objects: Pick<Repository<Row>, 'metadata'>,
  ) {
    this.table = objects.metadata.tableName as 'resources' | 'tasks';
    this.statements = statementsOf(objects);
    const { find, findOfOne, findAny } = this.statements;
    this.found = new Coalescer(
      (keys) => {
        const [owners, ids] = [keys.map((key) => key.ownerId), keys.map((key) => key.id)];
        return new Set(owners).size === 1
          ? this.findAll(findOfOne, [owners[0], ids], keys.length)
          : this.findAll(find, [owners, ids], keys.length);
      },
      {
        name: `${this.table}_read`,
        key: ({ ownerId, id }) => ownerId + id,
        partition: ({ ownerId }) => database.partitionOf(ownerId),
        readOnly: true,
      },
    );
    this.foundAnywhere = new Coalescer((ids) => this.findAll(findAny, [ids], ids.length), {
      name: `${this.table}_read_any`,
      key: (id) => id,
      readOnly: true,
    });
    this.inserted = new Coalescer((batch) => this.createAll(batch), {
      name: `${this.table}_create`,
      partition: ({ ownerId }) => database.partitionOf(ownerId),
    });
  }

  find({ ownerId, id }: ObjectKey): Promise<Row | null> {
    return ownerId === null ? this.foundAnywhere.add(id) : this.found.add({ ownerId, id });
  }

  /** @param tx the caller's transaction; without one, the insert is coalesced with concurrent ones */
  async create(object: Owned, tx?: Transaction): Promise<CreationRow> {
    const row = tx ? (await this.createAll([object], tx))[0] : await this.inserted.add(object);
    if (!row) throw new Error('The database returned no verdict for an insert');
    return row;
  }

  /** Deletes an object and gives back its unit. @returns whether the object existed */
  async delete(ownerId: string, id: string, tx?: Transaction): Promise<boolean> {
    const [row] = await this.database.query<{ isDeleted: boolean }>(this.statements.delete, [ownerId, id], tx);
    return row?.isDeleted ?? false;
  }

  /** Locks the owner's gauge until the transaction ends. */
  async lockGauge(tx: Transaction, ownerId: string): Promise<void> {
    await this.database.query(this.statements.lockGauge, [ownerId], tx);
  }

  private async findAll(statement: Statement, values: unknown[], count: number): Promise<(Row | null)[]> {
    return inPlace(await this.database.query<Row & { place: number }>(statement, values), count);
  }

  private async createAll(batch: readonly Owned[], tx?: Transaction): Promise<CreationRow[]> {
    const sorting = byOwner(batch);
    const { sorted, owners, ends } = sorting;
    const columns = [
      sorted.map((object) => object.id),
      ...writtenColumnsOf(this.objects).map(({ property }) => sorted.map((object): unknown => object[property])),
    ];
    const { createOfOne, create } = this.statements;
    const rows =
      owners.length === 1
        ? await this.database.query<CreatedRow>(createOfOne, [owners[0], ...columns], tx)
        : await this.database.query<CreatedRow>(create, [owners, ends, ...columns], tx);
    const verdicts = rows.flatMap(({ granted, limits, createdAt }, n) => {
      const count = (ends[n] ?? 0) - (ends[n - 1] ?? 0);
      tally.count(this.table, granted ?? 0, count - (granted ?? 0));
      return Array.from({ length: count }, (_, i) => ({
        granted: granted === null ? null : i < granted,
        limits,
        createdAt,
      }));
    });
    return inBatchOrder(sorting, verdicts);
  }
}

function statementsOf(objects: Pick<Repository<Owned>, 'metadata'>) {
  const table = objects.metadata.tableName;
  const types = ['uuid', ...writtenColumnsOf(objects).map(({ type }) => type)];
  const columns = 'c.granted, c.limits, c.created_at AS "createdAt"';
  // LATERAL and OFFSET 0: see Statement. `findAny` asks for the first column of an index, where `= ANY` is enough.
  return {
    lockGauge: { text: `SELECT FROM gauges WHERE owner_id = $1 AND meter = '${table}' FOR UPDATE` },
    findOfOne: {
      name: `${table}-find-of-one`,
      text: `
        SELECT q.place::integer AS place, ${columnsOf(objects, 't')}
        FROM unnest((SELECT $2::uuid[])) WITH ORDINALITY AS q (id, place)
        CROSS JOIN LATERAL (SELECT * FROM ${table} t WHERE t.owner_id = $1::uuid AND t.id = q.id OFFSET 0) AS t`,
    },
    find: {
      name: `${table}-find`,
      text: `
        SELECT q.place::integer AS place, ${columnsOf(objects, 't')}
        FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q (owner_id, id, place)
        CROSS JOIN LATERAL (SELECT * FROM ${table} t WHERE t.owner_id = q.owner_id AND t.id = q.id OFFSET 0) AS t`,
    },
    findAny: {
      name: `${table}-find-any`,
      text: `
        SELECT array_position($1::uuid[], t.id) AS place, ${columnsOf(objects, 't')}
        FROM ${table} t WHERE t.id = ANY($1::uuid[])`,
    },
    createOfOne: {
      name: `${table}-create-of-one`,
      text: `
        SELECT ${columns} FROM create_${table}($1::uuid, ${types.map((type, i) => `$${i + 2}::${type}[]`).join(', ')}) AS c`,
    },
    // For each owner, the elements of the arrays up to its end.
    create: {
      name: `${table}-create`,
      text: `
        SELECT ${columns}
        FROM lock_gauges($1::uuid[], ARRAY['${table}']) AS o
        CROSS JOIN LATERAL (SELECT coalesce(($2::integer[])[o.place - 1], 0) + 1, ($2::integer[])[o.place]) AS p (first, last)
        CROSS JOIN LATERAL create_${table}(
          o.owner_id, ${types.map((type, i) => `($${i + 3}::${type}[])[p.first:p.last]`).join(', ')}
        ) AS c
        ORDER BY o.place`,
    },
    delete: {
      name: `${table}-delete`,
      text: `SELECT delete_${table.slice(0, -1)}($1::uuid, $2::uuid) AS "isDeleted"`,
    },
  };
}
